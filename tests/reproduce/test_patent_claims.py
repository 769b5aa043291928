"""The claims of the patent document on its network as a whole."""

from __future__ import annotations

import pytest

from tabcohort.reproduce.claims import CANNOT, HOLDS, UNDECIDED
from tabcohort.reproduce.patent import PatentRun
from tabcohort.reproduce.patent_claims import CLAIMED_LAYERS, patent_claims, patent_pictures
from tabcohort.reproduce.worked_examples import patent_examples
from tabcohort.training.loop import EpochRecord


def run(roc_auc: float) -> PatentRun:
    history = tuple(EpochRecord(epoch, 0.002 / epoch, 0.4, 0.3, 0.9, 0.3, 1.0) for epoch in (1, 2))
    metrics = {"roc_auc": roc_auc, "accuracy": 0.9, "log_loss": 0.146, "sensitivity": 0.75, "specificity": 0.9}
    return PatentRun(history, (10, 4), metrics, metrics, roc_auc, metrics, roc_auc)


def test_figures_are_compared_with_validation_rows_and_numbers_are_counted() -> None:
    claims = {claim.text: claim for claim in patent_claims([run(0.971), run(0.973)], 73_365, 43)}
    assert claims["Validation ROC AUC"].verdict == HOLDS
    parameters = claims["Parameters of the network"]
    assert (parameters.claimed, parameters.verdict) == ("118,421", CANNOT)
    assert parameters.reason == "there are 73,365, whatever is trained"
    right = patent_claims([run(0.97)], sum(CLAIMED_LAYERS.values()), 27)
    counted = {"Parameters of the network", "Rows left over by the last batch"}
    trained = [claim for claim in right if claim.text.startswith(("Validation", "Epochs"))]
    assert {claim.verdict for claim in right if claim.text in counted} == {HOLDS}
    assert {claim.verdict for claim in trained} == {UNDECIDED}
    assert right[-7:] == patent_examples()


def test_pictures_show_the_rate_and_the_confusion() -> None:
    losses, rate, confusion, _ = (picture.to_dict() for picture in patent_pictures([run(0.97)]))
    assert len(losses["curves"]) == 2
    assert rate["curves"][0]["mean"] == [2.0, 1.0]
    ((negative, positive),) = (matrix["rows"] for matrix in confusion["matrices"])
    assert negative == pytest.approx([9.0, 1.0])
    assert positive == pytest.approx([1.0, 3.0])
