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

BAR_WIDTH, CHART_HEIGHT = 9, 32
STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b76c4; --warn: #b35c00; --quiet: #777; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; } .wide { overflow-x: auto; }
th { color: var(--quiet); font-weight: 500; text-align: left; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .8rem .4rem 0; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; } .quiet { color: var(--quiet); }
.name { font-weight: 600; } .left-out .name { text-decoration: line-through; }
.ends { display: flex; justify-content: space-between; font-size: .75rem; color: var(--quiet); max-width: 9rem; }
.note { font-size: .85rem; color: var(--quiet); } .finding { color: var(--warn); }
li { margin: .4rem 0; } svg { display: block; } .bars rect, .level rect { fill: var(--bar); }
.level { display: grid; grid-template-columns: 7rem 4rem 3rem; font-size: .8rem; align-items: center; }
.level span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
"""


def look_page(facts: Mapping[str, Any], title: str) -> str:
    """Return the facts of a table (see `tabcohort.data.profile.look_facts`) as an HTML page."""
    facts = printable(facts)
    target = "" if facts["target"] is None else _target(facts["target"])
    findings = "".join(
        f'<li id="finding-{number}"><span class="finding">{escape(finding["message"])}</span>. '
        f"<code>{escape(finding['kind'])}</code>: {escape(finding['remedy'])}.</li>"
        for number, finding in enumerate(facts["findings"], 1)
    )
    name = escape(str(printable(title)))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n<body>'
        f"<h1>{name}</h1><p>{size_text(facts)}</p>\n{target}"
        + (f"<h2>Worth checking</h2><ol>{findings}</ol>\n" if findings else "")
        + f"<h2>Columns</h2>{columns_table(facts['columns'])}</body></html>\n"
    )


def columns_table(columns: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a row for each of the columns of a table's facts, whose texts are printable."""
    rows = "".join(_row(column) for column in columns)
    heads = "".join(f"<th{_NUMBER if place in NUMBERS else ''}>{name}</th>" for place, name in enumerate(HEADS))
    return f'<div class="wide"><table><tr>{heads}</tr>\n{rows}</table></div>'


_NUMBER = ' class="number"'


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
        f"<td>{escape(kind)}</td><td{_NUMBER}>{escape(missing)}</td><td{_NUMBER}>{n_distinct}</td>"
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
