"""What the terminal shows of an explanation: bars as long as contributions, words for directions, how far it is."""

from __future__ import annotations

import io
from typing import Any

import pytest
from fake_training import Clock
from rich.console import Console

from tabcohort import ExplanationProgress
from tabcohort.reporting.explanation import BAR_WIDTH, ExplanationLog, describe_progress, print_explanation


def facts_of(*columns: tuple[str, Any, float, float], **changes: Any) -> dict[str, Any]:
    """Return facts of an explanation; a column is its name, value, contribution and error."""
    names = ("name", "value", "contribution", "error")
    return {
        "class": "yes", "score": "log odds", "base": {"score": -1.0, "probability": 0.27},
        "output": {"score": 12.0, "probability": 0.99999386}, "n_background": 40, "n_rounds": 3, "is_converged": True,
        "columns": [dict(zip(names, column, strict=True)) for column in columns], **changes,
    }  # fmt: skip


def printed(facts: dict[str, Any], top: int | None = None, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding, newline="")
    print_explanation(Console(file=file, width=60), facts, "row 1 of a.csv", top)
    file.seek(0)
    return file.read().splitlines()


def test_bars_are_as_long_as_contributions() -> None:
    lines = printed(
        facts_of(("a", 1.5, 4.0, 0.1), ("b", None, -2.0, 0.0), ("c", "x", 1e-6, 0.0), ("d", True, 0.0, 0.0))
    )
    assert lines[0] == "row 1 of a.csv: yes with a probability of 1 - 6e-06"
    beside = "contributions to its log odds, compared with 40 background rows"
    assert lines[1] == f"{beside}: from 240 permutations, +- one standard error"
    assert [line.count("█") for line in lines[5:9]] == [BAR_WIDTH, BAR_WIDTH // 2, 1, 0]
    assert lines[5].split()[:4] == ["a", "1.5", "+4.000", "0.100"]
    assert lines[5].endswith("for yes")
    assert lines[6].split()[:3] == ["b", "missing", "-2.000"]
    assert lines[6].endswith("against yes")
    assert lines[8].split() == ["d", "True", "+0.000"]


def test_a_terminal_without_blocks_gets_plain_characters() -> None:
    lines = printed(facts_of(("a", 1.5, 4.0, 0.1)), encoding="ascii")
    assert lines[5].count("#") == BAR_WIDTH


def test_names_and_cells_cannot_change_the_terminal_and_are_no_markup() -> None:
    lines = printed(facts_of(("[bold]a\x1b[2J", "[red]x\n" + "y" * 40, 1.0, 0.0), ("b", [1.0, None], -0.5, 0.0)))
    assert lines[5].startswith("[bold]a\\x1b[2J")
    assert "[red]x\\n" in lines[5]
    assert "y" * 30 not in lines[5]
    assert "1, missing" in lines[6]


def test_columns_beyond_the_top_are_one_line() -> None:
    lines = printed(facts_of(("a", 1.5, 4.0, 0.1), ("b", 1, -2.0, 0.0), ("c", 1, 0.5, 0.0)), top=1)
    assert lines[6].split() == ["2", "more", "-1.500"]
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_rounds": 0}, "compared with 40 background rows: exact"),
        ({"is_converged": False}, "which is larger than asked for: raise --max-rounds or --tolerance"),
    ],
)
def test_it_is_said_how_exact_contributions_are(changes: dict[str, Any], words: str) -> None:
    assert printed(facts_of(("a", 1.5, 4.0, 0.1), **changes))[1].endswith(words)


def test_progress_is_shown_only_if_it_takes_long(clock: Clock) -> None:
    text = io.StringIO()
    log = ExplanationLog(Console(file=text, width=200), clock)
    for _ in range(19):
        clock.now += 0.1
        log(ExplanationProgress(0, 1, 3, 40))
    assert text.getvalue() == ""
    clock.now += 0.2
    log(ExplanationProgress(0, 1, 5, 40))
    clock.now += 1.0
    log(ExplanationProgress(0, 1, 7, 40))
    assert text.getvalue() == "explaining  5 of at most 40 rounds of permutations\n"
    clock.now += 1.5
    log(ExplanationProgress(0, 1, 9, 40))
    assert len(text.getvalue().splitlines()) == 2


def test_the_time_that_is_left_is_told_of_many_rows() -> None:
    assert describe_progress(ExplanationProgress(250, 1000, 1, 8), 5.0) == "explaining  250/1,000 rows  about 15 s left"
    assert describe_progress(ExplanationProgress(0, 1000, 1, 8), 5.0) == "explaining  0/1,000 rows"
