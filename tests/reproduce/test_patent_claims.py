"""The claims of the patent document on its training as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from tabcohort.reproduce.claims import CANNOT, FAILS, HOLDS, UNDECIDED
from tabcohort.reproduce.patent import PatentRun
from tabcohort.reproduce.patent_claims import clipping_claims, patent_claims, patent_pictures
from tabcohort.training.loop import EpochRecord


def run(roc_auc: float, log_loss: float = 0.2, rates: tuple[float, ...] = (0.002, 0.001)) -> PatentRun:
    history = tuple(EpochRecord(epoch, rate, 0.4, 0.3, 0.9, 0.3, 2.0 * epoch) for epoch, rate in enumerate(rates, 1))
    metrics = {"roc_auc": roc_auc, "accuracy": 0.9, "log_loss": log_loss, "sensitivity": 0.75, "specificity": 0.9}
    best = {**metrics, "log_loss": 0.199}
    return PatentRun(history, (10, 4), 1_000, metrics, metrics, roc_auc, best, roc_auc)


def test_figures_are_compared_with_validation_rows() -> None:
    claims = {
        claim.text: claim for claim in patent_claims([run(0.971, 0.205), run(0.973, 0.207), run(0.972, 0.206)], [])
    }
    assert claims["Validation ROC AUC"].verdict == HOLDS
    loss = claims["Validation log loss"]
    assert (loss.verdict, loss.measured[1].value.mean) == (FAILS, pytest.approx(0.199))
    assert loss.reason.startswith("no model can be below 0.199 on these pairs")
    single = {claim.text: claim.verdict for claim in patent_claims([run(0.97)], [])}
    assert single["Validation ROC AUC"] == single["Epochs until early stopping"] == UNDECIDED


def test_seconds_are_those_of_a_machine() -> None:
    claims = {claim.text: claim for claim in patent_claims([run(0.97)], [])}
    assert claims["An epoch takes"].verdict == claims["A batch takes"].verdict == CANNOT
    assert claims["An epoch takes"].measured[0].value.mean == 2.0
    assert claims["A batch takes"].measured[0].value.mean == pytest.approx(2.0 / 4)  # 1,000 rows in batches of 256


def test_halvings_are_epochs_with_a_lower_rate_than_the_one_before() -> None:
    halved = run(0.97, rates=(0.002, 0.002, 0.001, 0.001, 0.0005))
    assert halved.halvings == (3, 5)
    claims = {claim.text: claim for claim in patent_claims([halved], [])}
    assert claims["Times that the learning rate is halved"].measured[0].value.mean == 2
    assert claims["First epoch with half the rate"].measured[0].value.mean == 3
    never = {claim.text for claim in patent_claims([run(0.97, rates=(0.002, 0.002))], [])}
    assert "First epoch with half the rate" not in never


def test_gradients_are_compared_with_the_largest_norm() -> None:
    norms = [np.array([[0.5, 2.0], [0.5, 4.0]]), np.array([[0.5, 0.6], [0.7, 5.0]])]
    (claim,) = clipping_claims(norms)
    assert [quantity.value.mean for quantity in claim.measured] == [4.5, pytest.approx(0.95), pytest.approx(0.375)]
    assert clipping_claims([]) == []


def test_pictures_show_the_rate_the_norms_and_the_confusion() -> None:
    norms = [np.array([[0.5, 2.0], [0.5, 4.0]])]
    losses, rate, of_norms, confusion, _ = (picture.to_dict() for picture in patent_pictures([run(0.97)], norms))
    assert len(losses["curves"]) == 2
    assert rate["curves"][0]["mean"] == [2.0, 1.0]
    assert [curve["mean"] for curve in of_norms["curves"]] == [[2.0, 4.0], [1.25, 2.25]]
    ((negative, positive),) = (matrix["rows"] for matrix in confusion["matrices"])
    assert negative == pytest.approx([9.0, 1.0])
    assert positive == pytest.approx([1.0, 3.0])
