"""What is shown while something takes long."""

from __future__ import annotations

import io
import math
import re
import sys
from dataclasses import replace

import pytest
from helpers import make_small_table
from rich.console import Console

from tabcohort import CohortSettings, Config, fit
from tabcohort.cohort.progress import RunProgress
from tabcohort.data.parquet_files import ReadingProgress
from tabcohort.model.report_progress import ReportProgress, Stage
from tabcohort.reporting.progress_displays import (
    ProgressDisplay,
    ProgressLog,
    ReadingDisplay,
    ReportDisplay,
    describe_price,
    describe_progress,
    describe_reading,
)

STARTED = RunProgress(
    n_members=6, n_done=2, n_configs=2, n_epochs=1234, best_loss=0.41236, best_config=1, seconds=3.0, seconds_left=8.2
)


def test_progress_is_one_line_with_the_time_left() -> None:
    assert describe_progress(STARTED) == (
        "2/6 members of 2 configs trained  about 9 s left  1,234 epochs  "
        "mean validation loss 0.4124 (config 2, the best so far)"
    )


def test_progress_of_one_config_does_not_count_configs() -> None:
    assert describe_progress(replace(STARTED, n_members=3, n_configs=1)) == (
        "2/3 members trained  about 9 s left  1,234 epochs  mean validation loss 0.4124"
    )


def test_what_is_not_known_of_a_run_yet_is_left_out() -> None:
    begun = RunProgress(1, 0, 1, 1, best_loss=math.nan, best_config=-1, seconds=0.0, seconds_left=math.nan)
    assert describe_progress(begun) == "0/1 member trained  1 epoch"


def test_after_training_it_is_said_what_is_done_until_the_model_is_there() -> None:
    over = replace(STARTED, n_done=6, seconds_left=0.0)
    for seconds, n_lines in ((3.0, 1), (1.0, 0)):
        text = io.StringIO()
        ProgressDisplay(Console(file=text, width=200))(replace(over, seconds=seconds))
        assert text.getvalue() == f"{describe_progress(over)}  weighing and calibrating them\n" * n_lines


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "1 s"), (4.4, "4 s"), (23.0, "20 s"), (56.9, "60 s"), (57.1, "1 min"), (140.0, "2 min"), (4000.0, "1 h")],
)
def test_before_training_it_is_said_what_it_takes(seconds: float, expected: str) -> None:
    planned = replace(STARTED, n_done=0, n_epochs=0, seconds=0.0, seconds_left=seconds)
    assert describe_price(planned) == f"training 6 members of 2 configs on the same folds, about {expected}"
    assert describe_price(replace(planned, n_configs=1, seconds_left=math.nan)) == "training 6 members"
    for display in (ProgressDisplay, ProgressLog):
        text = io.StringIO()
        with display(Console(file=text, width=200)) as shown:
            shown(planned)
        assert text.getvalue() == f"{describe_price(planned)}\n"


def test_away_from_a_terminal_there_is_a_line_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    text, clock = io.StringIO(), iter([0.0, 1.9, 2.0, 3.9, 4.0, 4.1])
    monkeypatch.setattr("tabcohort.reporting.progress_displays.time.perf_counter", lambda: next(clock, 99.0))
    display = ProgressDisplay(Console(file=text, width=200))
    for n_done in range(1, 6):
        display(replace(STARTED, n_done=n_done))
    assert [line.split()[0] for line in text.getvalue().splitlines()] == ["2/6", "4/6"]


def test_a_log_has_a_line_whenever_a_network_is_trained() -> None:
    text = io.StringIO()
    with ProgressLog(Console(file=text, width=200)) as log:
        for n_done in (0, 1, 1, 3, 3, 6):
            log(replace(STARTED, n_done=n_done))
    assert [line.split()[0] for line in text.getvalue().splitlines()] == ["1/6", "3/6", "6/6"]


@pytest.mark.parametrize("display", [ProgressDisplay, ReadingDisplay, ReportDisplay])
def test_results_are_written_while_a_bar_is_shown(display: type, capsys: pytest.CaptureFixture[str]) -> None:
    with display(Console(file=io.StringIO(), force_terminal=True)):
        print("a result")
    assert capsys.readouterr().out == "a result\n"


