"""Results as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def as_markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first are aligned to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))
