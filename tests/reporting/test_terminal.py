"""What a person reads in the terminal says of which class, of which rows, and how sure it is."""

from __future__ import annotations

import copy
import io
import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import SINGLE, SMALL, fit_quickly, make_small_table
from rich.console import Console

from tabcohort import CohortSettings, Config, Predictor, Table, fit
from tabcohort.cohort.progress import RunProgress
from tabcohort.model.file import describe
from tabcohort.model.report import describe_config, evaluation_to_dict
from tabcohort.reporting.terminal import ProgressDisplay, describe_progress, print_evaluation, print_model


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
    """Five settings, of which the two that learn most slowly are behind, and one is dropped."""
    rates = (1e-4, 0.05, 2e-4, 0.04, 3e-4)
    return fit(make_small_table(), [Config(hidden=(8,), max_epochs=8, learning_rate=rate) for rate in rates], SMALL)


def test_a_model_is_told_with_its_networks_its_rows_and_its_best_epochs(predictor: Predictor) -> None:
    text, report = printed(describe(predictor)), predictor.report
    member, best = report.members[0], sorted(each.best_epoch for each in report.members)
    assert report.engine == "compiled"
    assert "mlp 8 predicts target from 3 columns: 3 networks with 123 parameters in all" in text
    assert (
        f"rows       90, in 3 folds x 1 seed; for each network {member.n_train} train, {member.n_validation} stop, "
        f"{member.n_test} score in turn, and no row has two roles\n"
    ) in text
    assert "training   3 networks, 9 epochs in " in text
    which = f"epoch {best[0]}" if best[0] == best[2] else f"epochs {best[0]} to {best[2]}"
    assert line_of(text, "training").endswith(f"({report.engine} engine); best {which}")
    assert "measured on 90 rows, each judged by networks that never saw it; positive class yes" in text


def test_a_single_network_is_told_as_one() -> None:
    predictor = fit_quickly(cohort=SINGLE)
    text, (member,) = printed(describe(predictor)), predictor.report.members
    assert "mlp 8 predicts target from 3 columns: 1 network with 41 parameters in all" in text
    roles = f"{member.n_train} train, {member.n_validation} stop, {member.n_test} score; no row has two roles"
    assert f"rows       90: {roles}\n" in text
    assert line_of(text, "training").startswith("training   1 network, 3 epochs in ")
    assert line_of(text, "training").endswith(f"; best epoch {member.best_epoch}")
    assert f"measured on {member.n_test} rows, each judged by a network that never saw it; positive" in text


def test_rows_of_networks_that_differ_are_told_as_from_to(predictor: Predictor) -> None:
    document = describe(predictor)
    for member, n_train in zip(document["report"]["members"], (30, 45, 60), strict=True):
        member["n_train"] = n_train
    assert "for each network 30 to 60 train, 15 stop, 30 score in turn" in printed(document)
    for member, n_train in zip(document["report"]["members"], (46, 45, 45), strict=True):
        member["n_train"] = n_train
    assert "for each network 46 train, 15 stop" in printed(document)  # folds as equal as can be


def test_a_model_says_what_the_ensemble_is_made_of(tuned: Predictor) -> None:
    document = describe(tuned)
    settings, members = document["report"]["settings"], document["report"]["members"]
    document["members"] = [number for number, each in enumerate(members) if each["fold"] == 0]
    for each, model, hidden, weight in zip(
        settings, ("mlp", "residual", "mlp", "logistic", "mlp"), ([8], [4], [8], [8], [2, 3]),
        (0.2, 0.3, 0.1, 0.25, 0.15), strict=True,
    ):  # fmt: skip
        each["settings"].update(model=model, hidden=hidden)
        each["weight"] = weight
    assert printed(document).startswith("residual 4, logistic, mlp 8 and 1 other predicts target from 3 columns: ")


def test_settings_are_ranked_and_those_that_went_no_farther_say_so(tuned: Predictor) -> None:
    text, report = printed(describe(tuned)), tuned.report
    ranked = sorted(report.settings, key=lambda each: each.log_loss.value)
    assert sorted(each.dropped_after or 0 for each in ranked) == [0] * 4 + [5]
    lines = text[text.index("\nrank ") + 1 :].splitlines()
    for rank, (each, line) in enumerate(zip(ranked, lines[1:], strict=False), 1):
        behind = f"{each.behind.value:+.4f}  ({each.behind.low:+.4f} to {each.behind.high:+.4f})" if rank > 1 else ""
        share = f"{each.weight:.0%}" if each.weight else "-"
        dropped = "" if each.dropped_after is None else "only 5 epochs: "
        what = f"{dropped}learning_rate {each.settings.learning_rate:.3g}"
        assert line == f"{rank:4}  {each.log_loss.value:8.4f}  {behind:31}  {share:>8}  {what}"
    assert lines[0].index("settings") == lines[1].index("learning_rate")
    assert lines[0].index("share") + len("share") == lines[1].index("%") + 1
    assert lines[6].startswith("1 of 5 settings were behind after their first epochs, and went no farther; ")
    assert lines[6].endswith(f"would have taken about {report.seconds_saved:.0f} s more (extrapolated)")


