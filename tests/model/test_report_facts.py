"""The facts of a report: plain values, of the rows that they say they are of."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import SINGLE, fit_quickly, make_rows, make_small_table
from sklearn import metrics as sk

from tabcohort import Predictor, Table
from tabcohort.evaluation.evaluate import evaluate_out_of_fold
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.facts import facts
from tabcohort.model.report_facts import MAX_CLASSES, MAX_POINTS, class_facts, report_facts
from tabcohort.model.report_table import ReportTable


def frame_of(n_rows: int = 90, seed: int = 0, n_classes: int = 2) -> pl.DataFrame:
    X, codes = make_rows(n_rows, n_classes=n_classes, seed=seed)
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    return frame.with_columns(
        id=pl.Series([f"p{i}" for i in range(n_rows)]), answer=pl.Series(np.array(["no", "yes", "may"])[codes])
    )


@pytest.fixture(scope="module")
def keyed() -> Predictor:
    """A model of `frame_of()` with a key."""
    return fit_quickly(Table.from_frame(frame_of(), "answer", keys=["id"]), model="logistic")


def test_they_are_plain_json_values(keyed: Predictor) -> None:
    document = report_facts(keyed)
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))
    assert (document["data"], document["subgroups"]) == (None, None)
    assert "report" not in document
    assert {name: document[name] for name in ("schema", "configs", "alternatives")} == {
        name: facts(keyed)[name] for name in ("schema", "configs", "alternatives")
    }


def test_without_a_table_they_are_of_the_out_of_fold_predictions(keyed: Predictor) -> None:
    document = report_facts(keyed)
    assert document["measured"] == {
        "on": "out_of_fold", "source": None, "has_table": False, "n_rows": 90, "n_groups": 90, "is_weighted": False
    }  # fmt: skip
    (own,) = document["one_against_rest"]
    proba, y = np.exp(keyed.out_of_fold.log_proba[:, 1].astype(np.float64)), keyed.out_of_fold.y
    assert own["label"] == "yes"
    assert own["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(y, proba))
    assert own["pr_auc"]["value"] == pytest.approx(sk.average_precision_score(y, proba))
    assert document["evaluation"] == facts(keyed)["evaluation"]
    half = own["thresholds"][49]
    matrix = sk.confusion_matrix(y, proba >= 0.5)
    assert half["threshold"] == 0.5
    assert half["confusion"] == [matrix[1, 1], matrix[1, 0], matrix[0, 1], matrix[0, 0]]
    assert sum(own["scores"]["inside"]) == y.sum()
    assert sum(point["n_rows"] for point in own["reliability"]) == 90


def test_the_training_table_adds_cells_but_changes_no_figure(keyed: Predictor) -> None:
    alone, with_table = report_facts(keyed), report_facts(keyed, ReportTable.of(frame_of(), keyed), source="t.csv")
    assert with_table["measured"] == {**alone["measured"], "source": "t.csv", "has_table": True}
    for name in ("evaluation", "sets", "one_against_rest", "histories"):
        assert with_table[name] == alone[name]
    worst = with_table["hardest"]["most_wrong"][0]
    assert worst["cells"]["id"] == f"p{worst['row'] - 1}"
    assert worst["cells"]["x0"] == str(frame_of()["x0"][worst["row"] - 1])
    assert with_table["hardest"]["columns"] == ["id", "x0", "x1", "x2"]
    assert with_table["data"]["n_rows"] == 90
    assert {level["n_rows"] for column in with_table["subgroups"]["columns"] for level in column["levels"]} <= {90}


def test_another_table_is_measured_as_such(keyed: Predictor) -> None:
    frame = frame_of(60, seed=9)
    table = ReportTable.of(frame, keyed)
    document = report_facts(keyed, table, source="new.csv")
    assert document["measured"]["on"] == "table"
    assert document["measured"]["n_rows"] == 60
    proba = keyed.predict_proba(frame)[:, 1]
    assert document["one_against_rest"][0]["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(table.table.y, proba))
    accuracy = (keyed.predict(frame) == frame["answer"].to_numpy()).mean()
    assert document["evaluation"]["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert document["alternatives"] == facts(keyed)["alternatives"]


def test_the_hardest_rows_are_those_with_the_highest_loss(keyed: Predictor) -> None:
    own = keyed.out_of_fold.as_float64()
    hardest = report_facts(keyed)["hardest"]
    wrong = own.log_proba.argmax(axis=1) != own.y
    assert hardest["n_wrong"] == wrong.sum()
    losses = np.where(wrong, own.losses(), -1)
    assert [row["row"] for row in hardest["most_wrong"]] == (np.argsort(-losses)[: min(10, wrong.sum())] + 1).tolist()
    assert all(row["true"] != row["predicted"] for row in hardest["most_wrong"])
    unsure = np.abs(np.exp(own.log_proba[:, 1]) - 0.5).argsort()
    assert [row["row"] for row in hardest["least_sure"]] == (unsure[:10] + 1).tolist()


def test_a_threshold_for_an_objective_is_that_of_other_folds(keyed: Predictor) -> None:
    strict = keyed.with_decision_rule("sensitivity>=0.9")
    document = report_facts(strict)
    expected = evaluate_out_of_fold(strict.out_of_fold, strict.decision_rule, 1, strict.config.seed)
    assert document["evaluation"]["confusion"] == expected.confusion.tolist()
    n_errors = expected.confusion.sum() - np.trace(expected.confusion)
    assert document["hardest"]["n_wrong"] == n_errors


def test_of_two_classes_the_positive_one_is_drawn() -> None:
    table = Table.from_frame(frame_of().drop("id"), "answer", positive="no")
    (own,) = report_facts(fit_quickly(table, model="logistic"))["one_against_rest"]
    assert own["label"] == "no"


def test_of_more_classes_each_is_drawn(three_classes: Predictor) -> None:
    document = report_facts(three_classes)
    assert [own["label"] for own in document["one_against_rest"]] == ["may", "no", "yes"]
    own, code = document["one_against_rest"][1], three_classes.schema.classes.index("no")
    predictions = three_classes.out_of_fold
    proba = np.exp(predictions.log_proba[:, code].astype(np.float64))
    assert own["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(predictions.y == code, proba))
    assert [entry["label"] for entry in document["sets"]["by_class"]] == ["may", "no", "yes"]


def test_a_class_without_rows_has_no_curves(rare: Predictor) -> None:
    document = report_facts(rare)
    by_label = {own["label"]: own for own in document["one_against_rest"]}
    absent = [label for label, own in by_label.items() if own["thresholds"] is None]
    counts = np.bincount(rare.out_of_fold.y, minlength=4)
    assert absent == [label for label, n in zip(rare.schema.classes, counts, strict=True) if n == 0]
    json.dumps(document, allow_nan=False)


def test_a_single_split_has_a_report() -> None:
    document = report_facts(fit_quickly(settings=SINGLE, model="logistic"))
    assert document["rows"]["n_folds"] == 1
    assert document["measured"]["n_rows"] < 90


def test_many_classes_are_cut_and_counted() -> None:
    n_classes = MAX_CLASSES + 3
    names = [f"c{i:02}" for i in range(n_classes)]
    X, codes = make_rows(n_classes * 12, n_classes=n_classes)
    model = fit_quickly(Table.from_arrays(X, np.array(names)[codes]), model="logistic")
    document = report_facts(model)
    assert (len(document["one_against_rest"]), document["n_more_classes"]) == (MAX_CLASSES, 3)


def test_curves_have_at_most_so_many_points() -> None:
    rng = np.random.default_rng(0)
    proba, n = rng.random(3_000), 3_000
    y = (rng.random(n) < proba).astype(np.int64)
    log_proba = np.log(np.column_stack([1 - proba, proba]))
    predictions = OutOfFoldPredictions(np.arange(n), log_proba, y, np.ones(n), np.zeros(n, np.int64), np.arange(n))
    own = class_facts(predictions, 1, "yes")
    for name in ("roc", "precision_recall"):
        lengths = {len(values) for values in own[name].values()}
        assert len(lengths) == 1
        assert lengths.pop() <= MAX_POINTS + 1
    assert own["roc"]["threshold"][0] is None


def test_histories_keep_the_best_epoch(cohort: Predictor) -> None:
    histories = report_facts(cohort)["histories"]
    members = [member for config in histories for member in config["members"]]
    assert len(members) == len(cohort.report.members)
    assert [config["weight"] for config in histories] == sorted((c["weight"] for c in histories), reverse=True)
    for config in histories:
        own = [member for member in cohort.report.members if member.config == config["number"] - 1]
        for member, report in zip(config["members"], own, strict=True):
            losses = dict(zip(member["epoch"], member["val_loss"], strict=True))
            if report.history:
                best = report.history[report.best_epoch - 1].val_loss
                assert losses[report.best_epoch] == pytest.approx(best, abs=1e-5)


def test_sets_of_each_class_are_those_of_the_model(keyed: Predictor) -> None:
    sets, report = report_facts(keyed)["sets"], keyed.report.sets
    shares: dict[str, Any] = sets["all"]
    assert shares["covered"]["value"] == pytest.approx(report.covered)
    assert (shares["single"], shares["several"], shares["empty"]) == pytest.approx(
        (report.single, report.several, report.empty)
    )
    by_class = [own["covered"]["value"] for own in sets["by_class"]]
    assert by_class == pytest.approx(list(report.covered_by_class))


def test_weights_are_said() -> None:
    table = make_small_table()
    weighted = Table(**{**vars(table), "weight": np.where(np.arange(90) < 45, 1.0, 2.0)})
    document = report_facts(fit_quickly(weighted, model="logistic"))
    assert document["measured"]["is_weighted"]
    assert sum(document["evaluation"]["class_counts"]) == pytest.approx(135)
    assert sum(document["one_against_rest"][0]["thresholds"][10]["confusion"]) == pytest.approx(135)
