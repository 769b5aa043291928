"""The results of an experiment: tables of claims and measurements, and the document's mistakes with their effects."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from tabcohort.reproduce.claims import Claim
    from tabcohort.reproduce.pictures import Picture


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over `n` seeds, and the values; the deviation of a single seed is None."""

    mean: float
    deviation: float | None
    n: int
    values: tuple[float, ...] = field(default=(), compare=False, repr=False)

    @property
    def error(self) -> float:
        """Standard error of the mean; NaN for a single seed."""
        return math.nan if self.deviation is None else self.deviation / math.sqrt(self.n)

    def show(self, style: str) -> str:
        """Return "mean ± standard deviation" in a format such as ".1%"."""
        deviation = "" if self.deviation is None else f" ± {self.deviation:{style.lstrip('+')}}"
        return f"{self.mean:{style}}{deviation}"


SPREADS = (
    "± is the standard deviation over seeds, a difference is the second figure minus the first, and verdicts use 95 % "
    "t intervals"
)
Cell = Spread | float | str | None


def spread(values: Iterable[float]) -> Spread:
    """Return the spread of one value per seed."""
    values = tuple(float(value) for value in values)
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values), values)


@dataclass(frozen=True)
class Row:
    """One quantity: its name, a value per column (None where there is none), and the format of its numbers."""

    what: str
    cells: tuple[Cell, ...]
    style: str = ".3f"


@dataclass(frozen=True)
class Sheet:
    """A small table; every row has one cell per column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Mistake:
    """Something wrong that a document does or says.

    Args:
        document: what the document does, to be read after "the document".
        effect: what was measured, in words and figures.
        figures: the measured figures by name.
    """

    document: str
    effect: str
    figures: dict[str, float]


@dataclass(frozen=True)
class Findings:
    """The results of an experiment.

    Args:
        name: of the experiment.
        title: what was done, in one line.
        notes: what a reader must know to interpret the tables.
        sheets: the tables.
        mistakes: of the document.
        seconds: duration of the experiment.
        account: what the document did and what was measured, in plain words, a paragraph each.
        protocols: which rows train, validate and test, as the document has it and here.
        claims: of the document, with what was measured.
        pictures: of a page.
        is_interrupted: whether Ctrl-C ended the experiment, and this is what was done by then.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    sheets: tuple[Sheet, ...]
    mistakes: tuple[Mistake, ...]
    seconds: float
    account: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    pictures: tuple[Picture, ...] = ()
    is_interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; a number that is not finite is None."""
        return {
            "experiment": self.name,
            "title": self.title,
            "account": list(self.account),
            "protocols": list(self.protocols),
            "claims": [claim.to_dict() for claim in self.claims],
            "notes": list(self.notes),
            "tables": [_plain_sheet(sheet) for sheet in self.sheets],
            "mistakes": [
                {
                    "document": mistake.document,
                    "effect": mistake.effect,
                    "figures": {name: _finite(value) for name, value in mistake.figures.items()},
                }
                for mistake in self.mistakes
            ],
            "pictures": [picture.to_dict() for picture in self.pictures],
            "seconds": self.seconds,
        }

    def print(self, out: Console) -> None:
        """Print the protocols, the tables, the claims, the notes, and one line per mistake."""
        from rich.markup import escape

        out.print(f"[bold]{escape(self.title)}[/]")
        for protocol in self.protocols:
            out.print(escape(protocol))
        out.print(f"[dim]{SPREADS}[/]")
        for sheet in self.sheets:
            _print_sheet(out, sheet)
        if self.claims:
            _print_claims(out, self.claims)
        if self.notes:
            out.print()
        for note in self.notes:
            out.print(f"note: {escape(note)}")
        if self.mistakes:
            out.print("\n[bold]mistakes of the document[/]")
        for mistake in self.mistakes:
            out.print(f"- the document {escape(mistake.document)}; measured: {escape(mistake.effect)}")
        out.print(f"\n{self.seconds:.0f} s, without loading PyTorch")


def _print_sheet(out: Console, sheet: Sheet) -> None:
    from rich.markup import escape
    from rich.table import Table

    out.print(f"\n{escape(sheet.title)}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for column in sheet.columns:
        table.add_column(escape(column), justify="right")
    for row in sheet.rows:
        table.add_row(escape(row.what), *(escape(_show(cell, row.style)) for cell in row.cells))
    out.print(table)


def _print_claims(out: Console, claims: tuple[Claim, ...]) -> None:
    from rich.markup import escape
    from rich.table import Table

    counts = ", ".join(f"{verdict}: {n}" for verdict, n in Counter(claim.verdict for claim in claims).most_common())
    out.print(f"\n[bold]{len(claims)} claims of the document[/]; {counts}")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for claim in claims:
        said = f"{claim.text}: {claim.claimed}" if claim.claimed else claim.text
        measured = "; ".join(f"{quantity.name} {quantity.text}" for quantity in claim.measured) or "nothing measured"
        details = [measured, *filter(None, [claim.agreement, claim.reason])]
        table.add_row(claim.verdict, escape(said))
        table.add_row("", f"[dim]{escape('; '.join(details))} ({escape(claim.where)})[/]")
    out.print(table)


def _show(cell: Cell, style: str) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return cell.show(style) if isinstance(cell, Spread) else f"{cell:{style}}"


def _plain_sheet(sheet: Sheet) -> dict[str, Any]:
    rows = [
        {
            "what": row.what,
            "cells": [plain_cell(cell) for cell in row.cells],
            "shown": [_show(cell, row.style) for cell in row.cells],
        }
        for row in sheet.rows
    ]
    return {"title": sheet.title, "columns": list(sheet.columns), "rows": rows}


def plain_cell(cell: Cell) -> Any:
    """Return a cell as plain JSON values; a number that is not finite is None."""
    if isinstance(cell, Spread):
        return {"mean": _finite(cell.mean), "standard_deviation": _finite(cell.deviation), "seeds": cell.n}
    return cell if cell is None or isinstance(cell, str) else _finite(cell)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