def test_one_setting_is_not_ranked(predictor: Predictor) -> None:
    assert "rank" not in printed(describe(predictor))


def test_no_more_than_twelve_settings_are_shown(tuned: Predictor) -> None:
    document = describe(tuned)
    document["report"]["settings"] *= 3
    text = printed(document)
    assert "\n... and 3 more; --json shows all\n" in text
    assert "\n  12  " in text
    assert "\n  13  " not in text


def test_settings_that_failed_are_named_with_their_reason(tuned: Predictor) -> None:
    document = describe(tuned)
    failed = document["report"]["settings"][2]
    failed.update(log_loss=None, behind=None, metrics={}, weight=0.0, failed="the loss of [it] stopped being finite")
    text = printed(document)
    assert "\nleft out, as training failed: number 3, learning_rate 0.0002: the loss of [it] stopped being" in text
    assert text.count("learning_rate 0.0002") == 1


def test_settings_are_described_by_what_differs() -> None:
    settings = Config(hidden=(8, 4), dropout=0.25, patience=None).to_dict()
    but = {name for name in settings if name not in ("model", "hidden", "dropout", "patience")}
    assert describe_config(settings, but) == "mlp 8-4, dropout 0.25, patience None"
    assert describe_config(settings, but | {"model"}) == "mlp 8-4, dropout 0.25, patience None"
    assert describe_config(settings, but | {"model", "hidden"}) == "dropout 0.25, patience None"
    assert describe_config(settings, set(settings)) == "mlp 8-4"
    assert describe_config({**settings, "model": "logistic"}, but | {"dropout", "patience"}) == "logistic"


def test_a_model_says_what_correcting_its_probabilities_did(predictor: Predictor) -> None:
    document = describe(predictor)
    document["calibrator"].update(method="none", scale=1.0)
    line = "probabilities   left as they are: no correction made them clearly better"
    assert line in printed(document).splitlines()
    document["calibrator"].update(method="temperature", scale=1.504)
    document["report"]["calibration"] = {
        "ece_before": 0.2, "ece_after": 0.05, "log_loss_before": 0.7, "log_loss_after": 0.6
    }  # fmt: skip
    assert line_of(printed(document), "probabilities") == (
        "probabilities   corrected by temperature (times 1.50): calibration error 0.2000 before and 0.0500 after, "
        "log loss 0.7000 and 0.6000"
    )


def test_a_model_says_how_often_its_sets_hold_the_truth_and_how_large_they_are(predictor: Predictor) -> None:
    text, sets = (
        printed(describe(predictor.with_decision_rule(None, 0.8))),
        predictor.with_decision_rule(None, 0.8).report.sets,
    )
    of_classes = f"no {sets['covered, class 0']:.1%}, yes {sets['covered, class 1']:.1%}"
    held = f"hold the true one for {sets['covered']:.1%} of the rows ({of_classes}); asked for: 80% of each class"
    assert f"sets            of classes {held}\n" in text
    assert (
        f"one class for {sets['one class']:.1%} of the rows; an abstention for the others: several classes for "
        f"{sets['several']:.1%}, none for {sets['none']:.1%}\n"
    ) in text


def test_a_class_whose_coverage_is_not_known_is_left_out(predictor: Predictor) -> None:
    document = describe(predictor)
    document["report"]["sets"]["covered, class 0"] = None
    document["report"]["sets"]["covered, class 1"] = 0.75
    assert "of the rows (yes 75.0%); asked for" in printed(document)


def test_a_threshold_is_told_with_its_class_and_its_aim(predictor: Predictor) -> None:
    assert "threshold" not in printed(describe(predictor))
    decided = predictor.with_decision_rule("cost=5:1")
    line = f"threshold       yes from a probability of {decided.decision_rule.threshold:.4f} on, for cost=5:1; "
    assert line + "above, each row is called by one that was chosen on other rows\n" in printed(describe(decided))


