"""The weights of the cancer lesson, and what correlation does to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tabcohort.reproduce import cancer
from tabcohort.reproduce.cancer_weights import (
    Weights,
    weight_claims,
    weight_picture,
    weight_sheet,
    weights_as_importances,
    weights_of,
    without_radius,
)
from tabcohort.reproduce.claims import FAILS, HOLDS
from tabcohort.reproduce.runs import sample_table, starting_module

NAMES = ["mean radius", "mean perimeter", "worst texture", "area error"]


def made_up(area_error: float) -> Weights:
    correlations = np.eye(4)
    correlations[0, 1] = correlations[1, 0] = 0.99
    initial = np.array([[0.3, 0.1, 0.0, 0.0], [0.1, 0.2, 0.0, 0.0], [0.0, 0.4, 0.0, 0.0]])
    final = initial + np.array([0.5, 0.5, 0.7, -area_error])
    return Weights(NAMES, correlations, initial, final, np.array([1.0, 1.1, 1.2]))


def test_weights_are_ranked_by_their_size_whatever_their_sign() -> None:
    weights = made_up(area_error=2.0)
    assert weights.ranks[:, 3].tolist() == [1, 1, 1]
    assert weights.largest[0] == "area error"
    assert weights.of("area error").mean == pytest.approx(2.0)
    assert weights.neighbour("mean radius") == ("mean perimeter", 0.99)
    assert [row.what for row in weight_sheet(weights).rows] == NAMES
    assert [bar.claimed for bar in weight_picture(weights).bars] == [0.85, 0.79, 0.72, None]


def test_the_claim_of_the_largest_weights_depends_on_the_others() -> None:
    assert weight_claims(made_up(area_error=2.0))[0].verdict == FAILS
    claim, radius, *_ = weight_claims(made_up(area_error=0.1))
    assert (claim.verdict, claim.measured[0].value.mean) == (HOLDS, 1.0)
    assert radius.measured[0].value.mean == pytest.approx(np.mean([0.8, 0.6, 0.5]))


def test_the_difference_of_correlated_weights_is_compared_with_the_initial_one() -> None:
    figures = weights_as_importances(made_up(area_error=2.0)).figures
    assert figures["difference_before_and_after"] == pytest.approx(1.0)
    assert figures["sum"] == pytest.approx(np.mean([1.4, 1.3, 1.4]))
    assert figures["perimeter_alone"] == pytest.approx(1.1)


def test_weights_are_those_of_the_named_columns() -> None:
    table = sample_table("breast-cancer")
    assert table.schema.features[:3] == ("mean radius", "mean texture", "mean perimeter")
    np.testing.assert_array_equal(without_radius(table).X, table.X[:, 1:])
    module = starting_module(table, replace(cancer.DOCUMENT, seed=5))
    np.testing.assert_allclose(weights_of(module), module.network.linear.weight.detach()[0], rtol=1e-6)
