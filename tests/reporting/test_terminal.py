"""What the terminal shows: of which class, of which rows, and how certain it is."""

from __future__ import annotations

import copy
import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import SINGLE, SMALL, fit_quickly, make_small_table
from rich.console import Console

from tabcohort import Config, Predictor, Table, fit
from tabcohort.model.facts import describe_config, evaluation_facts, facts
from tabcohort.model.file import describe
from tabcohort.reporting.terminal import (
    print_evaluation,
    print_model,
    print_sets,
)


def printed(document: dict[str, Any]) -> str:
    """Return what is printed of a document as a model file keeps it."""
    text = io.StringIO()
    print_model(Console(file=text, width=200), json.loads(json.dumps(document)))
    return text.getvalue()


def line_of(text: str, start: str) -> str:
    """Return the line that begins so."""
    return next(line for line in text.splitlines() if line.startswith(start))


@pytest.fixture(scope="module")
def tuned() -> Predictor:
    """Five configs, of which the two that learn most slowly have a high loss, and one is dropped."""
    rates = (1e-4, 0.05, 2e-4, 0.04, 3e-4)
    return fit(make_small_table(), [Config(hidden=(8,), max_epochs=8, learning_rate=rate) for rate in rates], SMALL)


# A model, its rows and its training


def test_a_model_is_described_with_its_networks_its_rows_and_its_best_epochs(predictor: Predictor) -> None:
    text, report = printed(describe(predictor)), predictor.report
    member, best = report.members[0], sorted(member.best_epoch for member in report.members)
    assert report.engine == "compiled"
    assert "mlp 8 predicts target from 3 features: 3 networks with 123 parameters in total" in text
    assert (
        f"rows       90, in 3 folds x 1 seed; for each network {member.n_train} train, {member.n_validation} "
        f"validation, {member.n_test} test\n"
    ) in text
    assert "training   3 networks, 9 epochs in " in text
    which = f"epoch {best[0]}" if best[0] == best[2] else f"epochs {best[0]} to {best[2]}"
    assert line_of(text, "training").endswith(f"({report.engine} engine); best {which}")
    assert "measured on 90 rows, each predicted by networks that never saw it; positive class yes" in text


def test_what_is_printed_is_made_of_the_facts_alone(tuned: Predictor) -> None:
    assert printed(facts(tuned)) == printed(describe(tuned))
    without_report = {name: value for name, value in facts(tuned).items() if name != "report"}
    assert printed(without_report) == printed(describe(tuned))


def test_a_split_for_each_seed_is_not_said_to_be_one_split() -> None:
    predictor = fit_quickly(settings=replace(SINGLE, seeds=2))
    assert line_of(printed(describe(predictor)), "rows").startswith(
        "rows       90, split anew for each of 2 seeds; for"
    )


def test_a_single_network_is_described_as_one() -> None:
    predictor = fit_quickly(settings=SINGLE)
    text, (member,) = printed(describe(predictor)), predictor.report.members
    assert "mlp 8 predicts target from 3 features: 1 network with 41 parameters in total" in text
    rows = f"{member.n_train} train, {member.n_validation} validation, {member.n_test} test"
    assert f"rows       90: {rows}; no row is in two of these\n" in text
    assert line_of(text, "training").startswith("training   1 network, 3 epochs in ")
    assert line_of(text, "training").endswith(f"; best epoch {member.best_epoch}")
    assert f"measured on {member.n_test} rows of 90, each predicted by a network that never saw it; positive" in text


@pytest.mark.parametrize(
    ("n_train", "expected"),
    [
        ((30, 45, 60), "for each network 30 to 60 train, 15 validation, 30 test"),
        ((46, 45, 45), "for each network 45 to 46 train, 15 validation"),
        ((45, 45, 45), "for each network 45 train, 15 validation"),
    ],
)
def test_numbers_of_rows_that_differ_between_networks_are_a_range(
    predictor: Predictor, n_train: tuple[int, ...], expected: str
) -> None:
    members = tuple(
        replace(member, n_train=count) for member, count in zip(predictor.report.members, n_train, strict=True)
    )
    changed = copy.copy(predictor)
    changed.report = replace(predictor.report, members=members)
    assert expected in printed(describe(changed))


