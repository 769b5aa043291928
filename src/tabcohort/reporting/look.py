"""What the terminal shows of a table before training: one line per column, and what looks wrong.

The texts of the facts are made here, also those of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console

from tabcohort.errors import listed, printable
from tabcohort.reporting.plain_text import aligned, can_show, counted, cut, print_plain

BLOCKS = "▁▂▃▄▅▆▇█"
MAX_NAME, MAX_SHOWN_LABEL = 28, 14
N_SHOWN_LEVELS, MAX_NAMES = 3, 8
MAX_CLASSES = 8
MAX_COLUMNS, MAX_LINES = 200, 40  # lines shown of the table of columns, and of each list below it
HEADS = ("column", "type", "missing", "distinct", "distribution", "what is done with it")
NUMBERS = (2, 3)  # columns of the table whose cells are numbers


class ColumnTexts(NamedTuple):
    """The texts of a column: its type or role, the share of missing cells and the number of distinct values."""

    kind: str
    missing: str
    n_distinct: str


def column_texts(column: Mapping[str, Any]) -> ColumnTexts:
    """Return the texts of a column's facts."""
    share = column["missing_share"]
    return ColumnTexts(
        column["type"] if column["role"] == "feature" else column["role"],
        "-" if not share else f"{share:.1%}" if share >= 0.001 else "<0.1%",
        "" if column["n_distinct"] is None else f"{column['n_distinct']:,}",
    )


def size_text(facts: Mapping[str, Any]) -> str:
    """Return the numbers of rows, columns and features."""
    return f"{facts['n_rows']:,} rows, {facts['n_columns']:,} columns, {facts['n_features']:,} features"


def missing_target_text(target: Mapping[str, Any]) -> str:
    """Return how many rows have no target; empty where all have one."""
    return f"{target['n_missing']:,} rows have none" if target["n_missing"] else ""


def range_texts(distribution: Mapping[str, Any]) -> tuple[str, str]:
    """Return the low and the high end of a distribution with bins."""
    low, high = (end if isinstance(end, str) else f"{end:.4g}" for end in (distribution["low"], distribution["high"]))
    return low, high


def print_look(console: Console, facts: Mapping[str, Any]) -> None:
    """Print the facts of a table; see `tabcohort.data.profile.look_facts`."""
    facts = printable(facts)
    console.print(size_text(facts))
    if facts["target"] is not None:
        print_plain(console, _target_line(facts["target"]))
    console.print()
    has_blocks = can_show(console, BLOCKS)
    shown = _worth_showing(facts["columns"])
    rows = [HEADS, *(_cells(column, has_blocks) for column in shown)]
    for number, line in enumerate(aligned(rows, NUMBERS)):
        print_plain(console, line, style="dim" if number == 0 else None)
    if len(shown) < len(facts["columns"]):
        n_more = len(facts["columns"]) - len(shown)
        console.print(f"... and {counted(n_more, 'more column')}: --html FILE and --json show all", style="dim")
    columns_by_note: dict[str, list[str]] = {}
    for column in facts["columns"]:
        if column["note"]:
            columns_by_note.setdefault(column["note"], []).append(column["name"])
    notes = [f"{listed(names, MAX_NAMES)}: {note}" for note, names in columns_by_note.items()]
    _print_list(console, "notes", notes)
    _print_list(console, "worth checking", [sentence(finding) for finding in facts["findings"]])


def _worth_showing(columns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return at most `MAX_COLUMNS` columns, in their order: first choice are those with a note or a finding."""

    def is_plain(place: int) -> bool:
        column = columns[place]
        return column["role"] == "feature" and not column["note"] and not column["findings"]

    places = sorted(range(len(columns)), key=is_plain)
    return [columns[place] for place in sorted(places[:MAX_COLUMNS])]


def sentence(finding: Mapping[str, Any]) -> str:
    """Return a finding's message with its remedy."""
    return f"{finding['message']}: {finding['remedy']}"


def sparkline(bins: Sequence[int]) -> str:
    """Return one block per bin, as high as its count; a blank where there is none.

    Examples:
        >>> sparkline([1, 0, 4, 8])
        '▁ ▄█'
    """
    highest = max(bins)
    return "".join(BLOCKS[-(-count * len(BLOCKS) // highest) - 1] if count else " " for count in bins)


def distribution_text(distribution: Mapping[str, Any] | None, has_blocks: bool = True) -> str:
    """Return a hint of a distribution: a sparkline with its range, or the most frequent levels."""
    if distribution is None:
        return ""
    if "levels" in distribution:
        shown = [f"{cut(level['label'], MAX_SHOWN_LABEL)} {level['share']:.0%}" for level in distribution["levels"]]
        n_more = distribution["n_more"] + len(shown) - N_SHOWN_LEVELS
        return ", ".join(shown[:N_SHOWN_LEVELS]) + (f", {n_more:,} more" if n_more > 0 else "")
    low, high = range_texts(distribution)
    return f"{low} {sparkline(distribution['bins'])} {high}" if has_blocks else f"{low} to {high}"


def _cells(column: Mapping[str, Any], has_blocks: bool) -> tuple[str, ...]:
    """Return a column's line, cell by cell."""
    marks = "".join(f" [{place + 1}]" for place in column["findings"])
    return (
        cut(column["name"], MAX_NAME),
        *column_texts(column),
        distribution_text(column["distribution"], has_blocks),
        column["treatment"] + marks,
    )


def _target_line(target: Mapping[str, Any]) -> str:
    classes = listed([f"{entry['label']} {entry['share']:.1%}" for entry in target["classes"]], MAX_CLASSES)
    more = "; ".join(filter(None, (classes, missing_target_text(target), target["problem"])))
    return f"target {target['name']}: {more}"


def _print_list(console: Console, title: str, lines: Sequence[str]) -> None:
    if lines:
        console.print(f"\n{title}", style="dim")
        for number, line in enumerate(lines[:MAX_LINES], 1):
            print_plain(console, f"[{number}] {line}" if title != "notes" else line)
        if len(lines) > MAX_LINES:
            console.print(f"... and {len(lines) - MAX_LINES:,} more: --html FILE and --json show all", style="dim")
