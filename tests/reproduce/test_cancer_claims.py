"""The claims of the cancer lessons beside runs that are made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tabcohort.reproduce.cancer_claims import cancer_claims, cancer_pictures, confusion_claim, losses_at
from tabcohort.reproduce.cancer_weights import Weights
from tabcohort.reproduce.claims import CANNOT, FAILS, HOLDS

NAMES = ["mean radius", "mean perimeter", "worst texture", "area error"]


def run(n_epochs: int, accuracy: float) -> Any:
    metrics = {"accuracy": accuracy, "specificity": 0.75, "sensitivity": 0.5}
    history = [
        SimpleNamespace(train_loss=1 / epoch, val_loss=2 / epoch, seconds=0.1 * epoch)
        for epoch in range(1, n_epochs + 1)
    ]
    return SimpleNamespace(trained=SimpleNamespace(history=history), train=metrics, test=metrics)


def weights() -> Weights:
    values = np.array([[0.5, 0.6, 0.7, 0.1], [0.6, 0.5, 0.8, 0.2]])
    return Weights(NAMES, np.eye(4), values, values, np.array([0.7, 0.8]))


def test_claims_are_compared_with_the_runs_that_came_so_far() -> None:
    runs = [run(60, 0.964), run(40, 0.966)]
    claims = {(claim.text, claim.claimed): claim for claim in cancer_claims(runs, weights(), (72, 42))}
    assert claims["Accuracy of the test rows", "96.5%"].verdict == HOLDS
    assert claims["Accuracy of the train rows", "97.8%"].verdict == HOLDS
    assert claims["The validation loss of epoch 10", "0.412"].verdict == FAILS
    assert claims["The training loss of epoch 50", "0.201"].measured[0].value.n == 1
    assert not any(text.endswith("epoch 100") for text, _ in claims)
    assert losses_at(runs, 50, "val_loss") == [0.04]


def test_no_stratified_part_has_the_classes_of_the_claimed_confusion_matrix() -> None:
    claim = confusion_claim([run(2, 0.9)], (72, 42))
    assert claim.verdict == CANNOT
    assert [own.value.mean for own in claim.measured] == [18.0, 21.0]
    assert "its classes have 47 and 67 rows" in claim.reason
    assert claim.reason.endswith("72 benign and 42 malignant")


def test_the_confusion_matrices_have_benign_first_as_the_table_has() -> None:
    pictures = [picture.to_dict() for picture in cancer_pictures([run(3, 0.9)], [run(2, 0.8)], weights(), (72, 42))]
    (confusions,) = (picture for picture in pictures if picture["kind"] == "confusions")
    assert confusions["classes"] == ["benign", "malignant"]
    assert [matrix["rows"] for matrix in confusions["matrices"]] == [[[45, 2], [2, 65]]] + 2 * [[[54, 18], [21, 21]]]
