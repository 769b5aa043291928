"""What a person reads in the terminal says of which class, of which rows, and how sure it is."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from conftest import fit_quickly, make_small_table
from rich.console import Console

from tabcohort import Predictor, Settings, make_table
from tabcohort.artifact import describe, evaluation_to_dict
from tabcohort.report import EpochWatcher, describe_epoch, print_evaluation, print_model
from tabcohort.training import EpochRecord, Progress


def printed(document: dict[str, Any]) -> str:
    """Return what is printed of a document as a model file keeps it."""
    text = io.StringIO()
    print_model(Console(file=text, width=200), json.loads(json.dumps(document)))
    return text.getvalue()


def history(*scores: float) -> tuple[EpochRecord, ...]:
    return tuple(EpochRecord(i + 1, 0.01, 0.5, score, 0.9, score, 2.0 * (i + 1)) for i, score in enumerate(scores))


def test_a_model_is_told_with_its_rows_its_end_and_its_best_epoch(predictor: Predictor) -> None:
    text, report = printed(describe(predictor)), predictor.report
    assert report.engine == "compiled"
    assert "mlp 8 predicts target from 3 columns with 41 parameters" in text
    assert f"{report.n_train} train, {report.n_stop} stop, {report.n_score} score; no row has two roles" in text
    assert "3 epochs in" in text
    assert f"({report.engine} engine); it ended at the limit of 3 epochs; best epoch {report.best_epoch}" in text
    assert (
        f"measured on {report.n_score} scoring rows, which neither trained nor stopped it, positive class yes" in text
    )


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
    weights = predictor.strongest_weights()
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
    ("reason", "words"),
    [
        ("patience", "; it ended after 16 epochs without a better score; best epoch"),
        ("max_epochs", "; it ended at the limit of 3 epochs; best epoch"),
        ("interrupted", "; it was interrupted, and the best weights so far are kept; best epoch"),
    ],
)
def test_why_training_ended_is_said(predictor: Predictor, reason: str, words: str) -> None:
    document = describe(predictor)
    document["report"]["stop_reason"] = reason
    assert words in printed(document)


@pytest.mark.parametrize("name", ["[red]", "[/]", "[bold]x[/bold]", "a\nb"])
def test_names_from_the_table_are_printed_as_they_are(predictor: Predictor, name: str) -> None:
    """Square brackets are the terminal library's markup: a column or class called so must not vanish or fail."""
    document = describe(predictor)
    document["schema"]["target"] = name
    document["schema"]["classes"] = ("no", name)
    document["strongest_weights"] = {name: 1.0}
    text = printed(document)
    assert text.count(name.split("\n")[0]) >= 4


def test_rows_are_named_in_an_evaluation(predictor: Predictor) -> None:
    text, document = io.StringIO(), describe(predictor)
    evaluation = evaluation_to_dict(predictor.evaluate(make_small_table(seed=3)))
    print_evaluation(Console(file=text, width=200), evaluation, document["schema"], "rows of new.csv")
    assert "measured on 90 rows of new.csv, positive class yes" in text.getvalue()


def test_an_epoch_is_one_line_with_the_time_left() -> None:
    progress = Progress(history(0.5, 0.3, 0.4), best_epoch=2)
    line = describe_epoch(progress, Settings(max_epochs=10, patience=None))
    assert line == (
        "epoch 3/10  train loss 0.5000  stop loss 0.4000  log loss 0.4000 (best 0.3000 at 2)  rate 0.01  "
        "at most 14 s left"
    )


def test_the_time_left_is_that_of_patience_when_it_runs_out() -> None:
    progress = Progress(history(0.3, 0.5, 0.6), best_epoch=1)
    assert "at most 2 s left" in describe_epoch(progress, Settings(max_epochs=1000, patience=3))
    assert "at most 1994 s left" in describe_epoch(progress, Settings(max_epochs=1000, patience=300))


def test_away_from_a_terminal_there_is_a_line_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    text, clock = io.StringIO(), iter([0.0, 1.9, 2.0, 3.9, 4.0, 4.1])
    monkeypatch.setattr("tabcohort.report.time.perf_counter", lambda: next(clock, 99.0))
    watcher = EpochWatcher(Console(file=text, width=200), Settings())
    for epoch in range(1, 6):
        watcher(Progress(history(*[0.5] * epoch), best_epoch=1))
    assert [line.split()[1] for line in text.getvalue().splitlines()] == ["2/400", "4/400"]


def test_in_a_terminal_there_is_a_bar_that_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    with EpochWatcher(Console(file=text, width=200, force_terminal=True), Settings(max_epochs=2)) as watcher:
        watcher.shown -= 1
        watcher(Progress(history(0.5), best_epoch=1))
    assert "epoch 1/2" in text.getvalue()
    assert text.getvalue().endswith(("\x1b[2K", "\x1b[?25h\r\x1b[1A\x1b[2K"))


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
    labelled = make_table(table.X, np.array(["no", "yes"])[table.y], positive="no")
    predictor = fit_quickly(labelled, model="logistic", max_epochs=30)
    lines = printed(describe(predictor)).splitlines()
    assert next(line.split()[2] for line in lines if line.startswith("x0 ")) == "yes"
    assert next(line.split()[1][0] for line in lines if line.startswith("x0 ")) == "-"
