"""Wine with a small network, at a tiny size."""

from __future__ import annotations

import math
from dataclasses import replace

from reproduce_helpers import check_document, figures_of
from rich.console import Console

from tabcohort.reproduce import wine


def test_wine_runs_to_its_end(messages: Console) -> None:
    findings = wine.run(messages, seeds=2, config=replace(wine.WITH_EARLY_STOPPING, max_epochs=5))
    check_document(findings)
    figures = figures_of(findings, "trains on raw columns")
    assert figures["raw_first_loss"] > 2 * math.log(3)
    assert figures["raw_accuracy"] < figures["standardized_accuracy"]
    assert len(findings.sheets[0].rows) == 10
    (claim,) = findings.claims
    assert claim.measured[1].value.mean == 71 / 178  # the largest class
    raw, scaled = (curve.mean for curve in findings.pictures[0].curves)  # type: ignore[union-attr]
    assert len(raw) == len(scaled) == 10
    assert raw[0] == figures["raw_first_loss"]
