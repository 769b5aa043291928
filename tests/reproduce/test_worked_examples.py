"""The lessons' worked examples, each computed a second time from its formula."""

from __future__ import annotations

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from tabcohort.reproduce.runs import sample_table
from tabcohort.reproduce.worked_examples import (
    RADIUS,
    TEXTURE,
    adam_moments,
    lesson_claims,
    standardized_cell,
    stopped_at,
)


@pytest.mark.parametrize("gradients", [RADIUS, TEXTURE])
def test_moments_are_moving_averages(gradients: tuple[float, ...]) -> None:
    first = second = 0.0
    for gradient, moments in zip(gradients, adam_moments(gradients), strict=True):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        assert moments == pytest.approx((first, second), rel=1e-12)


@pytest.mark.parametrize(
    ("losses", "patience", "stopped", "kept"),
    [
        ((0.5, 0.4, 0.35, 0.38, 0.42, 0.45, 0.48, 0.51), 5, 8, 3), ((3.0, 2.0, 1.0), 1, 3, 3),
        ((1.0, 1.0, 1.0), 2, 3, 1), ((2.0, 3.0, 1.0), 1, 2, 1),
    ],
)  # fmt: skip
def test_the_loop_stops_after_its_patience_and_keeps_the_best_epoch(
    losses: tuple[float, ...], patience: int, stopped: int, kept: int
) -> None:
    assert stopped_at(losses, patience) == (stopped, kept)


WRONG = {
    "A cell of radius 15.2, texture 25.3 and perimeter 102.4, standardized",
    "Malignant rows are those of class 1",
    "Velocities of both after three steps",
    "Xavier's initial weights lie between -0.25 and 0.25",
}


def test_what_is_wrong_in_the_lessons_is_wrong_here_and_all_else_holds() -> None:
    claims = {claim.text: claim for claim in lesson_claims(sample_table("breast-cancer"))}
    assert {text for text, claim in claims.items() if claim.verdict != "holds"} == WRONG
    velocities = claims["Velocities of both after three steps"]
    assert velocities.measured[0].value.mean == pytest.approx(7.7e-4, rel=0.01)
    assert velocities.reason.endswith("adds later, they are 0.257 and 0.097")
    assert claims["Malignant rows are those of class 1"].measured[0].value.mean == 357


def test_the_cell_is_standardized_as_scikit_learn_does_it() -> None:
    data = load_breast_cancer()
    scaler = StandardScaler().fit(data.data[:, :3])
    expected = scaler.transform([[15.2, 25.3, 102.4]])[0]
    assert standardized_cell(sample_table("breast-cancer")) == pytest.approx(expected)
