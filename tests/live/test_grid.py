"""A run in the terminal: the grid at a fixed width, and lines where there is no terminal."""

from __future__ import annotations

import io
import re

import pytest
from live_runs import HOSTILE, events_of_a_run
from rich.console import Console

from tabcohort.live.grid import CURVE_WIDTH, MARKS, PLAIN_MARKS, GridDisplay, grid
from tabcohort.live.run_state import RunState, Status


def run_after(n_events: int | None = None) -> RunState:
    run = RunState()
    for event in events_of_a_run()[:n_events]:
        run.apply(event)
    return run


def text_of(run: RunState, width: int = 100, has_unicode: bool = True) -> str:
    """Return what a live display shows on a console that, as the command line's, does not wrap what it prints."""
    console = Console(width=width, file=io.StringIO(), soft_wrap=True)
    options = console.options.update(no_wrap=True, overflow="ignore")
    lines = console.render_lines(grid(run, has_unicode), options, pad=False)
    return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)


def place_of(member: int, epoch: int) -> int:
    """Return the number of events up to a member's epoch."""
    for place, event in enumerate(events_of_a_run(), 1):
        if (event.get("member"), event.get("epoch")) == (member, epoch):
            return place
    raise AssertionError


def test_before_the_run_the_grid_says_so() -> None:
    assert text_of(RunState()) == "waiting for training to begin"


def test_the_grid_of_a_run_that_overfits() -> None:
    assert text_of(run_after(place_of(0, 6))) == "\n".join(
        [
            "0/2 members trained  about 3 s left  8 epochs",
            "config              members  validation loss  best epochs",
            "1 mlp 8, dropout 0  ▲ ·               0.5000            3",
            "2 trees             × ×               0.9000            1",
            "config 1, fold 1: epoch 6  train loss 0.1000  validation loss 0.8000  rate 0.01  best epoch 3",
            "(0.5000)  60% above its lowest, in epoch 3",
            "train      █▇▆▅▃▁",
            "validation █▇▇▇██",
            "· 1 waiting  ▶ 1 training  × 2 dropped  ▲ overfitting",
        ]
    )


def test_the_grid_of_a_run_that_has_ended() -> None:
    lines = text_of(run_after()).splitlines()
    assert lines[0] == "1/2 members trained  11 epochs  ended after 5.5 s"
    assert lines[2] == "1 mlp 8, dropout 0  ✓ !               0.5000            3"
    assert lines[-1] == "✓ 1 done  × 2 dropped  ! 1 failed"


def test_a_terminal_without_unicode_gets_ascii() -> None:
    for n_events in range(len(events_of_a_run()) + 1):
        assert text_of(run_after(n_events), has_unicode=False).isascii()
    assert MARKS.keys() == PLAIN_MARKS.keys() == set(Status)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for n_events in range(0, len(events_of_a_run()) + 1, 3):
        text = text_of(run_after(n_events), width)
        assert max(map(len, text.splitlines())) <= width
        if run_after(n_events).n_epochs:
            assert "best epoch" in " ".join(text.split()), "the line on a member is cut"


def test_a_long_training_has_curves_of_one_line() -> None:
    run = run_after(2)
    for epoch in range(1, 1_001):
        losses = dict.fromkeys(("train_loss", "val_loss", "score"), 1 / epoch)
        run.apply({"event": "epoch", "seconds": 1.0, "member": 0, "epoch": epoch, "learning_rate": 0.1, **losses})
    (curve,) = re.findall(r"train      (.*)", text_of(run))
    assert (len(curve), curve[0], curve[-1]) == (CURVE_WIDTH, "█", "▁")


def test_names_cannot_change_the_terminal() -> None:
    console = Console(width=100, file=io.StringIO(), force_terminal=True)
    with GridDisplay(console) as display:
        for event in events_of_a_run(names=(HOSTILE, "[bold]trees[/]"), target=HOSTILE):
            display(event)
    assert "\x1b[31m" not in console.file.getvalue().replace("\x1b[1;31m", "")
    assert "[bold]trees[/]" in console.file.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_reasons_and_messages_cannot_change_the_terminal(is_terminal: bool) -> None:
    escape = "\x1b]0;owned\x07\x1b[2J"
    texts = {"reason": f"because {escape}", "message": f"said {escape}"}
    console = Console(width=200, file=io.StringIO(), force_terminal=is_terminal, color_system=None)
    for n_events in range(1, len(events_of_a_run()) + 1):
        with GridDisplay(console) as display:
            for event in events_of_a_run()[:n_events]:
                display({name: texts.get(name, value) for name, value in event.items()})
    shown = console.file.getvalue()
    assert "\x1b]0" not in shown
    assert "\x1b[2J" not in shown
    assert r"\x1b]0;owned\x07" in shown


def lines_of_a_run() -> list[str]:
    """Return what is printed where there is no terminal."""
    console = Console(file=io.StringIO(), soft_wrap=True)
    with GridDisplay(console) as display:
        for event in events_of_a_run():
            display(event)
    return console.file.getvalue().splitlines()


def test_where_there_is_no_terminal_a_line_says_what_has_ended() -> None:
    assert lines_of_a_run() == [
        "config 2 dropped after 1 epochs",
        "0/2 members trained  about 3 s left  6 epochs  config 1, fold 1: epoch 4  train loss 0.3000  validation loss "
        "0.5500  rate 0.01  best epoch 3 (0.5000)",
        "config 1, fold 1: epoch 6  train loss 0.1000  validation loss 0.8000  rate 0.01  best epoch 3 (0.5000)  "
        "60% above its lowest, in epoch 3  (stopped: patience)",
        "config 1, fold 2: epoch 3  train loss 0.4000  validation loss 0.5000  rate 0.01  best epoch 3 (0.5000) "
        " (stopped: the loss stopped being finite)",
        "1/2 members trained  11 epochs  ended after 5.5 s",
    ]


def test_a_terminal_shows_the_last_state_when_the_display_ends() -> None:
    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system=None)
    with GridDisplay(console) as display:
        for event in events_of_a_run():
            display(event)
    assert "1/2 members trained  11 epochs  ended after 5.5 s" in console.file.getvalue()


def test_a_quiet_console_shows_nothing() -> None:
    console = Console(file=io.StringIO(), quiet=True, force_terminal=True)
    with GridDisplay(console) as display:
        for event in events_of_a_run():
            display(event)
    assert console.file.getvalue() == ""
