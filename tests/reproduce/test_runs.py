"""What the experiments share: the ticker, trainings to the end, and epochs on all rows."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from tabcohort.data.splits import train_validation_test_split
from tabcohort.errors import TabcohortWarning
from tabcohort.reproduce.runs import Ticker, epochs_on_all_rows, sample_table, starting_module, train_to_the_end
from tabcohort.settings import Config


def test_ticker_shows_a_line_when_it_is_time(messages: Console) -> None:
    with Ticker(messages) as ticker:
        ticker.say("first")
        ticker.say("too early")
        ticker.shown -= 2
        ticker.say("in time")
    assert messages.file.getvalue() == "first\nin time\n"  # type: ignore[attr-defined]


def test_ticker_shows_the_time_left_where_the_number_of_parts_is_known(messages: Console) -> None:
    with Ticker(messages, n_parts=4) as ticker:
        ticker.began -= 30
        for part in ("a", "b", "c"):
            ticker.shown = -math.inf
            ticker.on_epoch(part)
    assert messages.file.getvalue() == (
        "a\n2 of 4 trainings, about 91 s left: b\n3 of 4 trainings, about 31 s left: c\n"
    )  # type: ignore[attr-defined]


def test_ticker_shows_a_live_line_in_a_terminal() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    with Ticker(terminal) as ticker:
        ticker.say("alive")
        assert terminal.is_terminal
    assert "starting" in terminal.file.getvalue() or "alive" in terminal.file.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_ends_the_experiment() -> None:
    table = sample_table("wine")
    config = Config(model="logistic", max_epochs=5)

    def interrupt(state: object) -> None:
        raise KeyboardInterrupt

    split = train_validation_test_split(table, config)
    with pytest.warns(TabcohortWarning, match="^interrupted: "), pytest.raises(KeyboardInterrupt):
        train_to_the_end(starting_module(table, config), table, config, split, interrupt)


def test_epochs_on_all_rows_measure_the_network_after_the_epoch() -> None:
    table = sample_table("wine")
    config = Config(model="logistic", batch_size=32, device="cpu")
    network = starting_module(table, config)[1]
    inputs = ((table.X - table.X.mean(0)) / table.X.std(0)).astype(np.float32)
    epochs = epochs_on_all_rows(network, inputs, table, config)
    next(epochs)
    second = next(epochs)
    assert (second.epoch, second.updates) == (2, 12)
    assert np.average(second.batch_losses, weights=[32] * 5 + [18]) == pytest.approx(second.running_loss, rel=1e-6)
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs))
    truth = torch.from_numpy(table.y)
    assert second.loss == pytest.approx(F.cross_entropy(logits, truth).item(), rel=1e-5)
    assert second.accuracy == pytest.approx((logits.argmax(1) == truth).double().mean().item())
