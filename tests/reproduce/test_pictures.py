"""What pictures are drawn from."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tabcohort.reproduce.findings import spread
from tabcohort.reproduce.pictures import (
    MAX_POINTS,
    Bar,
    Bars,
    Confusions,
    loss_curves,
    mean_confusion,
    mean_curve,
)


def test_a_mean_curve_ends_where_the_first_series_does() -> None:
    curve = mean_curve("c", [[1.0, 2.0, 9.0], [3.0, 4.0]])
    assert (curve.x, curve.mean) == ((1.0, 2.0), (2.0, 3.0))
    assert curve.deviation == (pytest.approx(2**0.5), pytest.approx(2**0.5))
    assert mean_curve("c", [[1.0]]).deviation == (0.0,)


@pytest.mark.parametrize("n", [1, MAX_POINTS, MAX_POINTS + 1, 20_000])
def test_long_curves_are_thinned_and_keep_their_ends(n: int) -> None:
    curve = mean_curve("c", [np.arange(1.0, n + 1).tolist()])
    assert len(curve.x) <= MAX_POINTS + 2
    assert (curve.x[0], curve.x[-1]) == (1.0, n)
    assert curve.mean == curve.x  # each epoch has its own value


def test_losses_are_those_of_training_and_validation_rows() -> None:
    history = [SimpleNamespace(train_loss=2.0, val_loss=3.0), SimpleNamespace(train_loss=1.0, val_loss=2.5)]
    first, second = loss_curves("t", [history]).curves
    assert (first.mean, second.mean) == ((2.0, 1.0), (3.0, 2.5))


def test_the_confusion_of_metrics_is_that_of_predictions() -> None:
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(2, size=(2, 40, 3)).transpose(0, 2, 1)
    expected = np.mean([confusion_matrix(*pair) for pair in zip(y, predicted, strict=True)], axis=0)
    metrics = [
        {"specificity": float((p[t == 0] == 0).mean()), "sensitivity": float((p[t == 1] == 1).mean())}
        for t, p in zip(y, predicted, strict=True)
    ]
    counts = [(int((t == 0).sum()), int((t == 1).sum())) for t in y]
    np.testing.assert_allclose(mean_confusion(metrics, counts), expected)


def test_pictures_are_plain_json() -> None:
    pictures = (
        Bars("b", (Bar("x", spread([1, 2]), 3.0),), ".1f", "below"),
        Confusions("c", ("no", "yes"), {"ours": ((1, 2), (3, 4))}),
        loss_curves("l", [[SimpleNamespace(train_loss=2.0, val_loss=3.0)]]),
    )
    bars, confusions, curves = json.loads(json.dumps([picture.to_dict() for picture in pictures], allow_nan=False))
    assert bars["bars"][0]["text"] == "1.5 ± 0.7"
    assert (bars["kind"], bars["bars"][0]["claimed"], bars["caption"]) == ("bars", 3.0, "below")
    assert confusions["matrices"] == [{"name": "ours", "rows": [[1, 2], [3, 4]]}]
    assert curves["curves"][1]["mean"] == [3.0]