def test_a_model_names_the_kinds_of_networks_in_its_ensemble_by_weight(tuned: Predictor) -> None:
    kinds = (("mlp", (8,)), ("residual", (4,)), ("mlp", (8,)), ("logistic", (8,)), ("mlp", (2, 3)))
    weights = (0.2, 0.3, 0.1, 0.25, 0.15)
    configs = tuple(
        replace(report, config=replace(report.config, model=model, hidden=hidden), weight=weight)
        for report, (model, hidden), weight in zip(tuned.report.configs, kinds, weights, strict=True)
    )
    changed = copy.copy(tuned)
    changed.report = replace(tuned.report, configs=configs)
    changed.members = tuple(number for number, member in enumerate(tuned.report.members) if member.fold == 0)
    text = printed(describe(changed))
    assert text.startswith("residual 4, logistic, mlp 8 and 1 more predict target from 3 features: ")


def test_the_features_are_listed_up_to_eight() -> None:
    text = printed(describe(fit_quickly(make_small_table(n_features=8), model="logistic")))
    assert "features   x0, x1, x2, x3, x4, x5, x6, x7\n" in text
    text = printed(describe(fit_quickly(make_small_table(n_features=9), model="logistic")))
    assert "features   x0, x1, x2, x3, x4, x5, x6, x7 and 1 more\n" in text


@pytest.mark.parametrize(
    ("reason", "text"),
    [("budget", "its budget of seconds was spent"), ("interrupted", "it was interrupted")],
)
def test_the_reason_why_training_ended_early_is_printed(predictor: Predictor, reason: str, text: str) -> None:
    document = describe(predictor)
    document["training"].update(stop_reason=reason, best_epochs=[2, 2], n_stopped=1, n_not_begun=2)
    counts = "1 network stopped early, 2 not begun"
    end = f"; best epoch 2; {text} ({counts}); the best weights so far are kept"
    assert line_of(printed(document), "training").endswith(end)
    document["training"].update(n_stopped=0, n_not_begun=0)
    assert line_of(printed(document), "training").endswith(f"; {text}; the best weights so far are kept")
    document["training"].update(stop_reason=None)
    assert line_of(printed(document), "training").endswith("; best epoch 2")


def test_networks_that_reached_the_limit_of_epochs_are_counted() -> None:
    hint = "3 networks reached max_epochs while still improving: a higher learning_rate, or more epochs, may help"
    assert hint in printed(describe(fit_quickly(max_epochs=3)))
    assert "still improving" not in printed(describe(fit_quickly(max_epochs=400, patience=1)))


# Configs


def test_configs_are_ranked_and_those_that_were_dropped_are_marked(tuned: Predictor) -> None:
    text, report = printed(describe(tuned)), tuned.report
    ranking = sorted(report.configs, key=lambda config: (config.dropped_after is not None, config.log_loss.value))
    assert sorted(config.dropped_after or 0 for config in ranking) == [0] * 4 + [5]
    lines = text[text.index("\nrank ") + 1 :].splitlines()
    for rank, (config, line) in enumerate(zip(ranking, lines[1:], strict=False), 1):
        gap = config.log_loss_gap
        interval = f"{gap.value:+.4f}  ({gap.low:+.4f} to {gap.high:+.4f})" if rank > 1 else ""
        weight = f"{config.weight:.0%}" if config.weight else "-"
        dropped = "" if config.dropped_after is None else "only 5 epochs: "
        name = f"{dropped}learning_rate {config.config.learning_rate:.3g}"
        assert line == f"{rank:4}  {config.log_loss.value:8.4f}  {interval:31}  {weight:>8}  {name}"
    assert lines[0].index("config") == lines[1].index("learning_rate")
    assert lines[0].index("weight") + len("weight") == lines[1].index("%") + 1
    assert lines[6].startswith("1 of 5 configs had a high loss after their first epochs and were dropped; ")
    assert report.seconds_saved < 1
    assert lines[6].endswith("would have taken less than 1 s more (extrapolated)")


def test_one_config_is_not_ranked(predictor: Predictor) -> None:
    assert "rank" not in printed(describe(predictor))


def test_of_more_than_twelve_configs_those_in_the_ensemble_are_shown(tuned: Predictor) -> None:
    document = describe(tuned)
    document["configs"]["ranking"] = [{**config, "weight": 0.0} for config in document["configs"]["ranking"] * 3]
    document["configs"]["ranking"][13]["weight"] = 1.0
    text = printed(document)
    assert "\n... and 2 more without a weight; --json shows all\n" in text
    assert "\n  12  " in text
    assert "\n  13  " not in text
    assert "\n  14  " in text


