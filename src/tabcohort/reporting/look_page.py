"""A page about a table before training: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tabcohort.errors import printable
from tabcohort.reporting.look import (
    HEADS,
    MAX_CLASSES,
    NUMBERS,
    column_texts,
    missing_target_text,
    range_texts,
    size_text,
)
from tabcohort.reporting.page import number_class, table_of, whole_page

BAR_WIDTH, CHART_HEIGHT = 9, 32


def look_page(facts: Mapping[str, Any], title: str) -> str:
    """Return the facts of a table (see `tabcohort.data.profile.look_facts`) as an HTML page."""
    facts = printable(facts)
    target = "" if facts["target"] is None else _target(facts["target"])
    findings = "".join(
        f'<li id="finding-{number}"><span class="finding">{escape(finding["message"])}</span>. '
        f"<code>{escape(finding['kind'])}</code>: {escape(finding['remedy'])}.</li>"
        for number, finding in enumerate(facts["findings"], 1)
    )
    return whole_page(
        str(printable(title)),
        f"<p>{size_text(facts)}</p>\n{target}"
        + (f"<h2>Worth checking</h2><ol>{findings}</ol>\n" if findings else "")
        + f"<h2>Columns</h2>{columns_table(facts['columns'])}",
    )


def columns_table(columns: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a row for each of the columns of a table's facts, whose texts are printable."""
    return table_of(HEADS, "".join(map(_row, columns)), NUMBERS)


def _target(target: Mapping[str, Any]) -> str:
    """Return the target and its classes."""
    problem = f'<p class="finding">{escape(target["problem"])}</p>' if target["problem"] else ""
    levels = target["classes"][:MAX_CLASSES]
    shares = _levels(levels, len(target["classes"]) - len(levels))
    return f"<h2>Target: {escape(target['name'])}</h2><p>{missing_target_text(target)}</p>{problem}{shares}\n"


def _row(column: Mapping[str, Any]) -> str:
    """Return a column's row of the table."""
    links = " ".join(f'<a href="#finding-{place + 1}">[{place + 1}]</a>' for place in column["findings"])
    note = f'<div class="note">{escape(column["note"])}</div>' if column["note"] else ""
    is_out = column["role"] in ("dropped", "unreadable")
    kind, missing, n_distinct = column_texts(column)
    style = ' class="left-out"' if is_out else ""
    return (
        f'<tr{style}><td class="name">{escape(column["name"])}</td>'
        f"<td>{escape(kind)}</td><td{number_class(True)}>{escape(missing)}</td><td{number_class(True)}>{n_distinct}</td>"
        f"<td>{_distribution(column['distribution'])}</td><td>{escape(column['treatment'])} {links}{note}</td></tr>\n"
    )


def _distribution(distribution: Mapping[str, Any] | None) -> str:
    if distribution is None:
        return ""
    if "levels" in distribution:
        return _levels(distribution["levels"], distribution["n_more"])
    low, high = range_texts(distribution)
    return f'{_bars(distribution["bins"])}<div class="ends"><span>{escape(low)}</span><span>{escape(high)}</span></div>'


def _bars(bins: Sequence[int]) -> str:
    """Return counts as a small bar chart; a count above zero is at least one pixel high."""
    highest, parts = max(bins), []
    label = "numbers of rows in equal parts of the range: " + ", ".join(f"{count:,}" for count in bins)
    for place, count in enumerate(bins):
        height = max(1, round(count / highest * CHART_HEIGHT)) if count else 0
        parts.append(
            f'<rect x="{place * BAR_WIDTH}" y="{CHART_HEIGHT - height}" width="{BAR_WIDTH - 1}" height="{height}">'
            f"<title>{count:,}</title></rect>"
        )
    size = f'width="{len(bins) * BAR_WIDTH}" height="{CHART_HEIGHT}"'
    return f'<svg class="bars" {size} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _levels(levels: Sequence[Mapping[str, Any]], n_more: int) -> str:
    """Return the shares of levels as bars."""
    lines = "".join(
        f'<div class="level"><span title="{escape(level["label"])}">{escape(level["label"])}</span>'
        f'<svg width="60" height="10" role="img" aria-label="{level["share"]:.0%}">'
        f'<rect width="{max(1, round(60 * level["share"]))}" height="10"/></svg>'
        f"<span>{level['share']:.0%}</span></div>"
        for level in levels
    )
    return lines + (f'<div class="note">{n_more:,} more</div>' if n_more else "")
