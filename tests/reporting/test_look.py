"""What the terminal shows of a table: one line per column, whatever its cells hold."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from tabcohort.data.profile import look_facts
from tabcohort.reporting.look import distribution_text, print_look, sparkline

FRAME = pl.DataFrame(
    {
        "case": [f"c{i:03}" for i in range(40)],
        "age": [20.5 + i * 7 % 40 for i in range(40)],
        "city": [("Oslo", "Rome", "Bern", "Kiel", None)[i // 3 % 5] for i in range(40)],
        "bought": ["no", "yes", "yes", "no", "no"] * 8,
    }
)


class Ascii(io.StringIO):
    """A stream of a terminal that knows no blocks."""

    encoding = "ascii"


def printed(facts: dict[str, Any], stream: io.StringIO | None = None) -> list[str]:
    stream = stream or io.StringIO()
    print_look(Console(file=stream, width=80, highlight=False), facts)
    return stream.getvalue().splitlines()


def line_of(lines: list[str], name: str) -> str:
    (line,) = (line for line in lines if line.startswith(f"{name} "))
    return line


def test_every_column_has_a_line() -> None:
    lines = printed(look_facts(FRAME, "bought"))
    assert lines[:2] == ["40 rows, 4 columns, 2 features", "target bought: no 60.0%, yes 40.0%"]
    assert (
        " ".join(line_of(lines, "column").split()) == "column type missing distinct distribution what is done with it"
    )
    assert line_of(lines, "case").split() == ["case", "dropped", "-", "40", "left", "out"]
    assert "20.5 " in line_of(lines, "age")
    assert line_of(lines, "age").endswith("standardized")
    assert "category    15.0%         4  Bern 26%, Oslo 26%, Rome 26%, 1 more" in line_of(lines, "city")


def test_findings_are_numbered_and_named_in_the_lines() -> None:
    leak = FRAME.with_columns(paid=(pl.col("bought") == "yes").cast(pl.Float64) + pl.int_range(pl.len()) * 1e-6)
    lines = printed(look_facts(leak, "bought"))
    assert line_of(lines, "paid").endswith("standardized [1]")
    (finding,) = (line for line in lines if line.startswith("[1] "))
    assert finding.startswith("[1] 'paid' alone predicts 'bought' almost perfectly")
    assert finding.endswith("leave it out with --drop paid")
    assert any(line.startswith("case: an identifier") for line in lines)


def test_columns_with_the_same_note_share_a_line() -> None:
    levels = pl.Series(["low", "?", "high", "?", "low", "high"] * 10)
    lines = printed(look_facts(pl.DataFrame({"one": levels, "two": levels.reverse(), "three": levels.shuffle(1)})))
    notes = lines[lines.index("notes") + 1 :]
    assert [note for note in notes if "may stand for a missing value: '?'" in note] == notes
    assert len(notes) == 1
    assert notes[0].startswith("one, two, three: ")


def test_of_very_many_columns_those_with_a_remark_are_shown_and_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabcohort.reporting.look.MAX_COLUMNS", 4)
    monkeypatch.setattr("tabcohort.reporting.look.MAX_LINES", 1)
    cells = np.random.default_rng(0).normal(size=(40, 6))
    frame = pl.DataFrame(cells, schema=[f"x{i}" for i in range(6)]).with_columns(x3=pl.lit(1.0), x5=pl.lit(2.0))
    lines = printed(look_facts(frame))
    start = next(number for number, line in enumerate(lines) if line.startswith("column"))
    assert [line.split()[0] for line in lines[start + 1 : start + 5]] == ["x0", "x1", "x3", "x5"]
    assert lines[start + 5] == "... and 2 more columns: --html FILE and --json show all"
    notes = lines[lines.index("notes") :]
    assert notes[1].startswith("x3: ")
    assert notes[2] == "... and 1 more: --html FILE and --json show all"


def test_cells_are_neither_markup_nor_escape_sequences() -> None:
    frame = FRAME.with_columns(pl.col("city").replace("Oslo", "[red]x\x1b[2J\n")).rename({"age": "[bold]age"})
    lines = printed(look_facts(frame, "bought"))
    assert any(line.startswith("[bold]age ") for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "[red]x\\x1b[2J 26%" in line_of(lines, "city")


def test_without_blocks_the_range_is_shown() -> None:
    stream = Ascii()
    assert "20.5 to 59.5" in line_of(printed(look_facts(FRAME), stream), "age")
    assert stream.getvalue().isascii()


def test_a_sparkline_shows_every_count_above_zero() -> None:
    assert sparkline([1, 0, 1_000_000, 500_000]) == "▁ █▄"
    assert sparkline([3]) == "█"
    assert distribution_text(None) == ""


def test_a_target_that_cannot_be_predicted_says_why() -> None:
    lines = printed(look_facts(FRAME, "age"))
    assert "looks like a measurement" in lines[1]