def test_configs_that_failed_are_named_with_their_message(tuned: Predictor) -> None:
    failed = replace(tuned.report.configs[2], n_rows=0, failed="the loss of [it] stopped being finite", metrics={})
    changed = copy.copy(tuned)
    changed.report = replace(tuned.report, configs=(*tuned.report.configs[:2], failed, *tuned.report.configs[3:]))
    text = printed(describe(changed))
    assert "\nleft out, as training failed: config 3, learning_rate 0.0002: the loss of [it] stopped being" in text
    assert text.count("learning_rate 0.0002") == 1


def test_configs_are_described_by_what_differs() -> None:
    config = Config(hidden=(8, 4), dropout=0.25, patience=None).to_dict()
    same = {name for name in config if name not in ("model", "hidden", "dropout", "patience")}
    assert describe_config(config, same) == "mlp 8-4, dropout 0.25, patience None"
    assert describe_config(config, same | {"model"}) == "mlp 8-4, dropout 0.25, patience None"
    assert describe_config(config, same | {"model", "hidden"}) == "dropout 0.25, patience None"
    assert describe_config(config, set(config)) == "mlp 8-4"
    assert describe_config({**config, "model": "logistic"}, same | {"dropout", "patience"}) == "logistic"


def test_configs_tested_on_some_rows_only_come_last_and_those_that_were_not_tried_are_counted(
    tuned: Predictor,
) -> None:
    part, untried, *others = tuned.report.configs
    part = replace(part, n_rows=30, log_loss=replace(part.log_loss, value=0.01, low=0.0, high=0.02))
    untried = replace(untried, n_rows=0, weight=0.0)
    changed = copy.copy(tuned)
    changed.report = replace(tuned.report, configs=(part, untried, *others))
    text = printed(describe(changed))
    assert re.search(r"^   4    0\.0100 .* tested on 30 rows only: ", text, re.MULTILINE)
    assert "\n1 of 5 configs were not tried: training ended before\n" in text


def stopped(tuned: Predictor) -> Predictor:
    """Return the model as if a budget had stopped a member of its best config, and left one of its second out."""
    best, second = sorted(range(5), key=lambda config: tuned.report.configs[config].log_loss.value)[:2]
    members = {member: member for member in tuned.report.members}
    of_best = next(member for member in members if member.config == best)
    members[of_best] = replace(of_best, stop_reason="budget")
    del members[next(member for member in members if member.config == second)]
    changed = copy.copy(tuned)
    changed.report = replace(tuned.report, members=tuple(members.values()), stop_reason="budget")
    changed.members = tuple(range(len(changed.models)))
    return changed


def test_configs_that_a_budget_stopped_early_are_marked(tuned: Predictor) -> None:
    text = printed(facts(stopped(tuned)))
    lines = text[text.index("\nrank ") + 1 :].splitlines()
    assert "  of 3 members 1 stopped early: learning_rate " in lines[1]
    assert "  of 3 members 1 not begun: learning_rate " in lines[2]
    assert "members" not in lines[3]
    note = "Where members stopped early or were not begun, more training could lower the config's log loss."
    assert note in lines
    assert note not in printed(facts(tuned))
    assert " of 3 members " not in printed(facts(tuned))


# Calibration, prediction sets and threshold


def test_a_model_says_what_calibration_did(predictor: Predictor) -> None:
    document = describe(predictor)
    document["calibrator"].update(method="none", scale=1.0)
    line = "probabilities   not calibrated: no correction made them clearly better"
    assert line in printed(document).splitlines()
    document["calibrator"].update(method="temperature", scale=1.504)
    document["calibration"] = {
        "ece_before": 0.2, "ece_after": 0.05, "log_loss_before": 0.7, "log_loss_after": 0.6
    }  # fmt: skip
    assert line_of(printed(document), "probabilities") == (
        "probabilities   calibrated by temperature (times 1.50): calibration error 0.2000 before and 0.0500 after, "
        "log loss 0.7000 and 0.6000"
    )
    assert "kept, as on all rows" not in printed(document)


