"""The documents' mistakes that need no training, against their closed forms."""

from __future__ import annotations

import math

import pytest

from tabcohort.reproduce import mistakes


def test_xavier_bound_is_wider_than_the_documents() -> None:
    figures = mistakes.xavier_bound().figures
    assert figures["largest_weight"] == pytest.approx(math.sqrt(6 / 31), rel=1e-3)
    assert figures["standard_deviation"] == pytest.approx(math.sqrt(2 / 31), rel=0.02)
    assert figures["standard_deviation_within_document_bound"] == pytest.approx(math.sqrt(2 / 93), rel=0.02)


def test_epsilon_under_the_root_stifles_small_gradients() -> None:
    figures = mistakes.epsilon_under_root().figures
    assert figures["step"] == pytest.approx(1e-3 / 1.01)
    assert figures["ratio"] == pytest.approx(99.0, rel=0.01)


def test_adamw_decay_is_scaled_by_the_rate() -> None:
    figures = mistakes.adamw_decay().figures
    assert figures["shrinkage"] == pytest.approx(1 - (1 - 2e-8) ** 1_000, rel=1e-6)
    assert figures["document_shrinkage"] == pytest.approx(1 - (1 - 1e-5) ** 1_000, rel=1e-6)
    assert figures["shrinkage_in_float32"] == 0


def test_loss_on_probabilities_loses_its_gradient() -> None:
    figures = mistakes.loss_on_probabilities().figures
    assert figures["gradient"] == 0
    assert figures["gradient_on_logits"] == pytest.approx(1)
    assert 15 <= figures["logit"] <= 18
