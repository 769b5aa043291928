"""What a server counts."""

from __future__ import annotations

import numpy as np
import pytest

from tabcohort import Predictor, Table
from tabcohort.server.service_metrics import DriftCounter, ServiceMetrics


def value(metrics: ServiceMetrics, line: str) -> float:
    """Return the number that the text has for a metric with its labels."""
    (own,) = [text.rpartition(" ")[2] for text in metrics.text().decode().splitlines() if text.startswith(f"{line} ")]
    return float(own)


def test_predictions_abstentions_and_warnings_are_counted(predictor: Predictor) -> None:
    metrics = ServiceMetrics()
    X = np.array([[-5.0, 0, 0], [5.0, 0, 0], [1e6, 0, 0]])
    predictions = predictor.predict_inputs(X)
    metrics.count_answers("m", predictions)
    for label in {prediction.label for prediction in predictions}:
        own = sum(prediction.label == label for prediction in predictions)
        assert value(metrics, f'tabcohort_predictions_total{{class_="{label}",model="m"}}') == own
    assert value(metrics, 'tabcohort_unusual_rows_total{model="m"}') == 1
    n_abstentions = sum(len(prediction.classes) != 1 for prediction in predictions)
    assert (
        f'tabcohort_abstentions_total{{model="m"}} {n_abstentions:.1f}' in metrics.text().decode() or not n_abstentions
    )


def test_a_shadow_is_compared_by_class_and_by_probability() -> None:
    metrics = ServiceMetrics()
    metrics.compare("m", np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.8, 0.2], [0.7, 0.3]]))
    assert value(metrics, 'tabcohort_shadow_rows_total{model="m"}') == 2
    assert value(metrics, 'tabcohort_shadow_disagreements_total{model="m"}') == 1
    assert value(metrics, 'tabcohort_shadow_probability_difference_total{model="m"}') == pytest.approx(0.4)


def test_drift_is_the_shift_of_the_mean_in_standard_deviations(predictor: Predictor) -> None:
    from helpers import make_rows

    X, _ = make_rows()
    metrics = ServiceMetrics()
    drift = DriftCounter(metrics, "m", predictor)
    drift.add(X[:20])
    drift.show()
    assert 'column="x0"' not in metrics.text().decode()  # too few rows
    drift.add(X[20:])
    drift.show()
    assert abs(value(metrics, 'tabcohort_drift{column="x0",model="m"}')) < 0.02
    shifted = DriftCounter(metrics, "shifted", predictor)
    shifted.add(X + np.array([0.0, 1.5 * X[:, 1].std(), 0.0]))
    shifted.show()
    assert value(metrics, 'tabcohort_drift{column="x1",model="shifted"}') == pytest.approx(1.5, abs=0.1)


def test_drift_of_categories_and_unknown_levels_are_counted(mixed: Predictor, visits: object) -> None:
    from tabcohort.data.inputs import table_inputs

    X = table_inputs(visits, mixed.schema.columns)
    metrics = ServiceMetrics()
    drift = DriftCounter(metrics, "m", mixed)
    drift.add(X)
    drift.show()
    assert value(metrics, 'tabcohort_drift{column="city",model="m"}') < 0.1
    changed = table_inputs(visits.with_columns(city=np.array(["Atlantis"] * 60)), mixed.schema.columns)  # type: ignore[attr-defined]
    other = DriftCounter(metrics, "other", mixed)
    other.add(changed)
    other.show()
    assert value(metrics, 'tabcohort_drift{column="city",model="other"}') > 0.9
    assert value(metrics, 'tabcohort_unknown_levels_total{column="city",model="other"}') == 60


def test_a_model_of_weighted_rows_has_no_drift() -> None:
    from helpers import fit_quickly, make_rows

    X, codes = make_rows()
    table = Table.from_arrays(X, np.array(["no", "yes"])[codes], weight=np.linspace(1, 2, len(X)))
    metrics = ServiceMetrics()
    drift = DriftCounter(metrics, "m", fit_quickly(table))
    drift.add(X)
    drift.show()
    assert "tabcohort_drift{" not in metrics.text().decode()
