"""A learning curve compares cohorts of fewer rows on the same test rows, and keeps what was done when interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, table_of

import tabcohort
from tabcohort import CohortSettings, Config, RunProgress, SettingsError, Table, TableError
from tabcohort.cohort import learning_curve as module
from tabcohort.cohort.learning_curve import LearningCurve, learning_curve, learning_curve_facts

CONFIG = Config(model="logistic", learning_rate=0.05, max_epochs=20)
N_SHARES = len(module.SHARES)


@pytest.fixture(scope="module", autouse=True)
def one_draw() -> Any:
    """Draw each share once, as from larger tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REPEATS_OF_FEW", 1)
        yield


@pytest.fixture(scope="module")
def table() -> Table:
    return table_of(400)


@pytest.fixture(scope="module")
def curve(table: Table) -> LearningCurve:
    return learning_curve(table, CONFIG, SMALL)


def test_every_share_is_tested_on_the_same_rows_and_the_last_is_the_model_itself(
    curve: LearningCurve, table: Table
) -> None:
    predictor = tabcohort.fit(table, CONFIG, SMALL)
    whole = predictor.out_of_fold
    assert curve.shares.tolist() == [*module.SHARES, 1.0]
    assert curve.losses.shape == (N_SHARES + 1, len(whole.rows))
    assert curve.predictions.rows.tolist() == whole.rows.tolist()
    np.testing.assert_allclose(curve.losses[-1], whole.as_float64().losses(), atol=1e-6)
    again = learning_curve(table, CONFIG, SMALL, whole=whole)
    of_model = predictor.report.evaluation.metrics["log_loss"]  # one interval of one figure
    assert vars(again.points()[-1]) == pytest.approx(vars(of_model), rel=1e-7)
    assert again.losses[:-1].tobytes() == curve.losses[:-1].tobytes()


def test_more_rows_help_where_there_is_something_to_learn_from_many_columns() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 25))
    y = rng.logistic(size=300) < X[:, :5].sum(axis=1) * 0.5
    curve = learning_curve(Table.from_arrays(X, y), CONFIG, SMALL)
    losses = [point.value for point in curve.points()]
    assert losses[0] > losses[3] > losses[-1]
    gain, more = curve.gain(2.0), curve.gain(4.0)
    assert 0 <= gain.low < gain.value < gain.high
    assert gain.value < more.value


def test_draws_of_a_share_are_averaged(table: Table, curve: LearningCurve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEATS_OF_FEW", 2)
    twice = learning_curve(table, CONFIG, SMALL)
    assert twice.losses.shape == curve.losses.shape
    assert twice.losses[0].tolist() != curve.losses[0].tolist()
    assert twice.losses[-1].tolist() == curve.losses[-1].tolist()


def test_the_facts_are_json_and_say_what_follows(curve: LearningCurve) -> None:
    facts = json.loads(json.dumps(learning_curve_facts(curve), allow_nan=False))
    gain = facts["forecasts"][0]["gain"]
    assert facts["conclusion"].startswith(
        f"twice the rows (800): log loss about {gain['value']:.3f} lower ({gain['low']:.3f} to {gain['high']:.3f})"
    )
    assert [point["share"] for point in facts["points"]] == [*module.SHARES, 1.0]
    assert facts["points"][-1]["n_train"] == pytest.approx(400 * (2 / 3 - CONFIG.validation_fraction), rel=0.02)
    assert (facts["forecasts"][1]["factor"], facts["forecasts"][1]["n_rows"]) == (4.0, 1_600)
    assert [own["family"] for own in facts["curves"]] == ["power law", "exponential"]
    assert facts["curves"][0]["drawn"][-1][0] == pytest.approx(4.0)
    assert facts["is_complete"]


@pytest.mark.parametrize(("low", "is_unsure"), [(0.0, True), (0.01, False)])
def test_it_is_said_when_the_rows_cannot_tell(low: float, is_unsure: bool) -> None:
    forecast = {"n_rows": 2_000, "gain": {"value": 0.02, "low": low, "high": 0.04}}
    text = module._conclusion(forecast)
    assert text.startswith(f"twice the rows (2,000): log loss about 0.020 lower ({low:.3f} to 0.040)")
    assert text.endswith("; these rows cannot tell whether more would help") is is_unsure


def test_the_callback_hears_of_all_runs_together(table: Table) -> None:
    heard: list[RunProgress] = []
    learning_curve(table, CONFIG, SMALL, heard.append)
    assert {progress.n_members for progress in heard} == {3 * (N_SHARES + 1)}
    done = [progress.n_done for progress in heard]
    assert done == sorted(done)
    assert done[-1] == 3 * (N_SHARES + 1)
    assert [progress.n_epochs for progress in heard].count(0) == 1  # before the first run only
    epochs = [progress.n_epochs for progress in heard]
    assert epochs == sorted(epochs)


class Interrupt:
    """Raises what Ctrl-C raises once so many members are done."""

    def __init__(self, n_done: int) -> None:
        self.n_done = n_done

    def __call__(self, progress: RunProgress) -> None:
        if progress.n_done >= self.n_done and progress.n_epochs:
            raise KeyboardInterrupt


def test_ctrl_c_keeps_the_shares_that_are_done(table: Table) -> None:
    whole = tabcohort.fit(table, CONFIG, SMALL).out_of_fold
    curve = learning_curve(table, CONFIG, SMALL, Interrupt(3 * 4 + 1), whole)
    assert not curve.is_complete
    assert curve.shares.tolist() == [*module.SHARES[: len(curve.shares) - 1], 1.0]
    assert 4 <= len(curve.shares) <= N_SHARES
    assert not learning_curve_facts(curve)["is_complete"]


def test_ctrl_c_before_enough_shares_are_done_is_raised(table: Table) -> None:
    with pytest.raises(KeyboardInterrupt):
        learning_curve(table, CONFIG, SMALL, Interrupt(1))


@pytest.mark.parametrize(
    ("settings", "n_rows", "error", "message"),
    [
        (replace(SMALL, budget_seconds=5), 400, SettingsError, "without a time limit; leave out the budget"),
        (CohortSettings(folds=1, seeds=1), 400, SettingsError, r"needs folds, to test each row; ask for at least 3$"),
        (SMALL, 90, TableError, "^90 rows are too few for a learning curve: there must be 20 training rows in each of"),
    ],
)
def test_what_cannot_be_is_said(settings: CohortSettings, n_rows: int, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        learning_curve(table_of(n_rows), CONFIG, settings)
