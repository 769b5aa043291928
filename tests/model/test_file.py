"""A model file gives back the very predictor that was saved, or a message."""

from __future__ import annotations

import copy
import json
import math
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import QUICK, SINGLE, SMALL, fit_quickly, make_rows, make_small_table

from tabcohort import CohortSettings, Config, ModelFileError, Predictor, TabcohortWarning, Table, fit, load, save
from tabcohort.container import FORMAT, read_container, write_container
from tabcohort.data.columns import Category, Number
from tabcohort.engines.compiled.inference import Inference
from tabcohort.evaluation.calibration import Calibrator
from tabcohort.model.facts import facts
from tabcohort.model.file import PARTS, describe, read_model
from tabcohort.model.report_file import report_to_dict, split_times

MODELS = {
    "logistic": {"model": "logistic"},
    "mlp": {"model": "mlp"},
    "deep": {"model": "mlp", "hidden": (8, 7, 6), "batch_norm": True, "activation": "gelu"},
    "linear": {"model": "mlp", "hidden": ()},
    "residual": {"model": "residual", "hidden": (8, 5)},
}
LABELS: dict[str, list[Any]] = {
    "text": ["no", "größe", "yes"],
    "whole numbers": [-1, 3, 10],
    "floats": [-0.5, 0.1, 2.5],
    "booleans": [False, True],
}


def round_trip(predictor: Predictor, folder: Path) -> Predictor:
    save(predictor, folder / "model.tabcohort")
    return load(folder / "model.tabcohort")


def assert_same(loaded: Predictor, predictor: Predictor) -> None:
    """Assert that two predictors are the same in all that they know, and predict the same bits."""
    X, _ = make_rows(seed=1)
    assert loaded.member_logits(X).tobytes() == predictor.member_logits(X).tobytes()
    for one, other in zip(loaded.log_proba_and_spread(X), predictor.log_proba_and_spread(X), strict=True):
        assert one.tobytes() == other.tobytes()
    assert (loaded.predict(X) == predictor.predict(X)).all()
    assert (loaded.predict_set(X) == predictor.predict_set(X)).all()
    assert loaded.schema == predictor.schema
    assert (loaded.config, loaded.members) == (predictor.config, predictor.members)
    assert loaded.coefficients() == predictor.coefficients()
    for name, values in vars(predictor.out_of_fold).items():
        assert vars(loaded.out_of_fold)[name].dtype == values.dtype
        assert vars(loaded.out_of_fold)[name].tobytes() == values.tobytes()
    for one, other in ((loaded.calibrator, predictor.calibrator), (loaded.decision_rule, predictor.decision_rule)):
        assert repr(one) == repr(other)
        assert {name: type(value) for name, value in vars(one).items()} == {
            name: type(value) for name, value in vars(other).items()
        }
    assert list(loaded.report.evaluation.metrics) == list(predictor.report.evaluation.metrics)
    assert report_to_dict(loaded.report) == report_to_dict(predictor.report)
    assert repr(loaded.report) == repr(predictor.report)


# -- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_predicts_the_same_bits_after_a_round_trip(model: str, n_classes: int, tmp_path: Path) -> None:
    predictor = fit_quickly(make_small_table(n_classes), **MODELS[model])
    assert_same(round_trip(predictor, tmp_path), predictor)


def with_calibrator(predictor: Predictor, calibrator: Calibrator) -> Predictor:
    return Predictor(
        predictor.models, predictor.members, predictor.schema, calibrator, predictor.decision_rule,
        predictor.out_of_fold, predictor.report,
    )  # fmt: skip


def test_thresholds_sets_and_calibrators_survive(predictor: Predictor, tmp_path: Path) -> None:
    calibrator = Calibrator("bias-corrected temperature", 1 / 3, np.array([0.0, -0.1]))
    changed = with_calibrator(predictor, calibrator).with_decision_rule("sensitivity>=0.9", 0.7)
    assert_same(round_trip(changed, tmp_path), changed)
    # Another one is chosen on the out-of-fold predictions, which the file keeps.
    one, other = (model.with_decision_rule("f1") for model in (load(tmp_path / "model.tabcohort"), changed))
    assert repr((one.decision_rule, one.report)) == repr((other.decision_rule, other.report))