def test_a_calibrator_that_raises_the_cross_fitted_log_loss_says_why_it_is_kept(predictor: Predictor) -> None:
    document = describe(predictor)
    document["calibrator"].update(method="temperature", scale=1.1)
    document["calibration"].update(log_loss_before=0.5212, log_loss_after=0.5221)
    lines = printed(document).splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("probabilities"))
    assert lines[place].endswith("log loss 0.5212 and 0.5221")
    assert lines[place + 1] == (
        "                kept, as on all rows it lowers the cross-validated log loss by more than its standard error; "
        "the figures above repeat this choice for each fold on the other rows"
    )


def test_a_model_says_how_often_its_sets_hold_the_true_class_and_how_large_they_are(predictor: Predictor) -> None:
    changed = predictor.with_decision_rule(None, 0.8)
    text, sets = printed(describe(changed)), changed.report.sets
    by_class = f"no {sets.covered_by_class[0]:.1%}, yes {sets.covered_by_class[1]:.1%}"
    covered = f"hold the true class for {sets.covered:.1%} of the rows ({by_class}); requested: 80% of each class"
    assert f"sets            {covered}\n" in text
    sizes = (
        f"one class for {sets.single:.1%} of the rows; an abstention for the others: several classes for "
        f"{sets.several:.1%}, none for {sets.empty:.1%}"
    )
    assert sizes in text


@pytest.mark.parametrize(
    ("suggestion", "hint"), [(None, ""), (0.93, "; a coverage of 0.93, near the accuracy, has fewer")]
)
def test_a_coverage_with_fewer_abstentions_is_suggested_where_there_is_one(
    predictor: Predictor, suggestion: float | None, hint: str
) -> None:
    document = describe(predictor)
    document["sets"].update(empty=0.25, suggested_coverage=suggestion)
    assert f", none for 25.0%{hint}\n" in printed(document)


@pytest.mark.parametrize(
    ("labels", "words"), [(["no"], "rule out no, so it is in"), (["no", "yes"], "rule out no, yes, so they are in")]
)
def test_classes_that_are_in_every_set_are_named(predictor: Predictor, labels: list[str], words: str) -> None:
    document = describe(predictor)
    assert "in every set" not in printed(document)
    document["sets"]["in_every_set"] = labels
    advice = "set --coverage to at most 0.66 with tabcohort decide, or "
    for highest, shown in ((2 / 3, advice), (None, "")):
        document["sets"]["coverage_to_rule_out"] = highest
        text = " ".join(printed(document).split())
        assert f"too few rows to {words} every set: {shown}merge rare classes" in text


def test_a_class_whose_coverage_is_not_known_is_left_out(predictor: Predictor) -> None:
    document = describe(predictor)
    document["sets"]["covered_by_class"] = [{"label": "no", "covered": None}, {"label": "yes", "covered": 0.75}]
    assert "of the rows (yes 75.0%); requested: 90%" in printed(document)


def test_a_threshold_is_printed_with_its_class_and_its_objective(predictor: Predictor) -> None:
    assert "threshold" not in printed(describe(predictor))
    changed = predictor.with_decision_rule("cost=5:1")
    line = f"threshold       yes from a probability of {changed.decision_rule.threshold:.4f} on, for cost=5:1; "
    assert line + "the figures above are with thresholds that were chosen on other rows\n" in printed(describe(changed))


def test_a_threshold_that_was_given_was_not_chosen() -> None:
    text = printed(describe(fit_quickly().with_decision_rule(0.3)))
    assert "threshold       yes from a probability of 0.3000 on, as requested\n" in text


@pytest.mark.parametrize(("metric", "least"), [("sensitivity", 0.7), ("specificity", 0.7), ("precision", 0.3)])
def test_a_rate_that_was_asked_for_is_beside_what_was_measured(predictor: Predictor, metric: str, least: float) -> None:
    model = predictor.with_decision_rule(f"{metric}>={least}")
    measured = model.report.evaluation.metrics[metric].value
    line = f"a {metric} of at least {least} was requested: holds, as the {metric} of the rows above is {measured:.4f}\n"
    assert line in printed(describe(model))
    assert "too few" not in printed(describe(model))


def test_a_rate_that_does_not_hold_or_cannot_be_promised_is_said_in_words(predictor: Predictor) -> None:
    document = describe(predictor.with_decision_rule("sensitivity>=0.99"))
    document["threshold"].update(measured=0.9481, asked=0.95, holds=False)
    lines = printed(document).splitlines()
    start = lines.index(
        f"{' ' * 16}a sensitivity of at least 0.95 was requested: does not hold, as the sensitivity of the rows above "
        "is 0.9481"
    )
    assert lines[start + 1] == (
        f"{' ' * 16}the rows are too few to promise it for new rows with 90% confidence: the threshold is as strict "
        "as they allow"
    )
    document["threshold"].update(measured=None)
    assert "was requested: does not hold, as the sensitivity of the rows above is unknown\n" in printed(document)


