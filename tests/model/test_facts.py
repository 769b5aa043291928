"""The facts: what everything that people see of a model is made from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import SINGLE, SMALL, fit_quickly, make_small_table
from sklearn.metrics import accuracy_score

from tabcohort import CohortReport, Config, ConfigReport, Predictor, Table
from tabcohort.data.splits import make_splits, train_validation_test_split
from tabcohort.evaluation.evaluate import Evaluation
from tabcohort.evaluation.intervals import UNKNOWN, Estimate
from tabcohort.evaluation.metrics import METRICS
from tabcohort.evaluation.prediction_sets import SetEvaluation
from tabcohort.model.facts import (
    CUT_SHARE,
    FEW_ROWS,
    _training_facts,
    config_facts,
    describe_config,
    describe_configs,
    evaluation_facts,
    facts,
    name_of_kind,
    set_facts,
)
from tabcohort.model.report_file import report_to_dict


def changed(predictor: Predictor, **changes: Any) -> Predictor:
    """Return the model with these changes to its report."""
    return Predictor(
        predictor.models, predictor.members, predictor.schema, predictor.calibrator, predictor.decision_rule,
        predictor.out_of_fold, replace(predictor.report, **changes),
    )  # fmt: skip


MODELS = ("predictor", "three_classes", "cohort", "rare")


# -- all facts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_facts_are_plain_json_with_the_documented_keys(name: str, request: pytest.FixtureRequest) -> None:
    model_facts = facts(request.getfixturevalue(name))
    plain = json.loads(json.dumps(model_facts, allow_nan=False))
    assert plain["schema"] == model_facts["schema"]
    keys = {part: set(values) for part, values in plain.items() if isinstance(values, dict)}
    assert list(plain) == [
        "schema", "members", "calibrator", "decision_rule", "model", "rows", "training", "evaluation", "alternatives",
        "calibration", "sets", "threshold", "configs", "coefficients", "report",
    ]  # fmt: skip
    assert keys["schema"] == {"features", "columns", "dropped", "target", "classes", "positive", "keys", "groups"}
    assert keys["calibrator"] == {"method", "scale", "shift"}
    assert keys["decision_rule"] == {"coverage", "set_thresholds", "objective", "threshold"}
    assert keys["model"] == {"kinds", "n_members", "n_parameters", "n_features"}
    assert keys["rows"] == {"n", "n_folds", "n_seeds", "train", "validation", "test"}
    assert keys["training"] == {
        "n_members", "n_epochs", "best_epochs", "n_at_max_epochs", "cut_short", "n_stopped", "n_not_begun",
        "fit_seconds", "seconds_saved", "engine", "device", "stop_reason",
    }  # fmt: skip
    assert keys["evaluation"] == {
        "metrics", "confusion", "n_rows", "n_groups", "class_counts", "majority", "few_rows", "rare_classes",
        "seldom_predicted", "most_confused",
    }  # fmt: skip
    assert keys["alternatives"] == {"models", "simplest"}
    for model in plain["alternatives"]["models"]:
        assert set(model) == {"kind", "name", "weight", "log_loss", "gap"}
    assert keys["calibration"] == {"log_loss_before", "log_loss_after", "ece_before", "ece_after"}
    assert keys["sets"] == {
        "coverage", "covered", "covered_by_class", "single", "several", "empty", "suggested_coverage", "in_every_set",
        "coverage_to_rule_out",
    }  # fmt: skip
    assert keys["threshold"] == {
        "value", "objective", "was_chosen", "metric", "measured", "asked", "holds", "is_promised", "confidence",
    }  # fmt: skip
    assert keys["configs"] == {"n", "ranking", "failed", "n_untried", "n_dropped"}
    for config in plain["configs"]["ranking"]:
        assert set(config) == {
            "number", "name", "log_loss", "gap", "weight", "dropped_after", "n_rows", "all_rows", "n_members",
            "n_stopped", "n_not_begun",
        }  # fmt: skip
    for config in plain["configs"]["failed"]:
        assert set(config) == {"number", "name", "message"}
    for metric in plain["evaluation"]["metrics"].values():
        assert set(metric) == {"label", "value", "low", "high"}
    assert set(plain["report"]) == set(CohortReport.__dataclass_fields__) - {"learning_curve"}  # not measured


def clear_all(values: Any) -> None:
    """Empty all dictionaries and lists in these values."""
    for value in list(values.values() if isinstance(values, dict) else values):
        if isinstance(value, (dict, list)):
            clear_all(value)
    values.clear()


def test_whoever_changes_the_facts_does_not_change_the_model(cohort: Predictor) -> None:
    before, model_facts = repr(cohort.report), facts(cohort)
    text = json.dumps(model_facts)
    clear_all(model_facts)
    assert repr(cohort.report) == before
    assert json.dumps(facts(cohort)) == text


def test_facts_are_what_the_model_is(cohort: Predictor) -> None:
    model_facts, report = facts(cohort), cohort.report
    columns = [column.to_dict() for column in cohort.schema.columns]
    assert model_facts["schema"] == {
        "columns": columns, "dropped": [], "features": ["x0", "x1", "x2"], "target": "target",
        "classes": ["no", "yes"], "positive": 1, "keys": [], "groups": [],
    }  # fmt: skip
    assert model_facts["members"] == list(cohort.members)
    assert model_facts["calibrator"]["shift"] == cohort.calibrator.shift.tolist()
    assert model_facts["decision_rule"]["set_thresholds"] == cohort.decision_rule.set_thresholds.tolist()
    assert model_facts["calibration"] == vars(report.calibration)
    assert model_facts["model"]["n_members"] == len(cohort.models) < len(report.members)
    n_parameters = [sum(array.size for array in network.named().values()) for network in cohort.models]
    n_buffers = sum(network.program.n_buffers for network in cohort.models)
    assert model_facts["model"]["n_parameters"] == sum(n_parameters) - n_buffers
    assert model_facts["model"]["n_features"] == 3
    assert model_facts["report"] == report_to_dict(report)


def test_the_networks_of_a_model_are_named_once_each_by_their_weight(predictor: Predictor) -> None:
    configs = [
        Config(hidden=(8,)), Config(model="residual", hidden=(8, 5)), Config(hidden=(8,), dropout=0.5),
        Config(model="logistic"),
    ]  # fmt: skip
    first, weights = predictor.report.configs[0], (0.1, 0.6, 0.3, 0.0)
    model = changed(
        predictor,
        configs=tuple(
            replace(first, config=config, weight=weight) for config, weight in zip(configs, weights, strict=True)
        ),
        members=tuple(replace(predictor.report.members[0], config=number) for number in (0, 1, 2, 3)),
    )
    assert facts(model)["model"]["kinds"] == ["residual 8-5", "mlp 8"]


# -- rows and training -----------------------------------------------------------------------------------------------


def test_the_ranges_of_rows_are_of_the_fewest_and_the_most_of_a_network() -> None:
    table = make_small_table(n_rows=94)
    splitters = [make_splits(table, Config(), 4, repeat) for repeat in (0, 1)]
    splits = [splitter.split(fold) for splitter in splitters for fold in range(4)]
    expected: dict[str, Any] = {"n": 94, "n_folds": 4, "n_seeds": 2}
    for part in ("train", "validation", "test"):
        n_rows = sorted(len(getattr(split, part)) for split in splits)
        expected[part] = [n_rows[0], n_rows[-1]]
    assert expected["test"] == [23, 24]
    assert facts(fit_quickly(table, replace(SMALL, folds=4, seeds=2)))["rows"] == expected


def test_the_ranges_of_a_single_network_are_its_rows() -> None:
    table = make_small_table(n_rows=94)
    split = train_validation_test_split(table, Config())
    assert facts(fit_quickly(table, SINGLE))["rows"] == {
        "n": 94, "n_folds": 1, "n_seeds": 1, "train": [len(split.train)] * 2,
        "validation": [len(split.validation)] * 2, "test": [len(split.test)] * 2,
    }  # fmt: skip


def test_epochs_are_counted_over_all_networks(cohort: Predictor) -> None:
    training, members = facts(cohort)["training"], cohort.report.members
    assert training["n_members"] == len(members)
    n_epochs, best_epochs = 0, []
    for member in members:
        n_epochs += member.history[-1].epoch
        scores = [record.score for record in member.history]
        best_epochs.append(1 + scores.index(min(scores)))
    assert training["n_epochs"] == n_epochs
    assert training["best_epochs"] == [min(best_epochs), max(best_epochs)]
    n_at_max_epochs = [member.history[-1].epoch for member in members if member.stop_reason == "max_epochs"]
    assert set(n_at_max_epochs) <= {40}
    assert training["n_at_max_epochs"] == len(n_at_max_epochs)
    for name in ("fit_seconds", "seconds_saved", "engine", "device", "stop_reason"):
        assert training[name] == getattr(cohort.report, name), name
    assert training["seconds_saved"] > 0


@pytest.mark.parametrize(("n_at_max_epochs", "cut_short"), [(0, False), (2, False), (3, True), (8, True)])
def test_training_was_cut_short_if_more_than_a_quarter_of_the_networks_reached_max_epochs(
    n_at_max_epochs: int, cut_short: bool, predictor: Predictor
) -> None:
    assert CUT_SHARE == 0.25
    reasons = ["max_epochs"] * n_at_max_epochs + ["patience"] * (8 - n_at_max_epochs)
    members = tuple(replace(predictor.report.members[0], stop_reason=reason) for reason in reasons)
    training = facts(changed(predictor, members=members))["training"]
    assert (training["n_members"], training["n_at_max_epochs"]) == (8, n_at_max_epochs)
    assert training["cut_short"] is cut_short


def test_members_that_a_budget_stopped_are_counted_but_not_those_of_configs_that_were_dropped(
    cohort: Predictor,
) -> None:
    assert facts(cohort)["training"] | {"n_stopped": 0, "n_not_begun": 0} == facts(cohort)["training"]
    report, n_configs = cohort.report, len(cohort.report.configs)
    dropped = next(number for number, config in enumerate(report.configs) if config.dropped_after is not None)
    kept = next(number for number, config in enumerate(report.configs) if config.weight)
    reasons = [(kept, "budget"), (kept, "interrupted"), (kept, "paused"), (kept, "patience"), (dropped, "paused")]
    members = tuple(replace(report.members[0], config=config, stop_reason=reason) for config, reason in reasons)
    training = _training_facts(replace(report, members=members, stop_reason="budget"))
    assert training["n_stopped"] == 3
    assert training["n_not_begun"] == 6 * (n_configs - 1) - 5  # one config failed: its members are not in the report


def test_members_that_a_budget_stopped_or_left_out_are_counted_for_each_config(predictor: Predictor) -> None:
    reasons = [(0, "budget"), (0, "paused"), (0, "patience"), (1, "patience"), (1, "max_epochs"), (2, "paused")]
    report = replace(
        predictor.report,
        configs=(tried(0.3), tried(0.4, rate=0.2), tried(0.5, rate=0.3, dropped_after=5), untried(failed="NaN")),
        members=tuple(replace(predictor.report.members[0], config=own, stop_reason=reason) for own, reason in reasons),
    )
    names = "number", "n_members", "n_stopped", "n_not_begun"
    counted = [
        tuple(own[name] for name in names) for own in config_facts(replace(report, stop_reason="budget"))["ranking"]
    ]
    assert counted == [(1, 3, 2, 0), (2, 3, 0, 1), (3, 3, 0, 2)]
    counted = [tuple(own[name] for name in names) for own in config_facts(report)["ranking"]]
    assert counted == [(1, 3, 2, 0), (2, 3, 0, 0), (3, 3, 0, 0)]


# -- the evaluation --------------------------------------------------------------------------------------------------


def evaluation_of(confusion: list[list[float]], n_rows: int = 100) -> Evaluation:
    return Evaluation({"accuracy": Estimate(0.5, 0.4, 0.6), "f1": UNKNOWN}, np.array(confusion), n_rows, 90)


def test_classes_are_counted_by_their_true_rows() -> None:
    counted = evaluation_facts(evaluation_of([[2.0, 7.5, 0.0], [20.0, 10.5, 0.0], [1.0, 0.0, 9.0]]), ["a", "b", "c"])
    assert counted["class_counts"] == [9.5, 30.5, 10.0]
    assert counted["majority"] == {"label": "b", "accuracy": 30.5 / 50}
    assert counted["few_rows"] == FEW_ROWS == 10
    assert counted["rare_classes"] == ["a"]  # ten rows are not fewer than ten
    assert (counted["n_rows"], counted["n_groups"]) == (100, 90)
    assert counted["confusion"] == [[2.0, 7.5, 0.0], [20.0, 10.5, 0.0], [1.0, 0.0, 9.0]]


def test_the_most_frequent_confusions_come_first_with_their_share_of_the_true_class() -> None:
    facts = evaluation_facts(evaluation_of([[2.0, 7.5, 0.0], [20.0, 10.5, 0.0], [1.0, 0.0, 9.0]]), ["a", "b", "c"])
    assert facts["most_confused"] == [
        {"true": "b", "predicted": "a", "weight": 20.0, "share": 20 / 30.5},
        {"true": "a", "predicted": "b", "weight": 7.5, "share": 7.5 / 9.5},
        {"true": "c", "predicted": "a", "weight": 1.0, "share": 0.1},
    ]


def test_the_matrix_of_very_many_classes_is_left_out_and_their_confusions_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tabcohort.model.facts.MAX_CLASSES_IN_FULL", 2)
    facts = evaluation_facts(evaluation_of([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]]), ["a", "b", "c"])
    assert facts["confusion"] is None
    assert [(pair["true"], pair["predicted"]) for pair in facts["most_confused"]] == [("a", "b")]
    assert facts["class_counts"] == [3.0, 3.0, 4.0]


def test_a_class_that_hardly_a_row_is_predicted_to_be_of_is_named_with_a_remedy() -> None:
    """29 of 3,000 rows are positive, and none of them is predicted to be."""
    counted = evaluation_facts(evaluation_of([[2970.0, 1.0], [29.0, 0.0]]), ["no", "yes"])
    assert counted["seldom_predicted"] == [
        {"label": "yes", "count": 29.0, "predicted": 1.0, "remedy": "--threshold balanced_accuracy"}
    ]
    some = evaluation_facts(evaluation_of([[2968.0, 3.0], [29.0, 0.0]]), ["no", "yes"])
    assert some["seldom_predicted"] == []  # few, but a tenth of its rows
    three = evaluation_facts(evaluation_of([[50.0, 0.0, 0.0], [9.0, 0.0, 0.0], [8.0, 0.0, 40.0]]), ["a", "b", "c"])
    assert three["seldom_predicted"] == [
        {"label": "b", "count": 9.0, "predicted": 0.0, "remedy": 'class_weight = "balanced" in a file for --settings'}
    ]


def test_of_equally_frequent_classes_the_first_is_the_majority_and_labels_keep_their_type() -> None:
    counted = evaluation_facts(evaluation_of([[4.0, 1.0], [0.0, 5.0]]), [False, True])
    assert counted["majority"] == {"label": False, "accuracy": 0.5}
    assert counted["rare_classes"] == [False, True]


def test_metrics_have_their_labels_and_unknown_ones_are_null() -> None:
    metrics = evaluation_facts(evaluation_of([[10.0, 0.0], [0.0, 10.0]]), ["a", "b"])["metrics"]
    assert metrics == {
        "accuracy": {"label": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6},
        "f1": {"label": "F1", "value": None, "low": None, "high": None},
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_facts_of_the_evaluation_are_those_of_the_out_of_fold_predictions(
    name: str, request: pytest.FixtureRequest
) -> None:
    predictor = request.getfixturevalue(name)
    evaluation, rows = facts(predictor)["evaluation"], predictor.out_of_fold
    classes = predictor.schema.classes
    counts = [int((rows.y == code).sum()) for code in range(len(classes))]
    assert evaluation["class_counts"] == pytest.approx(counts)
    assert evaluation["majority"]["accuracy"] == pytest.approx(max(counts) / len(rows.y))
    assert evaluation["majority"]["label"] == classes[counts.index(max(counts))]
    assert evaluation["rare_classes"] == [label for label, n in zip(classes, counts, strict=True) if n < 10]
    assert evaluation["n_rows"] == len(rows.y)
    y_pred = predictor.codes(rows.log_proba.astype(np.float64))
    assert evaluation["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(rows.y, y_pred))
    expected = [key for key, metric in METRICS.items() if len(classes) == 2 or not metric.needs_positive]
    assert list(evaluation["metrics"]) == expected


# -- sets and thresholds ---------------------------------------------------------------------------------------------


def test_the_facts_of_sets_name_the_classes_and_leave_unknown_shares_out() -> None:
    sets = SetEvaluation(0.9, (0.8, math.nan), 0.7, 0.2, 0.1)
    assert set_facts(sets, 0.95, ["a", "b"]) == {
        "coverage": 0.95,
        "covered": 0.9,
        "covered_by_class": [{"label": "a", "covered": 0.8}, {"label": "b", "covered": None}],
        "single": 0.7,
        "several": 0.2,
        "empty": 0.1,
    }


@pytest.mark.parametrize(
    ("accuracy", "empty", "several", "expected"),
    [
        (0.9449, 0.1, 0.0, 0.94),
        (0.95, 0.1, 0.09, 0.95),
        (0.95, 0.1, 0.1, None),  # as many sets with several classes
        (0.95, 0.0, 0.0, None),
        (0.904, 0.1, 0.0, None),  # rounds to the coverage
        (0.996, 0.1, 0.0, None),  # rounds to 1
        (0.5, 0.1, 0.0, None),
    ],
)
def test_a_coverage_is_suggested_where_sets_miss_rows_on_purpose(
    accuracy: float, empty: float, several: float, expected: float | None, predictor: Predictor
) -> None:
    assert predictor.decision_rule.coverage == 0.9
    metrics = {**predictor.report.evaluation.metrics, "accuracy": Estimate(accuracy, 0.0, 1.0)}
    evaluation = replace(predictor.report.evaluation, metrics=metrics)
    for single, suggested in ((0.0, expected), (1.0, None)):  # the second has no abstention that could be saved
        sets = replace(predictor.report.sets, empty=empty, several=several, single=single)
        model = changed(predictor, evaluation=evaluation, sets=sets)
        assert facts(model)["sets"]["suggested_coverage"] == suggested


def test_classes_with_too_few_rows_to_rule_out_are_named(predictor: Predictor) -> None:
    assert (facts(predictor)["sets"]["in_every_set"], facts(predictor)["sets"]["coverage_to_rule_out"]) == ([], None)
    rule = replace(predictor.decision_rule, set_thresholds=np.array([0.0, 0.3]))
    model = predictor._with_report(predictor.report, rule)
    assert facts(model)["sets"]["in_every_set"] == [predictor.schema.classes[0]]
    n_rows = int((predictor.out_of_fold.y == 0).sum())
    assert facts(model)["sets"]["coverage_to_rule_out"] == pytest.approx(n_rows / (n_rows + 1))


def test_what_is_done_already_is_not_recommended(three_classes: Predictor) -> None:
    report, evaluation = three_classes.report, three_classes.report.evaluation
    never = replace(evaluation, confusion=evaluation.confusion[:, [0, 0, 0]] * [1, 0, 0])
    for class_weight, remedy in (
        (None, 'class_weight = "balanced" in a file for --settings'),
        ("balanced", "more rows of it"),
    ):
        configs = tuple(
            replace(own, config=replace(own.config, class_weight=class_weight)) for own in report.configs
        )  # fmt: skip
        found = facts(changed(three_classes, evaluation=never, configs=configs))["evaluation"]["seldom_predicted"]
        assert len(found) == 2
        assert all(seldom["remedy"].startswith(remedy) for seldom in found)


def test_the_threshold_says_whether_it_was_chosen(predictor: Predictor) -> None:
    for objective, was_chosen in ((None, False), ("f1", True), ("cost=5:1", True), (0.3, False), ("0.3", False)):
        model = predictor.with_decision_rule(objective)
        threshold = facts(model)["threshold"]
        assert threshold["value"] == model.decision_rule.threshold
        assert threshold["objective"] == (None if objective is None else str(objective))
        assert threshold["was_chosen"] == was_chosen
        assert [threshold[key] for key in ("asked", "holds", "is_promised")] == [None] * 3


@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy"])
def test_the_metric_of_an_objective_is_measured_by_cross_fitting(predictor: Predictor, metric: str) -> None:
    model = predictor.with_decision_rule(metric)
    threshold = facts(model)["threshold"]
    assert (threshold["metric"], threshold["measured"]) == (metric, model.report.evaluation.metrics[metric].value)


@pytest.mark.parametrize(("metric", "least"), [("sensitivity", 0.7), ("specificity", 0.7), ("precision", 0.3)])
def test_what_was_asked_for_is_beside_what_was_measured(predictor: Predictor, metric: str, least: float) -> None:
    model = predictor.with_decision_rule(f"{metric}>={least}")
    measured = model.report.evaluation.metrics[metric].value
    assert measured > least
    expected = {"metric": metric, "measured": measured, "asked": least, "holds": True, "is_promised": True}
    threshold = facts(model)["threshold"]
    assert {key: threshold[key] for key in expected} == expected
    assert threshold["confidence"] == 0.9
    too_much = facts(predictor.with_decision_rule(f"{metric}>=0.999"))["threshold"]
    assert not too_much["is_promised"]  # by 90 rows
    assert too_much["holds"] == (too_much["measured"] >= 0.999)


# -- configs ---------------------------------------------------------------------------------------------------------


def tried(log_loss: float, n_rows: int = 90, rate: float = 0.1, **changes: Any) -> ConfigReport:
    """Return the report of a config with this log loss on so many rows."""
    estimate = Estimate(log_loss, log_loss - 0.1, log_loss + 0.1)
    gap = Estimate(log_loss - 0.4, log_loss - 0.5, log_loss - 0.3)
    report = ConfigReport(Config(hidden=(8,), learning_rate=rate), n_rows, estimate, gap, {}, 0.0)
    return replace(report, **changes)


def untried(**changes: Any) -> ConfigReport:
    return replace(tried(0.0, 0, rate=0.5), log_loss=UNKNOWN, log_loss_gap=UNKNOWN, **changes)


def test_configs_are_ranked_by_log_loss_and_those_that_were_dropped_or_tested_on_fewer_rows_come_last(
    predictor: Predictor,
) -> None:
    reports = [
        tried(0.6, weight=0.25),
        untried(),
        tried(0.3, n_rows=60, dropped_after=5),
        tried(0.4, weight=0.75, rate=0.2),
        untried(failed="network 1: the loss stopped being finite"),
        tried(0.2, n_rows=30),
        tried(0.5, dropped_after=9),
    ]
    ranked = config_facts(replace(predictor.report, configs=tuple(reports), members=()))
    assert [(entry["number"], entry["log_loss"]["value"], entry["all_rows"]) for entry in ranked["ranking"]] == [
        (4, 0.4, True), (1, 0.6, True), (7, 0.5, True), (6, 0.2, False), (3, 0.3, False),
    ]  # fmt: skip
    assert ranked["ranking"][0] == {
        "number": 4, "name": "learning_rate 0.2", "log_loss": {"value": 0.4, "low": 0.4 - 0.1, "high": 0.4 + 0.1},
        "gap": {"value": 0.4 - 0.4, "low": 0.4 - 0.5, "high": 0.4 - 0.3}, "weight": 0.75, "dropped_after": None,
        "n_rows": 90, "all_rows": True, "n_members": 3, "n_stopped": 0, "n_not_begun": 0,
    }  # fmt: skip
    assert [entry["dropped_after"] for entry in ranked["ranking"]] == [None, None, 9, None, 5]
    assert ranked["failed"] == [
        {"number": 5, "name": "learning_rate 0.5", "message": "network 1: the loss stopped being finite"}
    ]
    assert (ranked["n"], ranked["n_untried"], ranked["n_dropped"]) == (7, 1, 2)


def test_equally_good_configs_keep_their_order_and_an_unknown_gap_is_null(predictor: Predictor) -> None:
    reports = tried(0.4), tried(0.4, rate=0.2), tried(0.4, rate=0.3, log_loss_gap=UNKNOWN)
    ranked = config_facts(replace(predictor.report, configs=reports))["ranking"]
    assert [entry["number"] for entry in ranked] == [1, 2, 3]
    assert ranked[2]["gap"] == {"value": None, "low": None, "high": None}


def test_the_ranking_of_a_cohort_is_that_of_its_configs(cohort: Predictor) -> None:
    ranked, reports = facts(cohort)["configs"], cohort.report.configs
    assert (ranked["n"], len(ranked["ranking"]), len(ranked["failed"])) == (7, 6, 1)
    assert ranked["failed"][0]["number"] == 7
    assert ranked["failed"][0]["message"] == reports[6].failed
    assert ranked["n_dropped"] == sum(report.dropped_after is not None for report in reports) > 0
    assert ranked["n_untried"] == 0
    whole = [entry["dropped_after"] is None for entry in ranked["ranking"] if entry["all_rows"]]
    losses = [entry["log_loss"]["value"] for entry in ranked["ranking"] if entry["all_rows"]]
    assert whole == sorted(whole, reverse=True)
    assert losses == sorted(losses[: sum(whole)]) + sorted(losses[sum(whole) :])
    assert ranked["ranking"][0]["gap"]["value"] == 0
    for entry in ranked["ranking"]:
        report = reports[entry["number"] - 1]
        assert (entry["log_loss"], entry["gap"]) == (vars(report.log_loss), vars(report.log_loss_gap))
        assert entry["name"] == f"optimizer adamw, learning_rate {report.config.learning_rate:.3g}"
    assert sum(entry["weight"] for entry in ranked["ranking"]) == pytest.approx(1)


def test_a_config_is_described_by_the_settings_that_it_uses() -> None:
    mlp = Config(hidden=(8,), activation="gelu", batch_norm=True, dropout=0.3)
    configs = [
        mlp,
        replace(mlp, model="residual"),
        replace(mlp, model="logistic", optimizer="sgd"),
        replace(mlp, schedule="step", schedule_every=7, activation="silu"),
    ]
    assert describe_configs(configs) == [
        "mlp 8, activation gelu, optimizer adamw, schedule constant",
        "residual 8, optimizer adamw, schedule constant",
        "logistic, optimizer sgd, schedule constant",
        "mlp 8, activation silu, optimizer adamw, schedule step",
    ]


def test_a_config_is_described_by_what_distinguishes_it() -> None:
    config = Config(hidden=(8, 4), dropout=0.25, patience=None).to_dict()
    same = set(config) - {"model", "hidden", "dropout", "patience"}
    assert describe_config(config, same) == "mlp 8-4, dropout 0.25, patience None"
    assert describe_config(config, same | {"model"}) == "mlp 8-4, dropout 0.25, patience None"
    assert describe_config(config, same | {"model", "hidden"}) == "dropout 0.25, patience None"
    assert describe_config(config, set(config)) == "mlp 8-4"
    assert describe_config({**config, "bins": 0, "mixup_alpha": 0.3}, same - {"bins", "mixup_alpha"}) == (
        "mlp 8-4, dropout 0.25, mixup_alpha 0.3, patience None"
    )
    assert (
        describe_config({**config, "learning_rate": 0.00123456}, set(config) - {"learning_rate"})
        == "learning_rate 0.00123"
    )
    assert name_of_kind({**config, "model": "logistic"}) == "logistic"
    assert name_of_kind({**config, "hidden": []}) == "mlp"
    assert name_of_kind({**config, "model": "trees"}) == "trees"
    assert name_of_kind({**config, "model": "residual"}) == "residual 8-4"


# -- coefficients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positive", ["no", "yes"])
def test_a_coefficient_says_which_class_it_speaks_for(positive: str) -> None:
    table = make_small_table()
    labels = np.array(["no", "yes"])[table.y]
    predictor = fit_quickly(
        Table.from_arrays(table.X, labels, positive=positive), model="logistic", max_epochs=100, learning_rate=0.05
    )
    coefficients = facts(predictor)["coefficients"]
    assert {entry["feature"]: entry["coefficient"] for entry in coefficients} == predictor.coefficients()
    sizes = [abs(entry["coefficient"]) for entry in coefficients]
    assert sizes == sorted(sizes, reverse=True)
    assert coefficients[0]["feature"] == "x0"
    assert coefficients[0]["class"] == "yes"  # the greater x0, the likelier is yes, whichever is named positive
    other = "no" if positive == "yes" else "yes"
    for entry in coefficients:
        assert entry["class"] == (positive if entry["coefficient"] > 0 else other)


def test_models_without_coefficients_have_null(predictor: Predictor, three_classes: Predictor) -> None:
    assert facts(predictor)["coefficients"] is None
    assert facts(three_classes)["coefficients"] is None


def test_a_logistic_model_of_bins_has_no_coefficient_per_column() -> None:
    predictor = fit_quickly(settings=SINGLE, model="logistic", bins=4)
    assert predictor.coefficients() is None