def test_in_a_terminal_there_is_a_bar_that_leaves_nothing_behind() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=200, force_terminal=True)) as display:
        display._shown -= 1
        display(STARTED)
        assert (display._bar.tasks[0].completed, display._bar.tasks[0].total) == (2, 6)
    assert "2/6 members of 2 configs trained" in text.getvalue()
    assert text.getvalue().endswith(("\x1b[2K", "\x1b[?25h\r\x1b[1A\x1b[2K"))


def test_what_is_over_at_once_shows_no_bar() -> None:
    text = io.StringIO()
    with ReadingDisplay(Console(file=text, force_terminal=True)) as display:
        display(ReadingProgress("looking for leaks", 1, 2))
    assert text.getvalue() == ""


def test_a_report_has_a_bar_with_what_is_done_in_a_terminal_and_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tabcohort.reporting.progress_displays.SECONDS_BETWEEN_UPDATES", 0.0)
    for options in ({"force_terminal": True}, {}, {"force_terminal": True, "quiet": True}):
        text = io.StringIO()
        with ReportDisplay(Console(file=text, width=80, **options)) as display:
            display(ReportProgress(Stage.EFFECTS, 1, 2))
            if options == {"force_terminal": True}:
                assert (display._bar.tasks[0].completed, display._bar.tasks[0].total) == (3.5, 6)
            display._bar.refresh()
        assert ("effects" in text.getvalue()) is (options == {"force_terminal": True})
        if options != {"force_terminal": True}:
            assert text.getvalue().strip() == ""


@pytest.mark.parametrize("has_widgets", [True, False])
def test_in_a_notebook_there_is_a_bar_if_it_can_be_shown(has_widgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tabcohort.reporting.progress_displays.find_spec", lambda name: object() if has_widgets else None
    )
    display = ProgressDisplay(Console(file=io.StringIO(), force_jupyter=True))
    assert display._bar.disable is not has_widgets


def test_a_run_is_shown_while_it_trains() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=200)) as display:
        display._shown -= 10
        fit(make_small_table(), Config(hidden=(8,), max_epochs=3), CohortSettings(folds=3, seeds=1), display)
    first, second, *_ = text.getvalue().splitlines()
    assert first == "training 3 members, about 1 s"
    assert re.match(r"[0-3]/3 members trained .* \d+ epochs?  mean validation loss 0\.\d{4}", second)


def test_a_pass_over_a_large_table_is_one_line_with_its_share_and_the_time_left() -> None:
    start = ReadingProgress("writing the store", 50, 1_000)
    assert describe_reading(replace(start, n_done=250), start, 4.0) == "writing the store  25%  about 15 s left"
    assert describe_reading(replace(start, n_done=1_000), start, 4.0) == "writing the store  100%"
    assert describe_reading(start, start, 0.0) == "writing the store  5%"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_passes_over_a_large_table_have_a_bar_in_a_terminal_and_lines_elsewhere(is_terminal: bool) -> None:
    text = io.StringIO()
    with ReadingDisplay(Console(file=text, width=100, force_terminal=is_terminal)) as display:
        display(ReadingProgress("surveying the rows", 1, 1_000))
        display._shown -= 10
        display(ReadingProgress("surveying the rows", 1_000, 1_000))
        assert display._bar.tasks[0].completed == 1_000 * is_terminal
        display._bar.refresh()
    assert "surveying the rows  100%" in text.getvalue()
    assert text.getvalue().startswith("table    surveying") is not is_terminal


def test_the_time_left_of_a_stage_counts_from_its_own_beginning() -> None:
    display = ReadingDisplay(Console(file=io.StringIO()))
    display(ReadingProgress("surveying the rows", 1, 2))
    began = display._began
    display(ReadingProgress("surveying the rows", 2, 2))
    assert display._began == began
    display(ReadingProgress("writing the store", 1, 2))
    assert display._began > began


def test_a_warning_while_a_bar_is_shown_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with ReadingDisplay(Console(stderr=True, width=100, force_terminal=True)):
        print("note: look here", file=sys.stderr)
    assert sys.stderr is stream
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "note: look here" in re.split(r"[\r\n]+", plain)