def test_all_that_can_happen_to_configs_survives(tmp_path: Path) -> None:
    """Seeds, configs that share the ensemble, were dropped or failed, and a budget that ended it."""
    rates = (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)
    configs = [Config(**{**QUICK, "max_epochs": 40, "learning_rate": rate}) for rate in rates]
    diverges = replace(configs[0], optimizer="sgd", learning_rate=1e30)
    with pytest.warns(TabcohortWarning, match="stopped being finite"):
        predictor = fit(make_small_table(), [*configs, diverges], CohortSettings(folds=3, seeds=2))
    assert {config.dropped_after for config in predictor.report.configs} > {None}
    assert predictor.report.configs[-1].failed is not None
    assert len(predictor.models) < len(predictor.report.members)
    assert_same(round_trip(predictor, tmp_path), predictor)
    with pytest.warns(TabcohortWarning, match="the budget of seconds is spent"):
        in_time = fit(make_small_table(), configs[-1], replace(SMALL, budget_seconds=1e-6))
    assert_same(round_trip(in_time, tmp_path), in_time)
    assert load(tmp_path / "model.tabcohort").report.stop_reason == "budget"


def test_bins_of_numbers_survive(tmp_path: Path) -> None:
    predictor = fit_quickly(settings=SINGLE, bins=4)
    assert predictor.models[0].program.n_bins == 12
    assert_same(round_trip(predictor, tmp_path), predictor)


def test_a_bin_of_a_column_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """The kernels check no bounds, so a file that would let them read elsewhere must not load."""
    predictor = fit_quickly(settings=SINGLE, bins=4)
    statistics = predictor.models[0].statistics()
    assert statistics is not None
    for column in (3.0, -1.0, 0.5):
        wrong = replace(statistics, column=np.full(12, column))
        network = predictor.models[0].with_statistics(wrong)
        with pytest.raises(ValueError, match=f"bin 0 of the layer 'bins' reads column {column:g}; they are 0 to 2"):
            Inference([network])