def test_the_confusion_matrix_names_its_classes(three_classes: Predictor) -> None:
    lines = [line.split() for line in printed(describe(three_classes)).splitlines()]
    start = lines.index(["truly,", "and", "predicted:", "may", "no", "yes"])
    counts = three_classes.report.evaluation.confusion
    expected = [
        [name, *(f"{count:.0f}" for count in row)] for name, row in zip(["may", "no", "yes"], counts, strict=True)
    ]
    assert lines[start + 1 : start + 4] == expected


def test_many_classes_print_no_confusion_matrix() -> None:
    predictor = fit_quickly(make_small_table(13, list("abcdefghijklm"), n_rows=130))
    text = printed(describe(predictor))
    assert "and predicted:" not in text
    assert "the confusion matrix of 13 classes is in the output of --json" in text
    assert "positive class" not in text


def test_the_strongest_weights_of_a_linear_model_come_first_and_say_for_whom() -> None:
    predictor = fit_quickly(make_small_table(n_features=12), model="logistic", max_epochs=150, learning_rate=0.05)
    text = printed(describe(predictor))
    lines = text[text.index("strongest of 12 weights") :].splitlines()[1:]
    weights = predictor.coefficients()
    assert weights is not None
    assert [line.split()[0] for line in lines if line] == list(weights)[:8]
    name, weight = next(iter(weights.items()))
    assert lines[0].split() == [name, f"{weight:+.3f}", "yes" if weight > 0 else "no"]
    assert all(line.split()[2] == ("yes" if "+" in line else "no") for line in lines if line)


def test_other_models_print_no_weights(predictor: Predictor) -> None:
    assert "strongest" not in printed(describe(predictor))


def test_a_metric_that_is_not_known_is_a_dash(predictor: Predictor) -> None:
    document = describe(predictor)
    document["report"]["evaluation"]["metrics"]["precision"] = None
    line = next(line for line in printed(document).splitlines() if line.startswith("precision"))
    assert line.split(maxsplit=2)[1:] == ["-", "these rows cannot tell"]


def test_every_metric_is_printed_with_its_interval(predictor: Predictor) -> None:
    text = printed(describe(predictor))
    for name, estimate in predictor.report.evaluation.metrics.items():
        label = {"f1": "F1", "roc_auc": "ROC AUC", "accuracy": "accuracy"}.get(name)
        if label:
            line = next(line for line in text.splitlines() if line.startswith(label))
            assert f"{estimate.value:.4f}" in line
            assert f"{estimate.low:.4f} to {estimate.high:.4f}" in line


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (None, ""),
        ("budget", "; its budget of seconds was spent, and the best weights so far are kept"),
        ("interrupted", "; it was interrupted, and the best weights so far are kept"),
    ],
)
def test_why_training_ended_before_its_time_is_said(predictor: Predictor, reason: str | None, end: str) -> None:
    document = describe(predictor)
    document["report"]["reason"] = reason
    for member in document["report"]["members"]:
        member["best_epoch"] = 2
    assert line_of(printed(document), "training").endswith(f"; best epoch 2{end}")


@pytest.mark.parametrize("name", ["[red]", "[/]", "[bold]x[/bold]", "a\nb"])
def test_names_from_the_table_are_printed_as_they_are(predictor: Predictor, name: str) -> None:
    """Square brackets are the terminal library's markup: a column or class called so must not vanish or fail."""
    document = describe(predictor)
    document["schema"]["target"] = name
    document["schema"]["classes"] = ("no", name)
    document["coefficients"] = {name: 1.0}
    text = printed(document)
    assert text.count(name.split("\n")[0]) >= 4


def test_rows_are_named_in_an_evaluation(predictor: Predictor) -> None:
    text, document = io.StringIO(), describe(predictor)
    evaluation = evaluation_to_dict(predictor.evaluate(make_small_table(seed=3)))
    print_evaluation(Console(file=text, width=200), evaluation, document["schema"], "rows of new.csv")
    assert "measured on 90 rows of new.csv; positive class yes" in text.getvalue()


STARTED = RunProgress(
    n_members=6, n_done=2, n_settings=2, epochs=1234, best_loss=0.41236, best_setting=1, seconds=3.0, seconds_left=8.2
)


def test_a_run_is_one_line_with_the_time_left() -> None:
    assert describe_progress(STARTED) == (
        "2/6 networks of 2 settings trained  1,234 epochs  best stop loss 0.4124 (settings 2)  about 9 s left"
    )


def test_a_run_of_one_setting_does_not_count_settings() -> None:
    assert describe_progress(replace(STARTED, n_members=3, n_settings=1)) == (
        "2/3 networks trained  1,234 epochs  best stop loss 0.4124  about 9 s left"
    )


