"""The documents' worked examples, each computed a second time from its formula."""

from __future__ import annotations

import math

import pytest

from tabcohort.reproduce.worked_examples import (
    GRADIENTS,
    RADIUS,
    TEXTURE,
    adam_moments,
    computed_claim,
    lesson_claims,
    patent_examples,
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


def test_figures_agree_if_they_are_printed_alike() -> None:
    assert computed_claim("x", "y", (0.92,), (0.9206,), ".2f").verdict == "holds"
    claim = computed_claim("x", "y", (0.92, 1.0), (0.93, 1.0), ".2f", "it is 0.93")
    assert (claim.verdict, claim.reason, claim.claimed) == ("does not hold", "it is 0.93", "0.92, 1.00")
    assert [measured.text for measured in claim.measured] == ["0.93", "1.00"]


def test_the_lessons_examples_hold_but_for_the_velocities() -> None:
    claims = {claim.text.partition(" ")[0]: claim for claim in lesson_claims()}
    assert {name: claim.verdict for name, claim in claims.items()} == {
        "Momentum": "holds", "Velocities": "does not hold", "Probability": "holds", "Bytes": "holds",
        "Early": "holds",
    }  # fmt: skip
    assert claims["Velocities"].measured[0].value.mean == pytest.approx(7.7e-4, rel=0.01)
    assert claims["Velocities"].reason.endswith("adds later, they are 0.257 and 0.097")


def test_the_patent_examples_hold_but_for_the_norm() -> None:
    claims = patent_examples()
    wrong = [claim for claim in claims if claim.verdict != "holds"]
    assert [claim.text for claim in wrong] == ["Norm of the gradients"]
    norm = math.sqrt(sum(value**2 for own in GRADIENTS for value in own))
    assert wrong[0].measured[0].value.mean == pytest.approx(norm)
    assert claims[2].measured[0].value.mean == pytest.approx(4.0)
    assert claims[4].measured[0].value.mean == pytest.approx(2 * 0.9 * 0.9 * 0.1)
    assert claims[1].measured[0].value.mean == pytest.approx(-1 / 0.8)
