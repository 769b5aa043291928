"""Wine with a small network, at a tiny size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from reproduce_helpers import check_document, figures_of
from rich.console import Console

from tabcohort.data.encoder import fit_statistics, standardize
from tabcohort.reproduce import wine
from tabcohort.reproduce.findings import spread
from tabcohort.reproduce.runs import EpochOnAllRows, sample_table


def test_wine_runs_to_its_end(messages: Console) -> None:
    findings = wine.run(messages, seeds=2, config=replace(wine.WITH_EARLY_STOPPING, max_epochs=5))
    check_document(findings)
    figures = figures_of(findings, "trains on raw columns")
    assert figures["raw_first_loss"] > 2 * math.log(3)
    assert figures["raw_accuracy"] < figures["standardized_accuracy"]
    assert len(findings.sheets[0].rows) == 10
    claim, weights, *gaps, shuffled, last = findings.claims
    assert (shuffled.measured[0].value.n, last.verdict) == (2, "holds")
    assert weights.verdict == "holds"
    assert [own.text for own in gaps] == [f"Batches of {n} rows overfit less than full batches do" for n in (8, 32)]
    assert [row.what for row in findings.sheets[2].rows] == ["one row", "8 rows", "32 rows", "full batch"]
    assert claim.measured[1].value.mean == 71 / 178  # the largest class
    raw, scaled = (curve.mean for curve in findings.pictures[0].curves)  # type: ignore[union-attr]
    assert len(raw) == len(scaled) == 10
    assert raw[0] == figures["raw_first_loss"]


def test_the_mean_of_batches_is_not_that_of_rows_where_the_last_batch_is_smaller() -> None:
    epoch = EpochOnAllRows(10, 60, running_loss=0.5, batch_losses=(0.4, 0.4, 1.3), loss=0.5, accuracy=0.9)
    claim = wine.loss_needs_weights([[epoch]])
    assert claim.measured[0].value.mean == pytest.approx(0.2 / 0.5)
    equal = replace(epoch, batch_losses=(0.5, 0.5))
    assert wine.loss_needs_weights([[equal]]).verdict == "does not hold"


def test_a_gap_is_what_test_rows_have_beyond_training_rows() -> None:
    def runs(*gaps: float) -> list[wine.StoppedRun]:
        return [wine.StoppedRun((), {"log_loss": 0.1}, {"log_loss": 0.1 + gap}) for gap in gaps]

    by_size = {
        1: runs(0.1, 0.1, 0.2),
        8: runs(0.05, 0.07, 0.06),
        32: runs(0.3, 0.31, 0.33),
        "full": runs(0.2, 0.21, 0.23),
    }
    smaller, larger = wine.batches_regularize(by_size)
    assert (smaller.verdict, larger.verdict) == ("holds", "does not hold")
    assert wine.gap_sheet(by_size).rows[1].cells[3] == spread(run.test["log_loss"] - 0.1 for run in by_size[8])


def test_batches_in_order_train_otherwise_than_shuffled_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wine, "EPOCHS_OF_ORDER", 2)
    table = sample_table("wine")
    rows = np.arange(0, 178, 2), np.arange(1, 178, 2)
    inputs = torch.from_numpy(standardize(table.numbers, fit_statistics(table.numbers, table.weight)))
    first, again, shuffled = (wine.loss_after_training(inputs, table, rows, 0, order) for order in (True, True, False))
    assert first == again != shuffled
