"""Three batch sizes of gradient descent, with an easy target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reproduce_helpers import check_document, row_of
from rich.console import Console

from tabcohort.reproduce import descents
from tabcohort.reproduce.claims import HOLDS, UNDECIDED
from tabcohort.reproduce.findings import Spread
from tabcohort.reproduce.runs import Ticker, sample_table


def test_descents_run_to_their_end(messages: Console) -> None:
    findings = descents.run(messages, seeds=1, target=0.3)
    check_document(findings)
    updates = row_of(findings, "updates").cells
    assert all(isinstance(cell, Spread) for cell in updates)
    assert all(cell == Spread(1.0, None, 1) for cell in row_of(findings, "fraction of runs that reached it").cells)
    figures = findings.mistakes[0].figures
    assert figures["lesson_loss"] > 1 > figures["gradient_loss"]


def made_up(losses: tuple[float, ...], seconds: float) -> descents.Descent:
    return descents.Descent(len(losses), len(losses), seconds, losses, True)


def test_claims_compare_seconds_and_epochs_that_made_the_loss_worse() -> None:
    steady, shaky = (0.3, 0.2, 0.1), (0.3, 0.2, 0.25, 0.1, 0.2)
    full = [made_up(steady, seconds) for seconds in (9.0, 9.1, 9.2)]
    mini = [made_up(steady, seconds) for seconds in (1.0, 1.2, 1.1)]
    single = [made_up(losses, 5.0) for losses in (shaky, shaky[:3], shaky)]
    assert [descent.rises for descent in single] == [0.5, 0.5, 0.5]
    faster, stable = descents.claims("x", [full, mini, single])
    assert (faster.verdict, stable.verdict) == (HOLDS, HOLDS)
    _, stable = descents.claims("x", [full, mini, mini])
    assert stable.verdict == UNDECIDED
    assert stable.reason.startswith("on the way to the target no epoch makes the loss worse")
    assert [picture.kind for picture in descents.pictures("x", [full, mini, single])] == ["curves", "bars", "bars"]


def test_descent_says_when_its_epochs_ran_out(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descents, "MAX_EPOCHS", 2)
    table = sample_table("wine")
    with Ticker(messages) as ticker:
        descent = descents.descend(
            table, table.X.astype(np.float32), replace(descents.SGD, learning_rate=0.0), 0.0, ticker
        )
    assert (descent.epochs, descent.reached) == (2, False)