@pytest.mark.parametrize(
    ("name", "value"), [("column", 3.0), ("lower", 1e300), ("inverse", 1e300), ("inverse", -1.0), ("column", -1.0)]
)
def test_a_file_with_impossible_bins_is_refused(name: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "model.tabcohort"
    save(fit_quickly(settings=SINGLE, bins=4), path)
    arrays, document = read_container(path, "model")
    arrays = {key: array.copy() for key, array in arrays.items()}
    arrays[f"members.0.bins.{name}"][0] = value
    write_container(path, "model", arrays, document)
    with pytest.raises(
        ModelFileError, match=r"is not a valid model file: (bin 0 of the layer|the layer 'bins' has bins)"
    ):
        load(path)


def test_a_file_with_an_empty_array_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tabcohort"
    save(fit_quickly(settings=SINGLE), path)
    arrays, document = read_container(path, "model")
    write_container(path, "model", {**arrays, "members.0.bins.column": np.empty(0)}, document)
    with pytest.raises(ModelFileError, match="its arrays are not those of the network it describes"):
        load(path)


def test_a_single_network_survives(tmp_path: Path) -> None:
    predictor = fit_quickly(settings=SINGLE)
    assert_same(round_trip(predictor, tmp_path), predictor)


@pytest.mark.parametrize("kind", LABELS)
def test_labels_keep_their_type_and_value(kind: str, tmp_path: Path) -> None:
    labels = LABELS[kind]
    predictor = fit_quickly(make_small_table(len(labels), labels), model="logistic")
    loaded = round_trip(predictor, tmp_path)
    assert loaded.schema.classes == tuple(sorted(labels))
    assert [type(label) for label in loaded.schema.classes] == [type(label) for label in labels]
    X, _ = make_rows(seed=1)
    assert loaded.predict(X).dtype == predictor.predict(X).dtype
    assert (loaded.predict(X) == predictor.predict(X)).all()
    assert type(loaded.predict_row({"x0": 1, "x1": 0, "x2": 0}).label) is type(labels[0])


def test_saving_again_gives_the_same_bytes(predictor: Predictor, tmp_path: Path) -> None:
    loaded = round_trip(predictor, tmp_path)
    save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model.tabcohort").read_bytes()


def test_class_weights_by_label_survive(tmp_path: Path) -> None:
    predictor = fit_quickly(make_small_table(2, [0, 1]), class_weight={0: 1.0, 1: 2.5})
    assert round_trip(predictor, tmp_path).config.class_weight == {0: 1.0, 1: 2.5}


def test_metrics_that_are_not_known_survive(predictor: Predictor, tmp_path: Path) -> None:
    changed = copy.copy(predictor)
    metrics = dict(predictor.report.evaluation.metrics)
    metrics["precision"] = replace(metrics["precision"], value=math.nan, low=math.nan, high=math.nan)
    evaluation = replace(predictor.report.evaluation, metrics=metrics)
    changed.report = replace(predictor.report, evaluation=evaluation)
    loaded = round_trip(changed, tmp_path).report.evaluation
    assert list(loaded.metrics) == list(metrics)
    assert all(math.isnan(value) for value in vars(loaded.metrics["precision"]).values())
    assert loaded.metrics["accuracy"] == metrics["accuracy"]


def test_test_rows_without_one_of_the_classes_can_be_saved(tmp_path: Path) -> None:
    """A class of two rows may have none among the test rows: its recall, and so the balanced accuracy, is NaN."""
    X, codes = make_rows(n_rows=62)
    labels = np.array(["a", "b"])[codes]
    labels[:2], labels[2:4] = "rare", "seldom"
    predictor = fit(Table.from_arrays(X, labels), Config(**QUICK), SINGLE)
    assert math.isnan(predictor.report.evaluation.metrics["balanced_accuracy"].value)
    assert math.isnan(predictor.report.configs[0].metrics["balanced_accuracy"])
    assert any(math.isnan(share) for share in predictor.report.sets.covered_by_class)
    assert_same(round_trip(predictor, tmp_path), predictor)


def test_configs_of_numpy_scalars_give_a_model_that_saves_and_loads(tmp_path: Path) -> None:
    predictor = fit_quickly(
        make_small_table(2, [0, 1]),
        seed=np.int64(3),
        max_epochs=np.int32(2),
        dropout=np.float32(0.25),
        batch_norm=np.bool_(True),
        class_weight={np.int64(0): np.float32(1.0), np.int64(1): np.float64(2.5)},
        hidden=(np.int64(8),),
    )
    loaded = round_trip(predictor, tmp_path)
    assert loaded.config == predictor.config
    assert loaded.config.class_weight == {0: 1.0, 1: 2.5}
    X, _ = make_rows(seed=1)
    assert loaded.predict_proba(X).tobytes() == predictor.predict_proba(X).tobytes()


def test_a_file_says_in_plain_values_all_but_the_weights(predictor: Predictor, tmp_path: Path) -> None:
    document = describe(predictor)
    assert list(json.loads(json.dumps(document, allow_nan=False))) == list(document)
    assert document["model"]["n_parameters"] == 3 * predictor.models[0].program.n_parameters
    assert document["members"] == [0, 1, 2]
    assert [len(member["history"]["val_loss"]) for member in document["report"]["members"]] == [3, 3, 3]
    assert document["versions"] == {name: version(name) for name in ("tabcohort", "numba", "numpy")}
    assert document["python"] == platform.python_version()
    assert {name: document[name] for name in facts(predictor)} == facts(predictor)
    save(predictor, tmp_path / "model")
    written = read_container(tmp_path / "model", "model")[1]
    report, times = split_times(document["report"])
    known = {**{name: document[name] for name in (*PARTS, "versions", "python")}, "report": report, "times": times}
    assert written == {**json.loads(json.dumps(known)), "kind": "model", "format": FORMAT}
    assert describe(*read_model(tmp_path / "model")) == document


# -- what does not fit -----------------------------------------------------------------------------------------------


def change(path: Path, *keys: str | int, to: Any) -> None:
    """Set one value of a model file's document, with a checksum that fits."""
    arrays, document = read_container(path, "model")
    place = document
    for key in keys[:-1]:
        place = place[key]
    assert isinstance(place, list) or keys[-1] in place or keys[-1] in ("depth", "mood"), "it is nowhere read"
    place[keys[-1]] = to
    del document["format"], document["kind"]
    write_container(path, "model", arrays, document)


CONFIG = ("report", "configs", 0, "config")
DOCUMENTS: dict[str, tuple[tuple[str | int, ...], Any, str]] = {
    "another width": ((*CONFIG, "hidden"), [9], "its arrays are not those of the network it describes"),
    "another network": ((*CONFIG, "model"), "residual", "its arrays are not those of the network it describes"),
    "a huge network": ((*CONFIG, "hidden"), [10**9, 10**9], "the setting 'hidden' must be "),
    "a network beyond counting": ((*CONFIG, "hidden"), [2**70], ""),
    "an unknown setting": ((*CONFIG, "depth"), 3, "there is no setting 'depth'"),
    "a setting out of range": ((*CONFIG, "dropout"), 2, "the setting 'dropout' must be"),
    "another class": (("schema", "classes"), ["a", "b", "c"], "report.evaluation.confusion must have 3 rows of 3"),
    "no decision rule": (("decision_rule",), None, "decision_rule must be an object, and is null"),
    "a class twice": (("schema", "classes"), ["a", "a"], "schema.classes has a class twice, or fewer than two classes"),
    "one class": (("schema", "classes"), ["a"], "schema.classes has a class twice, or fewer than two classes"),
    "a class that is a list": (("schema", "classes"), [["a"], ["b"]], "schema.classes must be a list of texts,"),
    "a feature twice": (("schema", "columns", 1, "name"), "x0", "its schema has no features, or repeated names"),
    "no features": (("schema", "columns"), [], "its schema has no features"),
    "a feature less": (("schema", "columns"), [Number("x0").to_dict()], "its arrays are not those of the network"),
    "a column of no type": (("schema", "columns", 1, "kind"), "tensor", "there is no type of column 'tensor'"),
    "a column without note": (("schema", "columns", 1), {"kind": "number", "name": "x1"}, "a column of type 'number'"),
    "a name that is a number": (("schema", "columns", 1, "name"), 3, "the name of a column cannot be 3"),
    "a column with levels": (
        ("schema", "columns", 1), Category("x1", level_names=("a", "b")).to_dict(), "its arrays are not those of the",
    ),
    "no dropped columns": (("schema", "dropped"), 3, "schema.dropped must be a list, and is 3"),
    "a positive class beyond": (("schema", "positive"), 2, "schema.positive must be a whole number from 0 to 1, and"),
    "a negative positive class": (("schema", "positive"), -1, "schema.positive must be a whole number from 0 to 1,"),
    "a positive class by name": (("schema", "positive"), "yes", "schema.positive must be a whole number from 0 to 1,"),
    "no schema": (("schema",), None, "schema must be an object, and is null"),
    "an unknown part of the report": (("report", "mood"), "good", "mood"),
    "a history that is a number": (("report", "members", 0, "history"), 3, "history must be an object, and is 3"),
    "a history without a column": (("report", "members", 0, "history"), {"epoch": [1]}, "history.learning_rate is"),
    "a history of uneven columns": (("report", "members", 0, "history", "epoch"), [1, 2], "history must have the"),
    "no times": (("times",), None, "times must be an object, and is null"),
    "times of no members": (("times", "members"), [], "times.members must have the seconds of 3 members, and has 0"),
    "times of other epochs": (("times", "members", 0, "seconds"), [1.0], "history must have the epochs"),
    "a negative time": (("times", "fit_seconds"), -1.0, "times.fit_seconds must be a number from 0, and is -1.0"),
    "a negative time of an epoch": (("times", "members", 0, "seconds"), [-1.0, 1.0, 2.0], "must be a number from 0"),
    "members that are a number": (("report", "members"), 3, "report.members must be a list, and is 3"),
    "a member of another config": (("report", "members", 2, "config"), 1, "config must be a whole number from 0 to 0,"),
    "a member of a config by name": (("report", "members", 2, "config"), "mlp", "config must be a whole number from 0"),
    "no configs": (("report", "configs"), [], "report.configs and report.members must not be empty"),
    "a config without a weight": (("report", "configs", 0, "weight"), 0.0, "a config that has no weight in the ens"),
    "a config of negative weight": (("report", "configs", 0, "weight"), -1.0, "weight must be a number from 0 to 1,"),
    "a member beyond": (("members",), [0, 1, 3], "it has no member 3"),
    "a negative member": (("members",), [0, 1, -1], "members must be a list of whole numbers from 0"),
    "a member that is no number": (("members",), [0, 1, True], "members must be a list of whole numbers"),
    "a member twice": (("members",), [0, 1, 1], "it has no members, or one twice"),
    "no members": (("members",), [], "it has no members, or one twice"),
    "a member less": (("members",), [0, 1], r"it has arrays that are not needed: members\.2\."),
    "a calibrator of three classes": (("calibrator", "shift"), [0, 0, 0], "calibrator.shift must have a number for"),
    "a calibrator that is not finite": (("calibrator", "shift"), ["nan", 0], "calibrator.shift.0. must be a number"),
    "a calibrator that turns all round": (("calibrator", "scale"), -1.0, "calibrator.scale must be a number from"),
    "a calibrator to nothing": (("calibrator", "scale"), 0, "calibrator.scale must be a number from 1e-06"),
    "a calibrator without end": (("calibrator", "scale"), "inf", "calibrator.scale must be a number from 1e-06"),
    "no calibrator": (("calibrator",), None, "calibrator must be an object, and is null"),
    "sets of three classes": (("decision_rule", "set_thresholds"), [0, 0, 0], "sets have impossible thresholds"),
    "sets that are not finite": (("decision_rule", "set_thresholds"), ["nan", 0], "set_thresholds.0. must be a number"),
    "sets for all rows": (("decision_rule", "coverage"), 1.0, "its prediction sets have impossible thresholds"),
    "a threshold above 1": (("decision_rule", "threshold"), 1.5, "decision_rule.threshold must be a number from 0 to"),
    "a threshold without an objective": (
        ("decision_rule", "threshold"), 0.5, "it has an objective without a threshold, or a threshold without an obj",
    ),
    "an objective without a threshold": (("decision_rule", "objective"), "f1", "it has an objective without a thresh"),
    "a threshold of 0": (("decision_rule", "threshold"), 0, "it has an objective without a threshold"),
    "a threshold that is text": (("decision_rule", "threshold"), "high", "decision_rule.threshold must be a number"),
    "no positive class of two": (("schema", "positive"), None, "neither of its two classes is the positive one"),
    "groups by name": (("report", "evaluation", "n_groups"), "many", "n_groups must be a whole number from 1 to 90,"),
    "more groups than rows": (("report", "evaluation", "n_groups"), 91, "n_groups must be a whole number from 1 to"),
    "no rows": (("report", "evaluation", "n_rows"), 0, "n_rows must be a whole number from 1, and is 0"),
    "metrics that are a list": (("report", "evaluation", "metrics"), [], "report.evaluation.metrics must be an"),
    "a metric that is not known": (
        ("report", "evaluation", "metrics"), {"luck": {"value": 1, "low": 1, "high": 1}}, "report.evaluation.metrics",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_does_not_fit_is_refused(name: str, predictor: Predictor, tmp_path: Path) -> None:
    keys, value, words = DOCUMENTS[name]
    path = tmp_path / "model"
    save(predictor, path)
    change(path, *keys, to=value)
    with pytest.raises(ModelFileError, match=rf"model' is not a valid model file: .*{words}"):
        load(path)


def test_an_objective_that_is_none_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    save(predictor.with_decision_rule("f1"), tmp_path / "model")
    change(tmp_path / "model", "decision_rule", "objective", to="luck")
    with pytest.raises(ModelFileError, match=r"is not a valid model file: the threshold must be .*; it is 'luck'$"):
        load(tmp_path / "model")


ARRAYS: dict[str, tuple[str, Any, str]] = {
    "wrong shape": (
        "members.1.network.layers.0.weight",
        np.zeros((3, 8), np.float32),
        r"'network\.layers\.0\.weight' must be of shape \(8, 3\); it is \(3, 8\)",
    ),
    "one too many": ("more", np.zeros(1), "it has arrays that are not needed: more"),
    "one too many of a member": ("members.2.more", np.zeros(1), "its arrays are not those of the network it describes"),
    "one of a member that is not there": ("members.3.more", np.zeros(1), "it has arrays that are not needed: members"),
    "one missing": ("members.2.network.layers.0.bias", None, "its arrays are not those of the network it describes"),
    "infinite": ("members.2.standardize.scale", np.full(3, np.inf), "a weight is not finite"),
    "NaN": ("members.0.standardize.center", np.full(3, np.nan), "a weight is not finite"),
    "beyond float32": ("members.0.network.layers.0.bias", np.full(8, 1e300), "a weight is not finite, or beyond"),
    "out-of-fold: missing": ("fold_ids", None, r"'out_of_fold\.fold_ids'"),
    "out-of-fold: other rows": ("fold_ids", np.zeros(89, np.int64), "predictions have an impossible 'fold_ids'"),
    "out-of-fold: other classes": (
        "log_proba", np.zeros((90, 3), np.float32), "predictions have an impossible 'log_proba'",
    ),
    "out-of-fold: another type": ("log_proba", np.zeros((90, 2)), "predictions have an impossible 'log_proba'"),
    "out-of-fold: not finite": ("weight", np.full(90, np.inf), "predictions have an impossible 'weight'"),
    "out-of-fold: no weight": ("weight", np.zeros(90), "predictions have impossible classes or weights"),
    "out-of-fold: a class beyond": ("y", np.full(90, 2), "predictions have impossible classes or weights"),
    "out-of-fold: a negative class": ("y", np.full(90, -1), "predictions have impossible classes or weights"),
    "out-of-fold: a huge group": ("group_ids", np.full(90, 2**40), "predictions have impossible groups"),
    "out-of-fold: a negative group": ("group_ids", np.arange(90) - 1, "predictions have impossible groups"),
    "out-of-fold: groups with gaps": ("group_ids", 2 * np.arange(90), "predictions have impossible groups"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_do_not_fit_are_refused(name: str, predictor: Predictor, tmp_path: Path) -> None:
    array, value, words = ARRAYS[name]
    if name.startswith("out-of-fold"):
        array = f"out_of_fold.{array}"
    save(predictor, tmp_path / "model")
    arrays, document = read_container(tmp_path / "model", "model")
    if value is None:
        del arrays[array]
    else:
        assert array in arrays or array.endswith("more"), "it is nowhere read"
        arrays[array] = value
    write_container(tmp_path / "model", "model", arrays, document)
    with pytest.raises(ModelFileError, match=f"is not a valid model file: .*{words}"):
        load(tmp_path / "model")


def test_a_file_without_out_of_fold_rows_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    save(predictor, tmp_path / "model")
    arrays, document = read_container(tmp_path / "model", "model")
    empty = {name: array[:0] for name, array in arrays.items() if name.startswith("out_of_fold.")}
    assert len(empty) == 6
    write_container(tmp_path / "model", "model", {**arrays, **empty}, document)
    with pytest.raises(ModelFileError, match="predictions have impossible classes or weights"):
        load(tmp_path / "model")


def test_a_threshold_for_three_classes_is_refused(three_classes: Predictor, tmp_path: Path) -> None:
    save(three_classes, tmp_path / "model")
    change(tmp_path / "model", "decision_rule", "threshold", to=0.5)
    with pytest.raises(ModelFileError, match=r"is not a valid model file: it has a threshold, 0\.5, and 3 classes$"):
        load(tmp_path / "model")


RETRAIN = r"train it again: tabcohort fit TABLE --target COLUMN --out MODEL\.tabcohort"


@pytest.mark.parametrize(
    ("other", "advice"),
    [(1, RETRAIN), (FORMAT - 1, RETRAIN), (FORMAT + 1, "install the version that wrote it")],
)
def test_another_format_is_refused(
    other: int, advice: str, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr("tabcohort.container.FORMAT", other)
        save(predictor, tmp_path / "model")
    words = rf"model' has format {other} and this version reads format {FORMAT}; {advice}$"
    with pytest.raises(ModelFileError, match=words):
        load(tmp_path / "model")


def test_a_model_of_format_3_is_refused_with_how_to_train_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its document and its arrays have other names, which must not be what the message is about."""
    arrays = {"judged.log_proba": np.zeros((4, 2), np.float32), "judged.family": np.arange(4)}
    document = {"schema": {"features": ["x0"]}, "settings": [], "decision": {"aim": None, "limits": [0.0, 0.0]}}
    with monkeypatch.context() as context:
        context.setattr("tabcohort.container.FORMAT", 3)
        write_container(tmp_path / "model", "model", arrays, document)
    words = rf"^'.*model' has format 3 and this version reads format {FORMAT}; {RETRAIN}$"
    assert FORMAT > 3
    with pytest.raises(ModelFileError, match=words):
        load(tmp_path / "model")


def test_a_checkpoint_is_no_model(tmp_path: Path) -> None:
    fit(make_small_table(), Config(**QUICK), SMALL, checkpoint=tmp_path / "kept")
    with pytest.raises(ModelFileError, match=r"0-0-1.checkpoint' is a checkpoint, not a model"):
        load(tmp_path / "kept" / "0-0-1.checkpoint")
    with pytest.raises(ModelFileError, match=r"kept' cannot be read: Is a directory"):
        load(tmp_path / "kept")


def test_other_files_are_no_models(csv_file: Path) -> None:
    with pytest.raises(ModelFileError, match=r"patients\.csv' is not a tabcohort file"):
        load(csv_file)


def test_a_folder_that_is_not_there_is_clear(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be written: No such file or directory"):
        save(predictor, tmp_path / "nowhere" / "model")


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_scaling_and_learned_inputs_are_in_the_file(scaling: str, tmp_path: Path) -> None:
    model = fit_quickly(scaling=scaling, periodic=2, input_scale=True, bins=4)
    save(model, tmp_path / "model.tabcohort")
    assert_same(load(tmp_path / "model.tabcohort"), model)


def test_a_config_of_an_older_file_has_the_defaults_of_later_settings() -> None:
    later = {
        "scaling", "periodic", "periodic_scale", "input_scale", "dropout_schedule", "decay_schedule", "weight_init",
        "bias_rate_factor", "scale_rate_factor",
    }  # fmt: skip
    values = {name: value for name, value in Config(hidden=(8,)).to_dict().items() if name not in later}
    assert Config.from_dict(values) == Config(hidden=(8,))
