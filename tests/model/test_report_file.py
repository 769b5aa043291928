"""The report of a model, written as plain values and read back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tabcohort import CohortReport, Predictor
from tabcohort.model.report_file import report_from_dict, report_to_dict, split_times


def read_again(values: dict[str, Any], n_classes: int = 2) -> CohortReport:
    """Return the report that is read where this one was written."""
    report, times = json.loads(json.dumps(split_times(values), allow_nan=False))
    return report_from_dict(report, times, n_classes)


def without_unknowns(report: CohortReport) -> CohortReport:
    """Return the report with a word for what is NaN, which equals nothing, and lists for arrays."""

    def known(values: dict[str, float]) -> dict[str, Any]:
        return {name: "unknown" if math.isnan(value) else value for name, value in values.items()}

    evaluation, sets = report.evaluation, report.sets
    return replace(
        report,
        configs=tuple(
            replace(
                config,
                log_loss=known(vars(config.log_loss)),
                log_loss_gap=known(vars(config.log_loss_gap)),
                metrics=known(config.metrics),
            )
            for config in report.configs
        ),
        evaluation=replace(
            evaluation,
            metrics={name: known(vars(estimate)) for name, estimate in evaluation.metrics.items()},
            confusion=evaluation.confusion.tolist(),
        ),
        sets=replace(sets, covered_by_class=known(dict(enumerate(sets.covered_by_class)))),
    )


@pytest.mark.parametrize("name", ["predictor", "three_classes", "cohort", "rare"])
def test_a_report_that_was_written_as_json_is_the_same_report(name: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(name).report
    values = report_to_dict(report)
    again = read_again(values, len(report.sets.covered_by_class))
    assert without_unknowns(again) == without_unknowns(report)
    assert repr(again) == repr(report)
    assert again.evaluation.confusion.dtype == np.float64
    assert type(again.members) is type(again.configs) is type(again.sets.covered_by_class) is tuple
    assert {type(member.history) for member in again.members} == {tuple}
    assert report_to_dict(again) == values


def test_of_very_many_classes_the_pairs_that_occur_are_written_and_read(
    three_classes: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.model.report_file.MAX_CLASSES_IN_FULL", 2)
    report = three_classes.report
    values = report_to_dict(report)
    pairs = values["evaluation"]["confusion"]
    assert len(pairs["weight"]) == np.count_nonzero(report.evaluation.confusion)
    np.testing.assert_array_equal(read_again(values, 3).evaluation.confusion, report.evaluation.confusion)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight": [1.0]}, "must have a true class, a predicted class and a weight for each pair, not all 0"),
        ({"weight": [0.0, 0.0]}, "must have a true class, a predicted class and a weight for each pair, not all 0"),
        ({"weight": [-1.0, 2.0]}, "weight.*must be a number from 0"),
        ({"true": [0, 3]}, "must have classes from 0 to 2"),
        ({"true": [1, 1], "predicted": [0, 0]}, "must have each pair of classes once"),
        ({"predicted": [0, -1]}, "must be a list of whole numbers from 0"),
        ({"more": []}, "has the unknown part 'more'"),
    ],
)
def test_pairs_that_are_no_confusions_are_refused(
    three_classes: Predictor, changed: dict[str, Any], message: str
) -> None:
    values = report_to_dict(three_classes.report)
    values["evaluation"]["confusion"] = {"true": [0, 1], "predicted": [0, 1], "weight": [1.0, 2.0], **changed}
    with pytest.raises(ValueError, match=message):
        read_again(values, 3)


def test_pairs_of_more_classes_than_a_model_can_have_are_refused_and_not_made_room_for(predictor: Predictor) -> None:
    values = report_to_dict(predictor.report)
    values["evaluation"]["confusion"] = {"true": [0], "predicted": [0], "weight": [1.0]}
    with pytest.raises(ValueError, match="must have classes from 0 to 19999"):
        read_again(values, 3_000_000)


CURVE: dict[str, Any] = {
    "points": [{"share": 1.0, "n_train": 60.0, "log_loss": {"value": 0.5, "low": 0.4, "high": 0.6}}],
    "curves": [
        {"family": family, "limit": 0.1, "drop": 0.2, "rate": 0.5, "drawn": [[0.5, 0.6], [4.0, 0.3]]}
        for family in ("power law", "exponential")
    ],
    "forecasts": [{"factor": 2.0, "n_rows": 180, "gain": {"value": 0.1, "low": 0.0, "high": 0.2}}],
    "conclusion": "twice the rows",
    "is_complete": True,
}


def test_a_learning_curve_is_kept_and_a_report_without_one_is_read(predictor: Predictor) -> None:
    values = report_to_dict(predictor.with_learning_curve(CURVE).report)
    assert read_again(values).learning_curve == CURVE
    assert "learning_curve" not in report_to_dict(predictor.report)
    assert read_again(report_to_dict(predictor.report)).learning_curve is None


@pytest.mark.parametrize(
    "change",
    [
        {"points": []},
        {"points": [{"share": 1.0}]},
        {"curves": CURVE["curves"][:1]},
        {"curves": [{**curve, "drawn": []} for curve in CURVE["curves"]]},
        {"curves": [{**curve, "drawn": [["<b>", 0.5]]} for curve in CURVE["curves"]]},
        {"points": [{**CURVE["points"][0], "log_loss": {"value": None, "low": 0.1, "high": 0.2}}]},
        {"forecasts": 3},
    ],
)
def test_a_learning_curve_that_cannot_be_drawn_is_refused(predictor: Predictor, change: dict[str, Any]) -> None:
    values = report_to_dict(predictor.with_learning_curve({**CURVE, **change}).report)
    with pytest.raises(ValueError, match=r"^report\.learning_curve"):
        read_again(values)


def test_unknown_figures_are_null_and_a_history_is_a_list_for_each_column(rare: Predictor) -> None:
    values = report_to_dict(rare.report)
    assert any(value is None for value in values["evaluation"]["metrics"]["balanced_accuracy"].values())
    assert None in values["configs"][0]["metrics"].values()
    assert None in values["sets"]["covered_by_class"]
    (member,) = rare.report.members
    history = values["members"][0]["history"]
    assert history["epoch"] == [1, 2, 3]
    assert history["val_loss"] == [record.val_loss for record in member.history]
    assert values["configs"][0]["config"] == rare.config.to_dict()


@pytest.mark.parametrize("number", [-1, 1])
def test_a_member_without_a_config_is_refused(number: int, predictor: Predictor) -> None:
    values = report_to_dict(predictor.report)
    values["members"][1]["config"] = number
    with pytest.raises(ValueError, match=rf"^report\.members\[1\]\.config must be a whole number.*, and is {number}$"):
        read_again(values)


def test_what_depends_on_the_clock_is_apart(predictor: Predictor) -> None:
    values = report_to_dict(predictor.report)
    report, times = split_times(values)
    assert set(values) - set(report) == {"fit_seconds", "seconds_saved"}
    assert not [path for path in json.dumps(report).split('"') if "seconds" in path]
    assert times["fit_seconds"] == predictor.report.fit_seconds
    assert [member["seconds"] for member in times["members"]] == [
        [record.seconds for record in member.history] for member in predictor.report.members
    ]
    later = replace(predictor.report, fit_seconds=1e6, seconds_saved=3.0)
    assert split_times(report_to_dict(later))[0] == report
