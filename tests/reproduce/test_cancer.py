"""Breast cancer as the lessons do it, at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reproduce_helpers import check_document, figures_of, row_of, silent_console

from tabcohort.reproduce import cancer
from tabcohort.reproduce.findings import Findings, Spread


@pytest.fixture(scope="module")
def cancer_findings() -> Findings:
    short = replace(cancer.DOCUMENT, max_epochs=40)
    network = replace(cancer.NETWORK, hidden=(32,), learning_rate=2e-2, max_epochs=200)
    return cancer.run(silent_console(), seeds=3, config=short, network=network)


def test_cancer_runs_to_its_end(cancer_findings: Findings) -> None:
    check_document(cancer_findings)
    accuracy = row_of(cancer_findings, "test accuracy").cells
    assert accuracy[0] == 0.965
    assert all(isinstance(cell, Spread) and cell.n == 3 and 0.8 < cell.mean <= 1 for cell in accuracy[1:])
    assert row_of(cancer_findings, "epochs until it stopped").cells[1] == Spread(40.0, 0.0, 3)
    assert row_of(cancer_findings, "train loss of epoch 50").cells[1] is None  # no run came so far


def test_shallow_copy_restores_the_last_weights(cancer_findings: Findings) -> None:
    figures = figures_of(cancer_findings, "keeps its best weights")
    assert figures["network_restored_loss"] > figures["network_recorded_loss"]
    assert figures["network_runs_restored_to_last"] == figures["network_runs"] == 3


def test_recall_of_class_1_is_that_of_benign_rows(cancer_findings: Findings) -> None:
    figures = figures_of(cancer_findings, "takes label 1")
    assert figures["recall_of_class_1"] > figures["malignant_sensitivity"]
    assert (figures["n_malignant"], figures["n_test"]) == (42, 114)
