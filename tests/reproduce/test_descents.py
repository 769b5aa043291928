"""Three batch sizes of gradient descent, with an easy target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reproduce_helpers import check_document, row_of
from rich.console import Console

from tabcohort.reproduce import descents
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


def test_descent_says_when_its_epochs_ran_out(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descents, "MAX_EPOCHS", 2)
    table = sample_table("wine")
    with Ticker(messages) as ticker:
        descent = descents.descend(
            table, table.X.astype(np.float32), replace(descents.SGD, learning_rate=0.0), 0.0, ticker
        )
    assert (descent.epochs, descent.reached) == (2, False)
