"""A finished model predicts by column names, and a row's prediction is its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from helpers import SINGLE, SMALL, fit_quickly, make_rows, make_small_table

from tabcohort import Predictor, SettingsError, Table, TableError
from tabcohort.engines.compiled.inference import Inference
from tabcohort.errors import TabcohortWarning
from tabcohort.evaluation.calibration import Calibrator, no_calibrator
from tabcohort.evaluation.decision import choose_threshold, parse_objective, rows_of
from tabcohort.evaluation.evaluate import evaluate
from tabcohort.evaluation.prediction_sets import set_thresholds
from tabcohort.network.lower import to_module

X, CODES = make_rows(seed=1)
X_OF_THREE, CODES_OF_THREE = make_rows(n_classes=3, seed=2)
RECORD = {"x0": 1.0, "x1": -0.5, "x2": 0.25}
MODELS: list[dict[str, Any]] = [
    {"model": "logistic"},
    {"model": "mlp", "hidden": (64, 33)},
    {"model": "mlp", "hidden": (16,), "batch_norm": True, "dropout": 0.5},
    {"model": "residual", "hidden": (64, 32)},
]


def test_a_row_is_predicted_by_its_names(predictor: Predictor) -> None:
    prediction = predictor.predict_row(RECORD)
    proba = predictor.predict_proba(np.array([list(RECORD.values())]))[0]
    assert prediction.probability == dict(zip(["no", "yes"], proba, strict=True))
    assert prediction.label == ["no", "yes"][proba.argmax()]
    assert sum(prediction.probability.values()) == pytest.approx(1, abs=1e-15)


def test_names_may_come_in_any_order_and_with_others(predictor: Predictor) -> None:
    turned = {"more": "text", **dict(reversed(RECORD.items()))}
    assert predictor.predict_row(turned) == predictor.predict_row(RECORD)


def test_numbers_may_come_as_text(predictor: Predictor) -> None:
    text = {name: f" {value} " for name, value in RECORD.items()}
    assert predictor.predict_row(text) == predictor.predict_row(RECORD)
    assert predictor.predict_row({**RECORD, "x0": True}) == predictor.predict_row(RECORD)
    assert predictor.predict_row({**RECORD, "x0": "true"}) == predictor.predict_row(RECORD)


def test_a_missing_name_offers_the_nearest(predictor: Predictor) -> None:
    with pytest.raises(
        TableError,
        match=r"^the record lacks 'x2' \(is it called 'x_2'\?\): 3 columns are needed; it has x0, x1, x_2"
        r"; a missing cell is null \(None in Python\)$",
    ):
        predictor.predict_row({"x0": 1, "x1": 2, "x_2": 3})
    with pytest.raises(TableError, match=r"^the record lacks 'x0', 'x1', 'x2': 3 columns are needed; it has ; a"):
        predictor.predict_row({})


@pytest.mark.parametrize(
    ("record", "kind"), [([1, 2, 3], "list"), (None, "NoneType"), ("x0", "str"), (X[0], "ndarray")]
)
def test_a_record_without_names_is_refused(predictor: Predictor, record: Any, kind: str) -> None:
    with pytest.raises(TableError, match=f"^a record is a mapping of column names to values; it is {kind}$"):
        predictor.predict_row(record)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("tall", "^row 1, column 'x1' holds 'tall', which is not a number: fix it, or leave the cell empty$"),
        ("yes", "^row 1, column 'x1' holds 'yes', which is not a number: fix it, or leave the cell empty$"),
        (float("inf"), r"^row 1, column 'x1' is infinite \(inf\)"),
        ("1e400", r"^row 1, column 'x1' is infinite \(inf\)"),
        (1e101, r"^row 1, column 'x1' holds 1e\+101: a number must be at most 1e100"),
        ([1, 2], r"^the column 'x1' must have one value per row; it is of shape \(1, 2\)$"),
        ({}, r"^the column 'x1' must be numbers; it is Object"),
    ],
)
def test_a_value_that_is_no_number_is_named(predictor: Predictor, value: Any, words: str) -> None:
    with pytest.raises(TableError, match=words):
        predictor.predict_row({**RECORD, "x1": value})


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, dict])
def test_columns_are_matched_by_name(predictor: Predictor, kind: Any) -> None:
    columns = {"x2": X[:, 2], "extra": ["text"] * len(X), "x0": X[:, 0].astype(str), "x1": X[:, 1]}
    assert (predictor.predict_proba(kind(columns)) == predictor.predict_proba(X)).all()


def test_a_missing_column_offers_the_nearest(predictor: Predictor) -> None:
    with pytest.raises(
        TableError, match=r"the table lacks 'x1' \(is it called 'x11'\?\): 3 columns are needed; it has x0, x11, x2$"
    ):
        predictor.predict(pd.DataFrame({"x0": [1.0], "x11": [1.0], "x2": [1.0]}))


def test_a_cell_is_named_by_row_and_column(predictor: Predictor) -> None:
    bad = X.copy()
    bad[7, 2] = np.inf
    with pytest.raises(TableError, match=r"row 8, column 'x2' is infinite \(inf\)"):
        predictor.predict(bad)


@pytest.mark.parametrize("value", [None, "", "NA", "?", float("nan"), pd.NA, pd.NaT, np.float32("nan")])
def test_a_missing_value_is_predicted_with_as_the_training_rows_mean(predictor: Predictor, value: Any) -> None:
    """No cell was missing in training, so there is nothing to learn what that means from."""
    given = predictor.predict_row({**RECORD, "x1": value})
    missing = np.array([[RECORD["x0"], np.nan, RECORD["x2"]]])
    assert list(given.probability.values()) == predictor.predict_proba(missing)[0].tolist()
    assert list(given.probability.values()) != list(predictor.predict_row(RECORD).probability.values())
    for network in predictor.models:
        statistics = network.statistics()
        assert statistics is not None
        means = np.array([[RECORD["x0"], statistics.center[1], RECORD["x2"]]])
        logits = [Inference([network]).logits(rows) for rows in (means, missing)]
        np.testing.assert_allclose(logits[0], logits[1], rtol=1e-6)


def test_the_prediction_for_a_record_says_what_is_unusual_in_it(predictor: Predictor) -> None:
    assert predictor.predict_row(RECORD).warnings == ""
    with pytest.warns(TabcohortWarning, match="column 'x1' holds 1000000"):
        assert predictor.predict_row({**RECORD, "x1": 1e6}).warnings == "far from the training rows in 'x1'"
    assert predictor.predict_row({**RECORD, "x1": None}).warnings == "missing 'x1'"


@pytest.mark.parametrize("config", MODELS, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_rows_give_no_predictions(config: dict[str, Any], n_classes: int) -> None:
    predictor = fit_quickly(make_small_table(n_classes), **config)
    for nothing in (X[:0], pl.DataFrame(X, schema=["x0", "x1", "x2"]).head(0), {"x0": [], "x1": [], "x2": []}):
        assert predictor.predict_proba(nothing).shape == (0, n_classes)
        assert predictor.predict(nothing).shape == (0,)
        assert predictor.predict_set(nothing).shape == (0, n_classes)
        assert predictor.predict_uncertainty(nothing).shape == (0,)
        assert predictor.member_logits(nothing).shape == (0, 3, 1 if n_classes == 2 else 3)


@pytest.mark.parametrize("config", MODELS, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_row_alone_is_predicted_as_in_a_batch_to_the_bit(config: dict[str, Any], n_classes: int) -> None:
    """A predictor in training mode would move by up to 0.77 here."""
    predictor = fit_quickly(make_small_table(n_classes), **config)
    together = predictor.predict_proba(X)
    alone = np.vstack([predictor.predict_proba(row[None]) for row in X])
    np.testing.assert_array_equal(alone, together)
    spread = [predictor.predict_uncertainty(row[None])[0] for row in X]
    np.testing.assert_array_equal(spread, predictor.predict_uncertainty(X))
    np.testing.assert_array_equal(predictor.predict_proba(X[::-1])[::-1], together)
    np.testing.assert_array_equal(predictor.predict_proba(X[5:12]), together[5:12])
    record = dict(zip(predictor.schema.features, X[3], strict=True))
    assert list(predictor.predict_row(record).probability.values()) == together[3].tolist()


@pytest.mark.parametrize("config", MODELS, ids=str)
def test_predictions_are_those_of_the_networks_in_pytorch(config: dict[str, Any]) -> None:
    predictor = fit_quickly(make_small_table(3), **config)
    with torch.no_grad():
        logits = torch.stack([to_module(network).double()(torch.from_numpy(X)) for network in predictor.models], 1)
    np.testing.assert_allclose(predictor.member_logits(X), logits, rtol=1e-5, atol=1e-5)
    mean = logits.softmax(dim=2).mean(dim=1).numpy()
    corrected = np.exp(predictor.calibrator.apply(np.log(mean)))
    np.testing.assert_allclose(predictor.predict_proba(X), corrected, rtol=1e-5, atol=1e-6)
    members = np.exp(predictor.calibrator.apply(logits.log_softmax(dim=2).numpy()))
    np.testing.assert_allclose(predictor.log_proba_and_spread(X)[1], members.std(axis=1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("config", MODELS, ids=str)
@pytest.mark.parametrize("value", [1e30, -1e39, 1e99])
def test_a_value_far_beyond_the_training_rows_has_a_prediction(config: dict[str, Any], value: float) -> None:
    """A wrong unit or a typing error: its probabilities may be 0 and 1, but they are numbers."""
    predictor = fit_quickly(**config)
    wrong = X[:3].copy()
    wrong[1, 2] = value
    with pytest.warns(TabcohortWarning, match=r"^row 2, column 'x2' holds .* standard deviations from"):
        proba = predictor.predict_proba(wrong)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(proba[[0, 2]], predictor.predict_proba(X[[0, 2]]))


def test_the_number_of_threads_changes_no_bit(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.tile(X, (50, 1))
    monkeypatch.setattr("tabcohort.model.predictor.MAX_LOGITS_AT_ONCE", 2**12)  # and some of them at once
    expected = np.tile(predictor.predict_proba(X), (50, 1))
    for rows_per_thread, n_cpus in ((2048, 1), (1000, 2), (100, 13)):
        monkeypatch.setattr("tabcohort.engines.compiled.inference.MIN_ROWS_PER_THREAD", rows_per_thread)
        monkeypatch.setattr("os.cpu_count", lambda n_cpus=n_cpus: n_cpus)
        np.testing.assert_array_equal(predictor.predict_proba(many), expected)


def test_rows_that_cannot_be_written_to_are_predicted_without_a_warning(predictor: Predictor) -> None:
    """Frames of pandas hand out such arrays."""
    fixed = X.copy()
    fixed.flags.writeable = False
    assert (predictor.predict_proba(fixed) == predictor.predict_proba(X)).all()


def test_predict_is_the_most_probable_class(three_classes: Predictor) -> None:
    proba = three_classes.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-14)
    assert (three_classes.predict(X) == np.array(["may", "no", "yes"])[proba.argmax(axis=1)]).all()


def frame_of(X: np.ndarray, labels: np.ndarray) -> pl.DataFrame:
    """Return a frame with the columns in another order than the model's."""
    columns = {f"x{i}": X[:, i] for i in reversed(range(X.shape[1]))}
    return pl.DataFrame({**columns, "target": labels})


