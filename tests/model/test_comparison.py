"""Models compared: on out-of-fold predictions of the same rows, on a table, and what cannot be compared."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from helpers import QUICK, SMALL, fit_quickly, make_rows, make_small_table

import tabcohort
from tabcohort import Predictor, TabcohortError, TabcohortWarning, Table, TableError
from tabcohort.evaluation.intervals import Estimate
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.comparison import ModelComparison, compare, comparison_facts


def frame_of(seed: int = 5, n_rows: int = 80, n_classes: int = 2) -> pl.DataFrame:
    """Return rows for the models of `make_small_table`, with their target."""
    X, codes = make_rows(n_rows, n_classes=n_classes, seed=seed)
    names = np.array(["no", "yes", "may", "who"][:n_classes])
    return pl.DataFrame(X, schema=["x0", "x1", "x2"]).with_columns(target=pl.Series(names[codes]))


def with_rows(model: Predictor, rows: slice) -> Predictor:
    """Return a model that has out-of-fold predictions for some of its rows only."""
    kept = model.out_of_fold.take(np.arange(len(model.out_of_fold.y))[rows])
    return Predictor(
        model.models, model.members, model.schema, model.calibrator, model.decision_rule, kept, model.report
    )


@pytest.fixture(scope="module")
def weak() -> Predictor:
    """A model of the same table as `predictor`, hardly trained."""
    return fit_quickly(learning_rate=1e-5, max_epochs=1)


@pytest.fixture(scope="module")
def good() -> Predictor:
    """A model of the same table, trained to its end."""
    return fit_quickly(model="logistic", max_epochs=100)


# -- out of fold -----------------------------------------------------------------------------------------------------


def test_out_of_fold_figures_are_those_that_each_model_reports(weak: Predictor, good: Predictor) -> None:
    compared = compare([weak, good])
    assert compared.is_out_of_fold
    assert compared.names == ("model 1", "model 2")
    for model, evaluation in zip((weak, good), compared.comparison.evaluations, strict=True):
        for name, estimate in model.report.evaluation.metrics.items():
            assert vars(evaluation.metrics[name]) == pytest.approx(vars(estimate)), name


def test_a_better_model_is_found(weak: Predictor, good: Predictor) -> None:
    facts = comparison_facts(compare({"weak": weak, "good": good}))
    (found,) = facts["comparisons"]
    assert found["told_apart"] is True
    assert found["conclusion"].startswith("good has a lower log loss than weak, by 0.")
    assert found["conclusion"].endswith(", on these 90 rows")
    assert found["differences"]["log_loss"]["is_better"] is True
    (backwards,) = comparison_facts(compare({"good": good, "weak": weak}))["comparisons"]
    assert backwards["conclusion"].startswith("weak has a higher log loss than good, by 0.")
    assert backwards["differences"]["log_loss"]["is_better"] is False


def test_a_model_and_itself_predict_the_same(good: Predictor) -> None:
    compared = compare({"one": good, "other": good})
    assert set(compared.comparison.differences[0].values()) == {Estimate(0.0, 0.0, 0.0)}
    (found,) = comparison_facts(compared)["comparisons"]
    assert found["conclusion"] == "other and one predict the same for these 90 rows"
    assert found["told_apart"] is False


def test_models_that_the_rows_cannot_tell_apart_are_said_to_be_so(good: Predictor) -> None:
    alike = fit_quickly(model="mlp", max_epochs=50)
    (found,) = comparison_facts(compare({"good": good, "alike": alike}))["comparisons"]
    assert found["conclusion"] == "these 90 rows cannot tell good from alike"


def test_rows_are_matched_by_their_numbers(weak: Predictor, good: Predictor) -> None:
    compared = compare([with_rows(weak, slice(10, None)), with_rows(good, slice(0, 70))])
    assert compared.comparison.evaluations[0].n_rows == 60
    cut = [with_rows(model, slice(10, 70)) for model in (weak, good)]
    assert repr(compare(cut).comparison) == repr(compared.comparison)


def test_models_that_tested_other_rows_need_a_table(weak: Predictor, good: Predictor) -> None:
    with pytest.raises(TableError, match=r"no row in common.*give a table with the target \(--table TABLE\)"):
        compare([with_rows(weak, slice(0, 40)), with_rows(good, slice(40, 90))])


def test_models_of_different_tables_need_a_table(good: Predictor) -> None:
    other = fit_quickly(make_small_table(seed=1), model="logistic")
    words = r"first and second were trained on different tables, .*give a table with the target that neither was"
    with pytest.raises(TableError, match=words):
        compare({"first": good, "second": other})


def test_a_threshold_is_chosen_on_the_other_folds_as_it_is_in_the_report(good: Predictor) -> None:
    changed = good.with_decision_rule("sensitivity>=0.9")
    evaluation = compare([good, changed]).comparison.evaluations[1]
    for name in ("sensitivity", "accuracy"):
        assert evaluation.metrics[name] == changed.report.evaluation.metrics[name]


def test_weights_and_groups_are_those_of_the_training_table() -> None:
    X, codes = make_rows(120)
    labels = np.array(["no", "yes"])[codes]
    weight, group_ids = np.where(np.arange(120) % 3 == 0, 2.0, 1.0), np.arange(120) // 2
    table = Table.from_arrays(X, labels, weight=weight, group_ids=group_ids)
    models = [fit_quickly(table, model="logistic", learning_rate=rate) for rate in (0.02, 0.002)]
    compared = compare(models)
    assert (compared.comparison.evaluations[0].n_rows, compared.comparison.evaluations[0].n_groups) == (120, 60)
    losses = [model.out_of_fold.as_float64().losses() for model in models]
    expected = np.average(losses[1] - losses[0], weights=weight)
    assert compared.comparison.differences[0]["log_loss"].value == pytest.approx(expected, rel=1e-5)
    assert "120 rows in 60 groups" in comparison_facts(compared)["comparisons"][0]["conclusion"]


# -- on a table ------------------------------------------------------------------------------------------------------


def test_on_a_table_figures_are_those_of_evaluate(weak: Predictor, good: Predictor) -> None:
    frame = frame_of()
    compared = compare([weak, good], frame)
    assert not compared.is_out_of_fold
    for model, evaluation in zip((weak, good), compared.comparison.evaluations, strict=True):
        expected = model.evaluate(Table.for_schema(frame, model.schema)).metrics
        assert repr(evaluation.metrics) == repr(expected)


def test_models_of_other_columns_and_positive_classes_are_compared_on_a_table(good: Predictor) -> None:
    frame = frame_of(seed=0, n_rows=90)
    fewer = Table.from_frame(frame.drop("x2").reverse(), "target", positive="no")
    other = tabcohort.fit(fewer, tabcohort.Config(**QUICK, model="logistic"), SMALL)
    compared = compare([good, other], frame_of())
    own = other.evaluate(Table.for_schema(frame_of(), other.schema))
    assert compared.comparison.evaluations[1].metrics["log_loss"].value == own.metrics["log_loss"].value
    sensitivity = compared.comparison.evaluations[1].metrics["sensitivity"].value
    assert sensitivity == own.metrics["specificity"].value  # of the first model's positive class


def test_classes_in_another_order_are_matched_by_their_labels(three_classes: Predictor) -> None:
    frame = frame_of(n_classes=3)
    schema = three_classes.schema
    turned = Predictor(
        three_classes.models, three_classes.members, replace(schema, classes=schema.classes[::-1]),
        three_classes.calibrator, three_classes.decision_rule, three_classes.out_of_fold, three_classes.report,
    )  # fmt: skip
    compared = compare([three_classes, turned], frame)
    own = turned.evaluate(Table.for_schema(frame, turned.schema))
    for name in ("log_loss", "accuracy", "balanced_accuracy"):
        assert compared.comparison.evaluations[1].metrics[name].value == pytest.approx(own.metrics[name].value)
    assert list(compared.comparison.differences[0]) == [n for n, own in METRICS.items() if not own.needs_positive]


def test_a_table_that_a_model_was_trained_on_is_recognized(weak: Predictor, good: Predictor) -> None:
    with pytest.warns(TabcohortWarning, match="good was trained on this table: its figures flatter it"):
        compare({"good": good, "other": fit_quickly(make_small_table(seed=1))}, make_small_table())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare([weak, good], frame_of())


def test_models_of_other_classes_or_targets_cannot_be_compared(good: Predictor, three_classes: Predictor) -> None:
    words = r"two predicts 'target' \(no, yes\) and three 'target' \(may, no, yes\): only models of one target"
    with pytest.raises(TableError, match=words):
        compare({"two": good, "three": three_classes}, frame_of())


# -- in general ------------------------------------------------------------------------------------------------------


def test_at_least_two_models_are_needed(good: Predictor) -> None:
    with pytest.raises(TabcohortError, match=r"at least two models .* there are 1 \(Predictor\)"):
        compare([good])
    with pytest.raises(TabcohortError, match=r"there are 2 \(Predictor, str\)"):
        compare([good, "model.tabcohort"])  # type: ignore[list-item]


def test_facts_are_plain_json_and_say_what_was_corrected(weak: Predictor, good: Predictor) -> None:
    facts = comparison_facts(compare({"a": weak, "b": good, "c": good}))
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["correction"] == "holm"
    assert "Holm's correction for 2 comparisons" in facts["correction_note"]
    assert [own["corrected_p_value"] for own in facts["comparisons"]] == [2 * facts["comparisons"][0]["p_value"]] * 2
    assert comparison_facts(compare([weak, good]))["correction"] == "none"


def test_what_is_unknown_is_null(good: Predictor) -> None:
    frame = frame_of().filter(pl.col("target") == "yes")
    compared: ModelComparison = compare([good, good], frame)
    facts = comparison_facts(compared)
    assert facts["metrics"]["roc_auc"]["models"][0]["value"] is None
    assert facts["comparisons"][0]["differences"]["roc_auc"]["value"] is None
    assert facts["comparisons"][0]["differences"]["roc_auc"]["is_better"] is None