def test_what_is_not_known_of_a_run_yet_is_left_out() -> None:
    begun = RunProgress(1, 0, 1, 1, best_loss=math.nan, best_setting=-1, seconds=0.0, seconds_left=math.nan)
    assert describe_progress(begun) == "0/1 network trained  1 epoch"


def test_away_from_a_terminal_there_is_a_line_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    text, clock = io.StringIO(), iter([0.0, 1.9, 2.0, 3.9, 4.0, 4.1])
    monkeypatch.setattr("tabcohort.reporting.terminal.time.perf_counter", lambda: next(clock, 99.0))
    shown = ProgressDisplay(Console(file=text, width=200))
    for n_done in range(1, 6):
        shown(replace(STARTED, n_done=n_done))
    assert [line.split()[0] for line in text.getvalue().splitlines()] == ["2/6", "4/6"]


def test_in_a_terminal_there_is_a_bar_that_leaves_nothing_behind() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=200, force_terminal=True)) as shown:
        shown.shown -= 1
        shown(STARTED)
        assert (shown.bar.tasks[0].completed, shown.bar.tasks[0].total) == (2, 6)
    assert "2/6 networks of 2 settings trained" in text.getvalue()
    assert text.getvalue().endswith(("\x1b[2K", "\x1b[?25h\r\x1b[1A\x1b[2K"))


def test_a_run_shows_itself_while_it_trains() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=200)) as shown:
        shown.shown -= 10
        fit(make_small_table(), Config(hidden=(8,), max_epochs=3), CohortSettings(folds=3, seeds=1), shown)
    assert re.match(r"[0-3]/3 networks trained  \d+ epochs?  best stop loss 0\.\d{4}", text.getvalue())


def test_the_columns_are_listed_up_to_eight() -> None:
    text = printed(describe(fit_quickly(make_small_table(n_features=8), model="logistic")))
    assert "columns    x0, x1, x2, x3, x4, x5, x6, x7\n" in text
    text = printed(describe(fit_quickly(make_small_table(n_features=9), model="logistic")))
    assert "columns    x0, x1, x2, x3, x4, x5, x6, x7, ... (9 in all)\n" in text


def test_the_classes_are_counted_beside_the_simplest_answer(predictor: Predictor) -> None:
    document = describe(predictor)
    document["report"]["evaluation"]["confusion"] = [[70.0, 1.0], [2.0, 40.0]]
    text = printed(document)
    assert "\ntruly 71 no, 42 yes; always saying no would have accuracy 0.6283\n" in text
    assert "fewer than" not in text
    assert text.index("always saying no") < text.index("\nmetric")
    document["report"]["evaluation"]["confusion"] = [[70.0, 1.0], [2.0, 7.0]]
    assert "\nfewer than 10 of these rows are yes: what rests on them says little\n" in printed(document)


def test_a_weight_speaks_for_the_class_that_its_sign_means() -> None:
    table = make_small_table()
    labelled = Table.from_arrays(table.X, np.array(["no", "yes"])[table.y], positive="no")
    predictor = fit_quickly(labelled, model="logistic", max_epochs=30)
    lines = printed(describe(predictor)).splitlines()
    assert next(line.split()[2] for line in lines if line.startswith("x0 ")) == "yes"
    assert next(line.split()[1][0] for line in lines if line.startswith("x0 ")) == "-"


def test_networks_that_ended_at_the_limit_of_epochs_are_told_of() -> None:
    words = (
        "3 networks ended at max_epochs while still getting better: a higher learning_rate, or more epochs, may help"
    )
    assert words in printed(describe(fit_quickly(max_epochs=3)))
    assert "still getting better" not in printed(describe(fit_quickly(max_epochs=400, patience=1)))


def test_a_threshold_that_was_named_was_not_chosen() -> None:
    told = printed(describe(fit_quickly().with_decision_rule(0.3)))
    assert "threshold       yes from a probability of 0.3000 on, as was asked for\n" in told


def test_settings_that_were_judged_on_a_part_come_last_and_those_without_a_turn_are_counted(tuned: Predictor) -> None:
    document = copy.deepcopy(describe(tuned))
    part, untried = document["report"]["settings"][:2]
    part.update(n_rows=30, log_loss=[0.01, 0.0, 0.02])
    untried.update(n_rows=0, log_loss=None, behind=None, weight=0.0)
    told = printed(document)
    assert re.search(r"^   4    0\.0100 .* judged on 30 rows only: ", told, re.MULTILINE)
    assert "\n1 of 5 settings were not tried: training ended before their turn\n" in told
