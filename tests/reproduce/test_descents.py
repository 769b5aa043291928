"""Three batch sizes of gradient descent, with an easy target."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from reproduce_helpers import check_document, row_of
from rich.console import Console

from tabcohort.data.encoder import fit_statistics, standardize
from tabcohort.reproduce import descents
from tabcohort.reproduce.claims import FAILS, HOLDS
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


def test_claims_compare_seconds_and_updates() -> None:
    losses = (0.3, 0.2, 0.1)
    full = [made_up(losses, seconds) for seconds in (9.0, 9.1, 9.2)]
    mini = [made_up(losses * times, seconds) for times, seconds in ((3, 1.0), (4, 1.2), (3, 1.1))]
    single = [made_up(losses, 5.0) for _ in range(3)]
    verdicts = [claim.verdict for claim in descents.claims("x", [full, mini, single])]
    assert verdicts == [HOLDS, HOLDS, HOLDS]
    assert descents.claims("x", [mini, full, single])[0].verdict == FAILS
    assert [picture.kind for picture in descents.pictures("x", [full, mini, single])] == ["curves", "bars", "bars"]


def test_one_row_is_noisier_and_needs_the_least_memory() -> None:
    table = sample_table("breast-cancer")
    inputs = standardize(table.numbers, fit_statistics(table.numbers, table.weight))
    (noisier,) = descents.stability_claims(table, inputs, 3)
    assert noisier.verdict == HOLDS
    assert noisier.measured[2].value.mean == pytest.approx(0, abs=1e-12)
    assert noisier.measured[0].value.mean / noisier.measured[1].value.mean == pytest.approx(
        math.sqrt(32 * (1 - 1 / 569) / (1 - 32 / 569))
    )
    (memory,) = descents.memory_claims(inputs)
    assert [quantity.value.mean for quantity in memory.measured] == [569 * 120, 32 * 120, 120]


def test_descent_says_when_its_epochs_ran_out(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descents, "MAX_EPOCHS", 2)
    table = sample_table("wine")
    with Ticker(messages) as ticker:
        descent = descents.descend(
            table, table.X.astype(np.float32), replace(descents.SGD, learning_rate=0.0), 0.0, ticker
        )
    assert (descent.epochs, descent.reached) == (2, False)
