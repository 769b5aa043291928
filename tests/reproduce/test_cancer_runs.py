"""Trainings of the lessons, at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reproduce_helpers import silent_console

from tabcohort.reproduce import cancer_runs
from tabcohort.reproduce.runs import Ticker, sample_table, split_rows


def test_what_a_shallow_copy_restores_has_the_loss_of_the_last_epoch() -> None:
    table = sample_table("breast-cancer")
    rows = split_rows(np.arange(len(table.y)), table.y, cancer_runs.TEST_FRACTION, seed=0)
    with Ticker(silent_console()) as ticker:
        run = cancer_runs.run_with_shallow_copy(
            table, replace(cancer_runs.DOCUMENT, learning_rate=0.1, max_epochs=40), 0, *rows, ticker
        )
    assert run.restored_loss == pytest.approx(run.last_loss, rel=1e-5)
    assert run.last_loss > 1.01 * run.recorded_loss


def test_few_rows_are_disjoint_and_all_others_are_unseen() -> None:
    train, test, unseen = cancer_runs.few_rows(sample_table("breast-cancer"), seed=0)
    assert (len(train), len(test), len(unseen)) == (80, 20, 469)
    assert len({*train.tolist(), *test.tolist(), *unseen.tolist()}) == 569