def test_the_table_it_was_trained_on_is_known_in_any_column_order() -> None:
    table = make_small_table()
    predictor = fit_quickly(table)
    labels = np.array(["no", "yes"])[table.y]
    assert predictor.was_trained_on(table)
    assert predictor.was_trained_on(Table.for_schema(frame_of(table.X, labels), predictor.schema))
    other = table.X.copy()
    other[0, 0] += 1e-9
    assert not predictor.was_trained_on(Table.from_arrays(other, labels))
    assert not predictor.was_trained_on(make_small_table(n_features=4))


def test_evaluate_agrees_with_the_predictions_in_any_column_order(predictor: Predictor) -> None:
    labels = np.array(["no", "yes"])[CODES]
    evaluation = predictor.evaluate(Table.for_schema(frame_of(X, labels), predictor.schema))
    assert evaluation.metrics["accuracy"].value == pytest.approx((predictor.predict(X) == labels).mean())
    assert evaluation.confusion.sum() == evaluation.n_rows == len(X)


def test_evaluate_counts_classes_as_the_model_does(three_classes: Predictor) -> None:
    """A table without the model's first class does not number the others anew."""
    kept = CODES_OF_THREE > 0
    labels = np.array(["may", "no", "yes"])[CODES_OF_THREE]
    frame = frame_of(X_OF_THREE[kept], labels[kept])
    evaluation = three_classes.evaluate(Table.for_schema(frame, three_classes.schema))
    assert evaluation.confusion[0].sum() == 0
    expected = (three_classes.predict(X_OF_THREE[kept]) == labels[kept]).mean()
    assert evaluation.metrics["accuracy"].value == pytest.approx(expected)