# Evaluation


def test_the_confusion_matrix_names_its_classes(three_classes: Predictor) -> None:
    lines = [line.split() for line in printed(describe(three_classes)).splitlines()]
    start = lines.index(["true", "class,", "and", "predicted:", "may", "no", "yes"])
    counts = three_classes.report.evaluation.confusion
    expected = [
        [name, *(f"{count:.0f}" for count in row)] for name, row in zip(["may", "no", "yes"], counts, strict=True)
    ]
    assert lines[start + 1 : start + 4] == expected


def test_many_classes_print_the_most_frequent_confusions_instead_of_the_matrix() -> None:
    document = describe(fit_quickly(make_small_table(13, list("abcdefghijklm"), n_rows=130)))
    evaluation = document["evaluation"]
    evaluation["class_counts"] = [10, 12, 3, *[10] * 10]
    for entry, covered in zip(document["sets"]["covered_by_class"], [0.5] * 11 + [0.125, 1.0], strict=True):
        entry["covered"] = covered
    text = printed(document)
    assert "and predicted:" not in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    start = lines.index("most frequent confusions of 13 classes: rows of the class")
    assert lines[start + 1 : start + 7] == [
        *(
            f"{pair['true']}, predicted {pair['predicted']} {pair['weight']:.0f} {pair['share']:.1%}"
            for pair in evaluation["most_confused"][:5]
        ),
        "",
    ]
    assert "positive class" not in text
    assert "rows of each class: 13 classes; fewest c (3), most b (12); always predicting" in text
    assert "of the rows (13 classes; lowest l 12.5%, highest m 100.0%); requested" in text


def test_a_metric_that_is_not_known_is_a_dash(predictor: Predictor) -> None:
    document = describe(predictor)
    document["evaluation"]["metrics"]["precision"].update(value=None, low=None, high=None)
    line = next(line for line in printed(document).splitlines() if line.startswith("precision"))
    assert line.split(maxsplit=2)[1:] == ["-", "these rows cannot determine it"]


def test_every_metric_is_printed_with_its_interval(predictor: Predictor) -> None:
    lines = printed(describe(predictor)).splitlines()
    metrics = evaluation_facts(predictor.report.evaluation, predictor.schema.classes)["metrics"]
    assert {metrics[name]["label"] for name in ("f1", "roc_auc", "accuracy")} == {"F1", "ROC AUC", "accuracy"}
    for name, estimate in predictor.report.evaluation.metrics.items():
        line = next(line for line in lines if line.startswith(f"{metrics[name]['label']} "))
        assert f"{estimate.value:.4f}" in line
        assert f"{estimate.low:.4f} to {estimate.high:.4f}" in line


def test_rows_are_named_in_an_evaluation(predictor: Predictor) -> None:
    text, schema = io.StringIO(), describe(predictor)["schema"]
    evaluation = evaluation_facts(predictor.evaluate(make_small_table(seed=3)), predictor.schema.classes)
    print_evaluation(Console(file=text, width=200), evaluation, schema, " of new.csv")
    assert "measured on 90 rows of new.csv; positive class yes" in text.getvalue()


def test_sets_are_printed_alone_for_an_evaluation(predictor: Predictor) -> None:
    text, sets = io.StringIO(), dict(describe(predictor)["sets"])
    sets["covered"] = 0.5
    del sets["suggested_coverage"]  # it belongs to the model
    print_sets(Console(file=text, width=200), sets)
    assert text.getvalue().startswith("sets            hold the true class for 50.0% of the rows")
    assert "less often than requested" not in text.getvalue()


@pytest.mark.parametrize(("covered", "is_explained"), [(0.9, False), (0.881, False), (0.879, True)])
def test_sets_that_hold_the_true_class_less_often_than_requested_are_explained(
    predictor: Predictor, covered: float, is_explained: bool
) -> None:
    document = describe(predictor)
    document["sets"] |= {"covered": covered, "coverage": 0.9}
    text = printed(document)
    assert (
        "less often than requested, as the limits of a fold come from members of other folds" in text
    ) == is_explained
    assert ("measure its sets on new rows with tabcohort evaluate" in text) == is_explained


