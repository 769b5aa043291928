"""MLflow: logged models predict as ours do, their signature is that of the schema, and `autolog` logs each training."""

from __future__ import annotations

import copy
import importlib
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import QUICK, SMALL, assert_same, fit_quickly, make_rows, make_small_table, mixed_frame

import tabcohort
from tabcohort import CohortClassifier, CohortSettings, Config, Predictor, TabcohortWarning, Table

mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
import tabcohort.mlflow as tabcohort_mlflow  # noqa: E402

STORE = {"MLFLOW_ALLOW_FILE_STORE": "true"}  # a folder, as databases need more packages


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A tracking store of its own for each test."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "runs").as_uri()
    mlflow.set_tracking_uri(uri)
    yield uri
    tabcohort_mlflow.autolog(disable=True)
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def mixed() -> tuple[Predictor, pd.DataFrame]:
    """A predictor of every type of column, and its rows."""
    frame = mixed_frame().with_columns(
        answer=pl.Series([i % 2 for i in range(60)]), grade=pl.Series([3, None, 1, 2, 7, 5] * 10)
    )
    types = dict.fromkeys(("code", "grade"), "integer code")
    predictor = fit_quickly(Table.from_frame(frame, "answer", types=types), model="logistic")
    return predictor, frame.to_pandas()


def columns_of(info: Any) -> dict[str, tuple[str, bool]]:
    """Return the type of each input of a logged model, and whether it is required."""
    return {column.name: (repr(column.type), column.required) for column in info.signature.inputs}


def runs() -> list[Any]:
    return mlflow.search_runs(output_format="list")


def test_a_logged_model_predicts_what_the_predictor_does(predictor: Predictor) -> None:
    info = tabcohort_mlflow.log_model(predictor, "cancer")
    X, _ = make_rows(7, seed=1)
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"], index=range(10, 17))
    predictions = mlflow.pyfunc.load_model(info.model_uri).predict(frame)
    assert list(predictions) == ["predicted", "probability no", "probability yes"]
    assert predictions.index.equals(frame.index)
    np.testing.assert_array_equal(predictions.iloc[:, 1:], predictor.predict_proba(frame))
    assert predictions["predicted"].tolist() == predictor.predict(frame).tolist()
    assert_same(tabcohort_mlflow.load_model(info.model_uri), predictor)


def test_a_logged_model_is_one_file_of_ours_and_no_pickle(predictor: Predictor) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(tabcohort_mlflow.log_model(predictor).model_uri))
    data = [path for path in folder.rglob("*") if path.suffix not in (".yaml", ".txt", "") and path.is_file()]
    assert data == [folder / "data" / "model.tabcohort"]
    assert_same(tabcohort.load(data[0]), predictor)
    assert f"tabcohort[mlflow]=={tabcohort.__version__}" in (folder / "requirements.txt").read_text().splitlines()


def test_the_signature_is_that_of_the_schema(mixed: tuple[Predictor, pd.DataFrame]) -> None:
    info = tabcohort_mlflow.log_model(mixed[0])
    assert columns_of(info) == {
        "size": ("Any", True),
        "count": ("Any", True),
        "city": ("string", True),
        "flag": ("Any", True),
        "when": ("Any", True),
        "day": ("Any", True),
        "code": ("Any", True),
        "note": ("string", True),
        "grade": ("Any", True),
    }
    outputs = {column.name: column.type.name for column in info.signature.outputs}
    assert outputs == {"predicted": "string", "probability 0": "double", "probability 1": "double"}
    assert info.metadata["columns"]["city"] == "category of 3 levels"


@pytest.mark.parametrize(
    "types", [{}, {"count": "float64", "code": "float64"}, {"count": "int32"}, {"day": str, "when": str}]
)
def test_without_an_example_cells_may_come_in_any_way_that_the_predictor_takes(
    mixed: tuple[Predictor, pd.DataFrame], types: dict[str, Any]
) -> None:
    """MLflow would take neither integers for floats nor text for truth values or dates."""
    predictor, frame = mixed
    model, held = mlflow.pyfunc.load_model(tabcohort_mlflow.log_model(predictor).model_uri), frame.astype(types)
    held["flag"] = held["flag"].map({True: "yes", False: "no"})
    np.testing.assert_array_equal(model.predict(held).iloc[:, 1:], predictor.predict_proba(frame))


