"""A model file gives back the very predictor that was saved, or a sentence."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK, fit_quickly, make_rows, make_small_table

from tabcohort import ModelFileError, Predictor, Settings, fit, load, make_table, save
from tabcohort.artifact import evaluation_to_dict
from tabcohort.container import read_container, write_container

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


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_predicts_the_same_bits_after_a_round_trip(model: str, n_classes: int, tmp_path: Path) -> None:
    predictor = fit_quickly(make_small_table(n_classes), **MODELS[model])
    loaded = round_trip(predictor, tmp_path)
    X, _ = make_rows(seed=1)
    assert loaded.predict_proba(X).tobytes() == predictor.predict_proba(X).tobytes()
    assert loaded.schema == predictor.schema
    assert loaded.settings == predictor.settings
    assert loaded.strongest_weights() == predictor.strongest_weights()
    assert list(loaded.report.evaluation.metrics) == list(predictor.report.evaluation.metrics)
    assert replace(loaded.report, evaluation=None) == replace(predictor.report, evaluation=None)
    assert evaluation_to_dict(loaded.report.evaluation) == evaluation_to_dict(predictor.report.evaluation)


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
    assert round_trip(predictor, tmp_path).settings.class_weight == {0: 1.0, 1: 2.5}


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


def test_scoring_rows_without_one_of_the_classes_can_be_saved(tmp_path: Path) -> None:
    """A class of two rows may have none among the scoring rows: its recall, and so the balanced accuracy, is NaN."""
    X, codes = make_rows(n_rows=62)
    labels = np.array(["a", "b"])[codes]
    labels[:2], labels[2:4] = "rare", "seldom"
    predictor = fit(make_table(X, labels), Settings(**QUICK))
    assert math.isnan(predictor.report.evaluation.metrics["balanced_accuracy"].value)
    assert math.isnan(round_trip(predictor, tmp_path).report.evaluation.metrics["balanced_accuracy"].value)


def change(path: Path, *keys: str, to: Any) -> None:
    """Set one value of a model file's document, with a checksum that fits."""
    arrays, document = read_container(path, "model")
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    del document["format"], document["kind"]
    write_container(path, "model", arrays, document)


DOCUMENTS: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "another width": (("settings", "hidden"), [9], "its arrays are not those of the network it describes"),
    "another network": (("settings", "model"), "residual", "its arrays are not those of the network it describes"),
    "a huge network": (("settings", "hidden"), [10**9, 10**9], "its arrays are not those of the network"),
    "a network beyond counting": (("settings", "hidden"), [2**70], ""),
    "an unknown setting": (("settings", "depth"), 3, "there is no setting 'depth'"),
    "a setting out of range": (("settings", "dropout"), 2, "the setting 'dropout' must be"),
    "another class": (("schema", "classes"), ["a", "b", "c"], "its arrays are not those of the network"),
    "a class twice": (("schema", "classes"), ["a", "a"], "names that come twice"),
    "one class": (("schema", "classes"), ["a"], "fewer than two classes"),
    "a class that is a list": (("schema", "classes"), [["a"], ["b"]], ""),
    "a feature twice": (("schema", "features"), ["x0", "x0", "x2"], "names that come twice"),
    "no features": (("schema", "features"), [], "its schema has no features"),
    "a positive class beyond": (("schema", "positive"), 2, "its positive class is none of its classes"),
    "a negative positive class": (("schema", "positive"), -1, "its positive class is none of its classes"),
    "a positive class by name": (("schema", "positive"), "yes", "its positive class is none of its classes"),
    "no schema": (("schema",), None, ""),
    "an unknown part of the report": (("report", "mood"), "good", "mood"),
    "a history that is a number": (("report", "history"), 3, ""),
    "metrics that are a list": (("report", "evaluation", "metrics"), [], ""),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_does_not_fit_is_refused(name: str, predictor: Predictor, tmp_path: Path) -> None:
    keys, value, words = DOCUMENTS[name]
    path = tmp_path / "model"
    save(predictor, path)
    change(path, *keys, to=value)
    with pytest.raises(ModelFileError, match=rf"model' is not a valid model file: .*{words}"):
        load(path)


ARRAYS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "wrong shape": (
        lambda arrays: {**arrays, "network.layers.0.weight": np.zeros((3, 8), np.float32)},
        r"'network\.layers\.0\.weight' must be of shape \(8, 3\); it is \(3, 8\)",
    ),
    "one too many": (lambda arrays: {**arrays, "more": np.zeros(1)}, "its arrays are not those of the network"),
    "one missing": (lambda arrays: dict(list(arrays.items())[1:]), "its arrays are not those of the network"),
    "infinite": (lambda arrays: {**arrays, "standardize.scale": np.full(3, np.inf)}, "a weight is not finite"),
    "NaN": (lambda arrays: {**arrays, "standardize.centre": np.full(3, np.nan)}, "a weight is not finite"),
    "beyond float32": (
        lambda arrays: {**arrays, "network.layers.0.bias": np.full(8, 1e300)},
        "a weight is not finite, or beyond",
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_do_not_fit_are_refused(name: str, predictor: Predictor, tmp_path: Path) -> None:
    changed, words = ARRAYS[name]
    save(predictor, tmp_path / "model")
    arrays, document = read_container(tmp_path / "model", "model")
    write_container(tmp_path / "model", "model", changed(arrays), document)
    with pytest.raises(ModelFileError, match=f"is not a valid model file: {words}"):
        load(tmp_path / "model")


def test_a_later_format_is_refused(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr("tabcohort.container.FORMAT", 2)
        save(predictor, tmp_path / "model")
    with pytest.raises(ModelFileError, match="has format 2 and this version reads format 1; install the version that"):
        load(tmp_path / "model")


def test_a_checkpoint_is_no_model(tmp_path: Path) -> None:
    fit(make_small_table(), Settings(**QUICK), checkpoint=tmp_path / "kept")
    with pytest.raises(ModelFileError, match=r"kept' is a checkpoint, not a model"):
        load(tmp_path / "kept")


def test_other_files_are_no_models(csv_file: Path) -> None:
    with pytest.raises(ModelFileError, match=r"patients\.csv' is not a tabcohort file"):
        load(csv_file)


def test_a_folder_that_is_not_there_is_clear(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be written: No such file or directory"):
        save(predictor, tmp_path / "nowhere" / "model")


def test_settings_of_numpy_scalars_give_a_model_that_saves_and_loads(tmp_path: Path) -> None:
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
    assert loaded.settings == predictor.settings
    assert loaded.settings.class_weight == {0: 1.0, 1: 2.5}
    X, _ = make_rows(seed=1)
    assert loaded.predict_proba(X).tobytes() == predictor.predict_proba(X).tobytes()