def test_rows_of_groups_are_counted_as_groups(predictor: Predictor) -> None:
    document = describe(predictor)
    assert "in 90 groups" not in printed(document)
    document["evaluation"]["n_groups"] = 30
    groups = "\nin 30 groups (rows of one key or group, or copies of a row): "
    expected = groups + "the intervals allow for rows of a group being alike\n"
    assert expected in printed(document)


def test_the_classes_are_counted_beside_the_simplest_prediction(predictor: Predictor) -> None:
    def text_of(confusion: list[list[float]]) -> str:
        evaluation = replace(predictor.report.evaluation, confusion=np.array(confusion))
        changed = copy.copy(predictor)
        changed.report = replace(predictor.report, evaluation=evaluation)
        return printed(describe(changed))

    text = text_of([[70.0, 1.0], [2.0, 40.0]])
    assert "\nrows of each class: no (71), yes (42); always predicting no would have accuracy 0.6283\n" in text
    assert "fewer than" not in text
    assert text.index("always predicting no") < text.index("\nmetric")
    assert "never predicted" not in text
    seldom = (
        "\nyes is (almost) never predicted: 1 of these rows are, and 29 truly are; what helps: "
        "--threshold balanced_accuracy\n"
    )
    assert seldom in text_of([[2970.0, 1.0], [29.0, 0.0]])


def test_many_classes_that_are_never_predicted_are_named_in_one_line(predictor: Predictor) -> None:
    document = describe(predictor)
    document["evaluation"]["seldom_predicted"] = [
        {"label": label, "count": 9.0, "predicted": 0.0, "remedy": "this"} for label in "abcde"
    ]
    lines = printed(document).splitlines()
    assert [line for line in lines if "never predicted" in line] == [
        "5 classes are (almost) never predicted: a, b, c and 2 more; what helps: this"
    ]


def test_rare_classes_are_named(predictor: Predictor) -> None:
    document = describe(predictor)
    document["evaluation"]["rare_classes"] = ["yes"]
    text = printed(document)
    rare = "\nfewer than 10 of these rows are yes: figures that depend on them are unreliable\n"
    assert rare in text


# Coefficients


def test_the_largest_coefficients_of_a_linear_model_come_first_and_say_for_which_class() -> None:
    predictor = fit_quickly(make_small_table(n_features=12), model="logistic", max_epochs=150, learning_rate=0.05)
    text = printed(describe(predictor))
    lines = text[text.index("largest of 12 coefficients") :].splitlines()[1:]
    coefficients = predictor.coefficients()
    assert coefficients is not None
    assert [line.split()[0] for line in lines if line] == list(coefficients)[:8]
    name, coefficient = next(iter(coefficients.items()))
    assert lines[0].split() == [name, f"{coefficient:+.3f}", "yes" if coefficient > 0 else "no"]
    assert all(line.split()[2] == ("yes" if "+" in line else "no") for line in lines if line)


def test_other_models_print_no_coefficients(predictor: Predictor) -> None:
    assert "coefficients" not in printed(describe(predictor))


def test_a_coefficient_speaks_for_the_class_that_its_sign_means() -> None:
    table = make_small_table()
    labelled = Table.from_arrays(table.X, np.array(["no", "yes"])[table.y], positive="no")
    predictor = fit_quickly(labelled, model="logistic", max_epochs=30)
    lines = printed(describe(predictor)).splitlines()
    assert next(line.split()[2] for line in lines if line.startswith("x0 ")) == "yes"
    assert next(line.split()[1][0] for line in lines if line.startswith("x0 ")) == "-"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[red]", "[red]"),
        ("[/]", "[/]"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\x1b[2J"),
    ],
)
def test_names_from_the_table_are_printed_as_they_are_but_for_control_characters(
    predictor: Predictor, name: str, shown: str
) -> None:
    """Square brackets are the terminal library's markup: a column or class of such a name must not vanish or fail."""
    document = describe(predictor)
    document["schema"]["target"] = name
    document["schema"]["classes"] = ("no", name)
    document["coefficients"] = [{"feature": name, "coefficient": 1.0, "class": name}]
    text = printed(document)
    assert text.count(shown) >= 4
    assert "\x1b" not in text