def test_an_example_says_how_cells_come_and_is_kept_without_the_target(mixed: tuple[Predictor, pd.DataFrame]) -> None:
    predictor, frame = mixed
    frame = frame.assign(day=frame["day"].astype(str), city=frame["city"].astype("category"))
    info = tabcohort_mlflow.log_model(predictor, input_example=frame.head(3))
    types = columns_of(info)
    assert types["count"] == ("long", True)
    assert types["day"] == ("string", True)
    assert types["city"] == ("string", True)
    assert types["flag"] == ("boolean", True)
    model = mlflow.pyfunc.load_model(info.model_uri)
    assert list(model.input_example) == list(predictor.schema.features)
    frame["city"] = frame["city"].astype(object)  # MLflow knows no categories
    predictions = model.predict(frame)
    np.testing.assert_array_equal(predictions.iloc[:, 1:], predictor.predict_proba(frame))
    with pytest.raises(tabcohort.TableError, match="the table lacks 'count'"):
        tabcohort_mlflow.log_model(predictor, input_example=frame.drop(columns="count"))


@pytest.mark.parametrize("has_example", [False, True])
def test_a_missing_cell_is_null_and_a_column_that_is_left_out_is_refused(
    mixed: tuple[Predictor, pd.DataFrame], has_example: bool
) -> None:
    """Also one that had missing cells in training: our own predictor and MLflow's agree."""
    predictor, frame = mixed
    info = tabcohort_mlflow.log_model(predictor, input_example=frame if has_example else None)
    model, ours = mlflow.pyfunc.load_model(info.model_uri), tabcohort_mlflow.load_model(info.model_uri)
    empty = frame.assign(**dict.fromkeys(["size", "city", "flag", "when", "grade"]))
    np.testing.assert_array_equal(model.predict(empty).iloc[:, 1:], predictor.predict_proba(empty))
    for name in ("note", "city", "size"):
        with pytest.raises(mlflow.exceptions.MlflowException, match=rf"missing inputs \['{name}'\]"):
            model.predict(frame.drop(columns=name))
        with pytest.raises(tabcohort.TableError, match=f"^the table lacks '{name}'"):
            ours.predict(frame.drop(columns=name))
        record = {key: cell for key, cell in frame.iloc[0].items() if key != name}
        with pytest.raises(tabcohort.TableError, match=f"^the record lacks '{name}'.*; a missing cell is null"):
            ours.predict_row(record)


def test_a_polars_example_and_a_fitted_classifier_are_taken() -> None:
    X, codes = make_rows()
    frame = pl.DataFrame(X, schema=["a", "b", "c"])
    classifier = CohortClassifier(**QUICK, folds=3, seeds=1).fit(frame, codes)
    info = tabcohort_mlflow.log_model(classifier, input_example=frame.head(2))
    assert columns_of(info) == dict.fromkeys("abc", ("double", True))
    assert info.signature.outputs.input_dict()["predicted"].type.name == "long"
    assert_same(tabcohort_mlflow.load_model(info.model_uri), classifier.predictor_)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tabcohort.TabcohortError, match="only a Predictor or a fitted CohortClassifier can be saved"):
        tabcohort_mlflow.log_model("model")
    module = tmp_path / "other.py"
    module.write_text("def _load_pyfunc(path): ...\n")
    path = tmp_path / "other"
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(path, loader_module="other", code_paths=[module], pip_requirements=[])
    with pytest.raises(tabcohort.ModelFileError, match="was not logged by tabcohort"):
        tabcohort_mlflow.load_model(str(path))


def test_mlflow_predicts_for_a_file(mixed: tuple[Predictor, pd.DataFrame], tmp_path: Path, store: str) -> None:
    """In a process of its own, as a person would."""
    predictor, frame = mixed
    path = tmp_path / "rows.csv"
    frame.head(10).to_csv(path, index=False)
    uri = tabcohort_mlflow.log_model(predictor, input_example=pd.read_csv(path)).model_uri
    command = ["models", "predict", "-m", uri, "-i", path, "-t", "csv", "--env-manager", "local"]
    environment = {**os.environ, **STORE, "MLFLOW_TRACKING_URI": store}
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", *command], capture_output=True, text=True, env=environment
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])["predictions"]
    ours = predictor.predict_frame(tabcohort.read_frame(path))
    assert [row["predicted"] for row in rows] == ours["predicted"].to_list()
    assert [row["probability 1"] for row in rows] == pytest.approx(ours["probability 1"].to_list(), abs=1e-12)


def test_mlflow_serves_it(store: str, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="MLflow's server is not installed")
    pytest.importorskip("uvicorn", reason="MLflow's server is not installed")
    X, y = make_rows()
    predictor = fit_quickly(Table.from_arrays(X, y), model="logistic")
    uri = tabcohort_mlflow.log_model(predictor).model_uri
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it looks for uvicorn there
    environment = {**os.environ, **STORE, "MLFLOW_TRACKING_URI": store, "PATH": path}
    command = ["models", "serve", "-m", uri, "-p", str(port), "--env-manager", "local", "-w", "1"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "mlflow", *command], env=environment, stdout=log, stderr=log)
    try:
        record = {"x0": 1.5, "x1": -2.0, "x2": 0.25}
        answer = answer_of(f"http://127.0.0.1:{port}/invocations", {"dataframe_records": [record]}, server)
    finally:
        server.terminate()
        server.wait()
    (row,) = answer["predictions"]
    assert row["probability 1"] == predictor.predict_row(record).probability[1]


