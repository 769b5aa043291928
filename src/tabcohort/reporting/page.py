"""What pages have in common: their style, the frame around their content, and tables."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence
from html import escape

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
.bars .against { fill: var(--warn); }
.level { display: grid; grid-template-columns: 7rem 4rem 3rem; font-size: .8rem; align-items: center; }
.level span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
"""


def policy_hash(text: str) -> str:
    """Return the hash by which a page's security policy knows a style or a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def whole_page(title: str, content: str, more_style: str = "") -> str:
    """Return an HTML page with its title as the first heading; its security policy lets it load and run nothing.

    Args:
        title: of the page, as text.
        content: below the heading, as HTML.
        more_style: after the style that all pages have.
    """
    name, style = escape(title), STYLE + more_style
    policy = f"default-src 'none'; style-src '{policy_hash(style)}'; base-uri 'none'; form-action 'none'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>\n<body>'
        f"<h1>{name}</h1>{content}</body></html>\n"
    )


def table_of(heads: Sequence[str], rows: str, numbers: Collection[int] = ()) -> str:
    """Return a table, which scrolls where it is wider than the page.

    Args:
        heads: of the columns, as text.
        rows: below them, as HTML.
        numbers: places of the columns that hold numbers.
    """
    head = "".join(f"<th{number_class(place in numbers)}>{escape(text)}</th>" for place, text in enumerate(heads))
    return f'<div class="wide"><table><tr>{head}</tr>\n{rows}</table></div>'


def number_class(is_number: bool) -> str:
    """Return the attribute of a cell: that of one that holds a number, or none."""
    return ' class="number"' if is_number else ""
