"""Mistakes of the lessons, measured at a tiny size."""

from __future__ import annotations

from dataclasses import replace

from reproduce_helpers import silent_console

from tabcohort.reproduce import cancer_runs
from tabcohort.reproduce.cancer_mistakes import stopping_on_test_rows
from tabcohort.reproduce.runs import Ticker, sample_table


def test_stopping_on_test_rows_flatters() -> None:
    table = sample_table("breast-cancer")
    config = replace(cancer_runs.NETWORK, hidden=(32,), learning_rate=1e-2, patience=10, max_epochs=60)
    with Ticker(silent_console()) as ticker:
        few = [cancer_runs.run_on_few_rows(table, config, seed, ticker) for seed in range(6)]
    assert stopping_on_test_rows(few, few).figures["network_log_loss"] < 0