def answer_of(address: str, body: Any, server: subprocess.Popen[bytes]) -> Any:
    """Return the answer of a server that may still be starting."""
    request = urllib.request.Request(address, json.dumps(body).encode(), {"content-type": "application/json"})
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.URLError as error:
            if isinstance(error, urllib.error.HTTPError) or server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)


# Autologging


def test_autolog_logs_settings_metrics_with_intervals_and_the_model() -> None:
    tabcohort_mlflow.autolog()
    predictor = fit_quickly(dropout=0.25)
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert mlflow.active_run() is None
    assert run.data.params == {
        "dropout": "0.25", "max_epochs": "3", "hidden": "[8]", "learning_rate": "0.02", "folds": "3", "seeds": "1",
        "preset": "none", "n_rows": "90", "n_features": "3", "n_configs": "1", "n_folds": "3", "n_seeds": "1",
    }  # fmt: skip
    accuracy = predictor.report.evaluation.metrics["accuracy"]
    logged = [run.data.metrics[name] for name in ("accuracy", "accuracy_low", "accuracy_high")]
    assert logged == [accuracy.value, accuracy.low, accuracy.high]
    assert run.data.metrics["fit_seconds"] == predictor.report.fit_seconds
    assert run.data.tags["tabcohort.fingerprint"] == predictor.report.fingerprint
    assert_same(tabcohort_mlflow.load_model(f"runs:/{run.info.run_id}/model"), predictor)


def test_autolog_names_the_preset_and_only_what_its_configs_have_in_common() -> None:
    tabcohort_mlflow.autolog(log_models=False)
    tabcohort.fit(make_small_table(), None, CohortSettings(preset="fast", folds=3, coverage=0.8))
    (run,) = runs()
    assert run.data.params["preset"] == "fast"
    assert run.data.params["n_configs"] == "3"
    assert run.data.params["coverage"] == "0.8"
    assert "model" not in run.data.params
    assert run.outputs.model_outputs == []


def test_autolog_logs_a_classifier_to_the_active_run_which_goes_on() -> None:
    tabcohort_mlflow.autolog()
    with mlflow.start_run() as active:
        CohortClassifier(**QUICK, folds=3, seeds=1).fit(*make_rows())
        assert mlflow.active_run().info.run_id == active.info.run_id
    (run,) = runs()
    assert run.info.run_id == active.info.run_id
    assert run.data.params["hidden"] == "[8]"
    assert len(run.outputs.model_outputs) == 1


def test_autolog_is_on_once_and_can_be_switched_off() -> None:
    for _ in range(2):
        tabcohort_mlflow.autolog(log_models=False)
    fit_quickly(max_epochs=1)
    assert len(runs()) == 1
    tabcohort_mlflow.autolog(disable=True)
    fit_quickly(max_epochs=1)
    assert len(runs()) == 1


def test_what_cannot_be_logged_is_a_warning_and_the_model_is_there() -> None:
    tabcohort_mlflow.autolog(log_models=False)
    with mlflow.start_run():
        tabcohort.fit(make_small_table(), Config(**QUICK), SMALL)
        with pytest.warns(
            TabcohortWarning, match="the model was trained, but not all of it was logged to MLflow: .*hidden"
        ):
            predictor = tabcohort.fit(make_small_table(), Config(**{**QUICK, "hidden": (4,)}), SMALL)
    assert predictor.config.hidden == (4,)


def test_without_a_tracking_server_the_model_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    tabcohort_mlflow.autolog()
    with pytest.warns(TabcohortWarning, match="not all of it was logged to MLflow: The filesystem tracking backend"):
        assert fit_quickly().report.n_rows == 90


def test_metrics_that_rows_cannot_determine_are_left_out(predictor: Predictor) -> None:
    evaluation = predictor.report.evaluation
    unknown = replace(evaluation.metrics["roc_auc"], value=math.nan, low=math.nan, high=math.nan)
    evaluation = replace(evaluation, metrics={**evaluation.metrics, "roc_auc": unknown})
    rare = copy.copy(predictor)
    rare.report = replace(predictor.report, evaluation=evaluation)
    metrics = tabcohort_mlflow.metrics_of(rare)
    assert not [name for name in metrics if name.startswith("roc_auc")]
    assert all(np.isfinite(value) for value in metrics.values())
    assert {"log_loss", "log_loss_low", "log_loss_high"} <= metrics.keys()


def test_without_mlflow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "tabcohort.mlflow")
    with pytest.raises(ImportError, match=r"install it with `pip install 'tabcohort\[mlflow\]'`"):
        importlib.import_module("tabcohort.mlflow")