def test_sets_are_measured_on_a_table_by_the_thresholds_of_the_model(predictor: Predictor) -> None:
    table = Table.for_schema(frame_of(X, np.array(["no", "yes"])[CODES]), predictor.schema)
    in_set = predictor.predict_set(X)
    evaluation, covered, sizes = predictor.evaluate_sets(table), in_set[np.arange(len(X)), table.y], in_set.sum(axis=1)
    assert evaluation.covered == pytest.approx(covered.mean())
    assert (evaluation.single, evaluation.several) == pytest.approx(((sizes == 1).mean(), (sizes > 1).mean()))
    for code in range(2):
        assert evaluation.covered_by_class[code] == pytest.approx(covered[table.y == code].mean())


def test_evaluate_refuses_a_table_of_another_schema(predictor: Predictor, three_classes: Predictor) -> None:
    table = Table.for_schema(frame_of(X, np.array(["no", "yes"])[CODES]), predictor.schema)
    words = r"^the table does not have this model's schema; make it by Table\.for_schema\(frame, model\.schema\)$"
    with pytest.raises(TableError, match=words):
        three_classes.evaluate(table)
    with pytest.raises(TableError, match=words):
        three_classes.evaluate_sets(table)


def test_coefficients_are_of_linear_models_of_two_classes(predictor: Predictor) -> None:
    coefficients = fit_quickly(model="logistic", max_epochs=150, learning_rate=0.05).coefficients()
    assert coefficients is not None
    assert next(iter(coefficients)) == "x0"
    sizes = [abs(coefficient) for coefficient in coefficients.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert predictor.coefficients() is None
    assert fit_quickly(make_small_table(3), model="logistic").coefficients() is None


def test_its_repr_says_what_it_is_worth(predictor: Predictor) -> None:
    accuracy = predictor.report.evaluation.metrics["accuracy"]
    assert repr(predictor) == (
        f"<Predictor of 'target' from 3 features, 3 members, out-of-fold accuracy {accuracy.low:.3f} to "
        f"{accuracy.high:.3f} on 90 rows>"
    )


def test_an_outlier_cell_is_measured_in_standard_deviations_of_the_training_rows(predictor: Predictor) -> None:
    far = X.copy()
    far[7, 2] = -1000.0
    column, distance = predictor.outlier_cells(far)
    assert distance.argmax() == 7
    assert column[7] == 2
    statistics = predictor.models[0].statistics()
    assert statistics is not None
    assert distance[7] == pytest.approx((1000 + statistics.center[2]) * statistics.scale[2])
    assert [len(values) for values in predictor.outlier_cells(X[:0])] == [0, 0]


def test_all_missing_columns_are_named_at_once(predictor: Predictor) -> None:
    with pytest.raises(TableError, match=r"^the table lacks 'x0', 'x2'.*: 3 columns are needed; it has x1, other$"):
        predictor.predict(pd.DataFrame({"x1": [1.0], "other": [1.0]}))


def test_the_coefficients_of_a_linear_model_are_signed_for_the_positive_class() -> None:
    table = make_small_table()
    labels = np.array(["no", "yes"])[table.y]
    config: dict[str, Any] = {"model": "logistic", "max_epochs": 30}
    of_yes = fit_quickly(Table.from_arrays(table.X, labels), **config).coefficients()
    of_no = fit_quickly(Table.from_arrays(table.X, labels, positive="no"), **config).coefficients()
    assert of_yes is not None
    assert of_no == {name: -coefficient for name, coefficient in of_yes.items()}
    assert of_yes["x0"] > 0  # the greater x0, the likelier is yes


def test_the_coefficients_of_a_linear_model_are_the_mean_over_its_networks(predictor: Predictor) -> None:
    logistic = fit_quickly(model="logistic", max_epochs=30)
    coefficients = logistic.coefficients()
    assert coefficients is not None
    matrices = [next(array for array in net.named().values() if array.ndim == 2) for net in logistic.models]
    of_x0 = [matrix[0, 0] for matrix in matrices]
    assert coefficients["x0"] == pytest.approx(np.mean(of_x0))
    assert len(set(of_x0)) == 3
    # Beside networks of another config they would say half of it.
    others = tuple(replace(member, config=1) for member in predictor.report.members)
    report = replace(
        logistic.report,
        members=logistic.report.members + others,
        configs=logistic.report.configs + predictor.report.configs,
    )
    mixed = Predictor(
        logistic.models + predictor.models, range(6), logistic.schema, logistic.calibrator, logistic.decision_rule,
        logistic.out_of_fold, report,
    )  # fmt: skip
    assert mixed.coefficients() is None


# -- several networks ------------------------------------------------------------------------------------------------


def corrected(predictor: Predictor) -> Predictor:
    """Return this model with a correction that changes much."""
    calibrator = Calibrator("bias-corrected temperature", 2.0, np.array([0.0, -0.7]))
    return Predictor(
        predictor.models, predictor.members, predictor.schema, calibrator, predictor.decision_rule,
        predictor.out_of_fold, predictor.report,
    )  # fmt: skip


def test_the_prediction_is_the_corrected_mean_of_the_members_probabilities(predictor: Predictor) -> None:
    own = 1 / (1 + np.exp(-predictor.member_logits(X)[:, :, 0]))
    mean = own.mean(axis=1)
    odds = np.exp(-0.7) * mean**2 / (1 - mean) ** 2  # scale 2 squares the odds, the shift adds to their logarithm
    np.testing.assert_allclose(corrected(predictor).predict_proba(X)[:, 1], odds / (1 + odds), rtol=1e-10)


def test_uncertainty_is_how_far_the_members_are_from_agreeing(predictor: Predictor) -> None:
    changed = corrected(predictor)
    own = changed.calibrator.apply(
        np.stack([-np.logaddexp(0, logits) for logits in (predictor.member_logits(X)[:, :, 0] * s for s in (1, -1))], 2)
    )
    np.testing.assert_allclose(changed.predict_uncertainty(X), np.exp(own)[:, :, 1].std(axis=1), rtol=1e-8)
    record = dict(zip(changed.schema.features, X[4], strict=True))
    assert changed.predict_row(record).spread == changed.predict_uncertainty(X[4:5])[0]
    assert (fit_quickly(settings=SINGLE).predict_uncertainty(X) == 0).all()


def test_networks_of_configs_with_a_greater_weight_count_for_more(predictor: Predictor) -> None:
    """Three networks of a tenth, and one of nine tenths."""
    single = fit_quickly(settings=SINGLE, model="logistic")
    (last,) = single.report.members
    configs = (
        replace(predictor.report.configs[0], weight=0.1),
        replace(single.report.configs[0], weight=0.9),
    )
    report = replace(
        predictor.report, configs=configs, members=(*predictor.report.members, replace(last, config=1))
    )  # fmt: skip
    both = Predictor(
        predictor.models + single.models, range(4), predictor.schema, no_calibrator(2), predictor.decision_rule,
        predictor.out_of_fold, report,
    )  # fmt: skip
    assert both.config == single.config
    own = 1 / (1 + np.exp(-both.member_logits(X)[:, :, 0]))
    weights = [0.1 / 3] * 3 + [0.9]
    np.testing.assert_allclose(both.weights, weights)
    mean = own @ weights
    np.testing.assert_allclose(both.predict_proba(X)[:, 1], mean, rtol=1e-10)
    np.testing.assert_allclose(
        both.log_proba_and_spread(X)[1][:, 1], np.sqrt(np.square(own - mean[:, None]) @ weights), rtol=1e-8
    )


# -- sets and thresholds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_set_holds_the_classes_that_are_probable_enough(n_classes: int) -> None:
    predictor = fit_quickly(make_small_table(n_classes), max_epochs=30)
    rows = predictor.out_of_fold
    thresholds = set_thresholds(rows.log_proba.astype(np.float64), rows.y, rows.weight, 0.9)
    np.testing.assert_array_equal(predictor.decision_rule.set_thresholds, thresholds)
    sets = predictor.predict_set(X)
    np.testing.assert_array_equal(sets, predictor.predict_proba(X) >= thresholds)
    record = dict(zip(predictor.schema.features, X[0], strict=True))
    names = np.array(predictor.schema.classes)[sets[0]]
    assert predictor.predict_row(record).classes == tuple(names)
    evaluation = predictor.report.sets
    assert evaluation.single + evaluation.several + evaluation.empty == pytest.approx(1)
    assert 0.75 < evaluation.covered <= 1
    assert np.bincount(rows.y) / len(rows.y) @ evaluation.covered_by_class == pytest.approx(evaluation.covered)


def test_more_coverage_makes_larger_sets(predictor: Predictor) -> None:
    sizes = [predictor.with_decision_rule(None, coverage).predict_set(X).sum() for coverage in (0.5, 0.8, 0.95)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


@pytest.mark.parametrize("objective", ["f1", "sensitivity>=0.95", "cost=10:1", 0.3, "0.3"])
def test_another_threshold_needs_no_training_and_leaves_the_networks_alone(
    predictor: Predictor, objective: Any
) -> None:
    numbers = [(network.parameters.copy(), network.buffers.copy()) for network in predictor.models]
    before = repr((predictor.decision_rule, predictor.report))
    changed = predictor.with_decision_rule(objective, 0.8)
    assert changed.models == predictor.models
    assert repr((predictor.decision_rule, predictor.report)) == before
    for network, (parameters, buffers) in zip(changed.models, numbers, strict=True):
        np.testing.assert_array_equal(network.parameters, parameters)
        np.testing.assert_array_equal(network.buffers, buffers)
    rows, rule = changed.out_of_fold, changed.decision_rule
    threshold = choose_threshold(parse_objective(objective), rows_of(rows.as_float64(), 1))
    assert (rule.objective, rule.threshold, rule.coverage) == (str(objective), threshold, 0.8)
    proba = changed.predict_proba(X)
    np.testing.assert_array_equal(proba, predictor.predict_proba(X))
    assert changed.predict(X).tolist() == np.where(proba[:, 1] >= threshold, "yes", "no").tolist()
    record = dict(zip(changed.schema.features, X[1], strict=True))
    assert changed.predict_row(record).label == changed.predict(X)[1]


def test_a_threshold_changes_what_is_reported_of_predicted_classes_and_nothing_else(predictor: Predictor) -> None:
    changed = predictor.with_decision_rule("sensitivity>=0.99")
    back = changed.with_decision_rule(None)
    metrics, plain = changed.report.evaluation.metrics, predictor.report.evaluation.metrics
    assert metrics["sensitivity"].value > plain["sensitivity"].value
    assert metrics["specificity"].value < plain["specificity"].value
    for name in ("log_loss", "brier", "roc_auc", "pr_auc", "ece"):
        assert metrics[name] == plain[name]
    assert repr((back.decision_rule, back.report)) == repr((predictor.decision_rule, predictor.report))
    table = make_small_table(seed=3)
    is_yes = changed.predict(table.X) == "yes"
    evaluation = changed.evaluate(table)
    assert evaluation.metrics["sensitivity"].value == pytest.approx(is_yes[table.y == 1].mean())
    assert evaluation.metrics["specificity"].value == pytest.approx(1 - is_yes[table.y == 0].mean())


@pytest.mark.parametrize("objective", ["f1", "balanced_accuracy"])
def test_the_thresholds_that_a_row_is_measured_by_are_chosen_on_other_rows(
    objective: str, predictor: Predictor
) -> None:
    rows, changed = predictor.out_of_fold, predictor.with_decision_rule(objective, 0.8)
    log_proba = rows.log_proba.astype(np.float64)
    y_pred, sets = np.empty(90, dtype=np.int64), np.empty((90, 2), dtype=bool)
    for fold in np.unique(rows.fold_ids):
        own, others = rows.fold_ids == fold, rows.fold_ids != fold
        of_others = log_proba[others], rows.y[others], rows.weight[others]
        threshold = choose_threshold(parse_objective(objective), rows_of(rows.as_float64(), 1, others))
        y_pred[own] = np.exp(log_proba[own, 1]) >= threshold
        sets[own] = np.exp(log_proba[own]) >= set_thresholds(*of_others, 0.8)
    expected = evaluate(log_proba, rows.y, rows.weight, 1, 0, y_pred)
    assert repr(changed.report.evaluation) == repr(expected)
    assert (changed.codes(log_proba) != y_pred).any()  # the threshold of the model itself is another one
    assert changed.report.sets.covered == pytest.approx(sets[np.arange(90), rows.y].mean())
    assert changed.report.sets.several == pytest.approx((sets.sum(axis=1) == 2).mean())
    assert (changed.sets(log_proba) != sets).any()


def test_a_threshold_of_the_settings_is_the_one_that_is_chosen_later(predictor: Predictor) -> None:
    settings = replace(SMALL, threshold="cost=5:1", coverage=0.8)
    one, other = fit_quickly(settings=settings), predictor.with_decision_rule("cost=5:1", 0.8)
    assert repr(one.decision_rule) == repr(other.decision_rule)
    assert one.report.evaluation.metrics == other.report.evaluation.metrics
    assert one.report.sets == other.report.sets


def test_a_threshold_is_for_the_positive_class() -> None:
    table = make_small_table()
    of_no = fit_quickly(Table.from_arrays(table.X, np.array(["no", "yes"])[table.y], positive="no"))
    of_no = of_no.with_decision_rule(0.2)
    proba = of_no.predict_proba(X)
    assert of_no.predict(X).tolist() == np.where(proba[:, 0] >= 0.2, "no", "yes").tolist()


def test_a_threshold_for_more_than_two_classes_is_an_error(three_classes: Predictor) -> None:
    with pytest.raises(SettingsError, match=r"^a threshold is for two classes; there are 3$"):
        three_classes.with_decision_rule("f1")
    assert three_classes.with_decision_rule(None, 0.7).decision_rule.coverage == 0.7


def test_what_is_no_objective_is_an_error(predictor: Predictor) -> None:
    with pytest.raises(SettingsError, match=r"the threshold must be a probability .*; it is 'recall'"):
        predictor.with_decision_rule("recall")


def test_a_coverage_that_cannot_be_is_refused(predictor: Predictor) -> None:
    with pytest.raises(SettingsError, match="the setting 'coverage' must be a number in"):
        predictor.with_decision_rule(None, 1.5)


def test_a_notebook_shows_what_the_model_is_with_names_as_text() -> None:
    table = make_small_table(labels=["<b>no</b>", "yes"])
    columns = tuple(replace(column, name=f"<i>{column.name}") for column in table.schema.columns)
    table = replace(table, schema=replace(table.schema, columns=columns, target="<script>"))
    shown = fit_quickly(table).with_decision_rule("f1")._repr_html_()
    assert not any(word in shown for word in ("<b>", "<i>", "<script>"))
    for text in ("&lt;script&gt;", "&lt;b&gt;no&lt;/b&gt;, yes (positive: yes)", "3: &lt;i&gt;x0", "(f1)", "accuracy"):
        assert text in shown
