"""The ONNX graph predicts what the model predicts, from raw columns on, also for missing and unknown cells."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import SINGLE, SMALL, fit_quickly, make_rows, make_small_table

import tabcohort
from tabcohort import Config, Predictor, Table
from tabcohort.errors import EngineError
from tabcohort.evaluation.calibration import BIAS_CORRECTED, Calibrator
from tabcohort.model.onnx_graph import graph_facts, graph_inputs, to_onnx
from tabcohort.network.ops import ACTIVATIONS
from tabcohort.network.trees import blank_trees

onnxruntime = pytest.importorskip("onnxruntime")
DATA = os.environ.get("TABCOHORT_DATA")
MAX_DIFFERENCE = 1e-5
NETWORKS: dict[str, dict[str, Any]] = {
    "logistic": {"model": "logistic"},
    "mlp with batch norm and dropout": {"hidden": (8, 4), "batch_norm": True, "dropout": 0.2},
    "residual": {"model": "residual", "hidden": (8, 8, 4)},
    "bins": {"bins": 5},
    "trees": {"model": "trees", "max_epochs": 8, "max_leaf_nodes": 6},
    **{activation: {"activation": activation} for activation in ACTIVATIONS},
}


def run(predictor: Predictor, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """Return the labels and probabilities of the graph of a model."""
    session = onnxruntime.InferenceSession(to_onnx(predictor).SerializeToString(), providers=["CPUExecutionProvider"])
    label, probabilities = session.run(None, inputs)
    return np.array(label), probabilities


def assert_agrees(predictor: Predictor, frame: pl.DataFrame) -> None:
    label, probabilities = run(predictor, graph_inputs(frame, predictor.schema.columns))
    np.testing.assert_allclose(probabilities, predictor.predict_proba(frame), rtol=0, atol=MAX_DIFFERENCE)
    assert label.tolist() == predictor.predict(frame).tolist()


def mixed_rows(n_rows: int = 240, seed: int = 0, n_classes: int = 2) -> pl.DataFrame:
    """Return rows with numbers, categories of few and many levels, truth values and codes, some cells missing."""
    rng = np.random.default_rng(seed)
    X, codes = make_rows(n_rows, n_classes=n_classes, seed=seed)
    level = rng.integers(0, 12, n_rows)
    frame = pl.DataFrame(
        {
            "size": X[:, 0],
            "far": 1e9 + X[:, 1],
            "city": np.array(["Oslo", "Rome", "Bern"])[rng.integers(0, 3, n_rows)],
            "shop": np.array([f"shop {i}" for i in range(12)])[level],
            "flag": np.array(["yes", "No"])[rng.integers(0, 2, n_rows)],
            "code": np.array([101, 205, 309, 412])[rng.integers(0, 4, n_rows)],
            "target": np.array(["no", "yes", "may"])[codes],
        }
    )
    holes = {name: rng.random(n_rows) < 0.1 for name in ("size", "city", "shop", "flag", "code")}
    return frame.with_columns(
        pl.when(pl.Series(~own)).then(pl.col(name)).otherwise(None).alias(name) for name, own in holes.items()
    )


def with_unknown(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows some of whose cells no training row had."""
    return frame.with_columns(
        city=pl.Series(["Paris", *frame["city"][1:]]), shop=pl.Series([*frame["shop"][:-1], "shop 99"]),
        flag=pl.Series(["perhaps", *frame["flag"][1:]]), code=pl.Series([7, *frame["code"][1:]]),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_member_agrees_on_every_type_of_column(kind: str, n_classes: int) -> None:
    table = Table.from_frame(mixed_rows(n_classes=n_classes), "target", types={"code": "integer code"})
    predictor = fit_quickly(table, **NETWORKS[kind])
    kinds = [column.kind for column in predictor.schema.columns]
    assert kinds == ["number", "number", "category", "category", "boolean", "integer code"]
    assert_agrees(predictor, with_unknown(mixed_rows(seed=1)))


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
def test_an_ensemble_of_different_kinds_agrees() -> None:
    table = Table.from_frame(mixed_rows(), "target")
    kinds = [{"model": "logistic"}, {"model": "trees", "max_epochs": 5}, {"hidden": (8,), "max_epochs": 5, "bins": 3}]
    predictor = tabcohort.fit(table, [Config(**kind) for kind in kinds], SMALL)
    even = [replace(report, weight=1 / 3) for report in predictor.report.configs]
    parts = (predictor.calibrator, predictor.decision_rule, predictor.out_of_fold)
    models = {config: own for own, config in zip(predictor.models, predictor.members, strict=True)}
    report = replace(predictor.report, configs=tuple(even))
    assert len(models) >= 3
    assert_agrees(Predictor(predictor.models, predictor.members, predictor.schema, *parts, report), mixed_rows(seed=1))


def test_calibration_and_the_threshold_are_in_the_graph(predictor: Predictor) -> None:
    frame = pl.DataFrame(make_rows(seed=5)[0], schema=["x0", "x1", "x2"])
    calibrator = Calibrator(BIAS_CORRECTED, 0.6, np.array([0.0, 0.7]))
    parts = (predictor.models, predictor.members, predictor.schema, calibrator, predictor.decision_rule)
    calibrated = Predictor(*parts, predictor.out_of_fold, predictor.report)
    for threshold in (None, 0.9, 0.2):
        assert_agrees(calibrated.with_decision_rule(threshold), frame)
    assert run(calibrated.with_decision_rule(0.9), graph_inputs(frame, predictor.schema.columns))[0].tolist() != (
        run(calibrated.with_decision_rule(0.2), graph_inputs(frame, predictor.schema.columns))[0].tolist()
    )


@pytest.mark.parametrize("labels", [[0, 3], [False, True], [0.5, 1.5], ["a", "b"]])
def test_labels_keep_their_type(labels: list[Any]) -> None:
    table = make_small_table(labels=labels)
    predictor = fit_quickly(table, settings=SINGLE, model="logistic")
    rows = pl.DataFrame(table.numbers, schema=["x0", "x1", "x2"])
    label, _ = run(predictor, graph_inputs(rows, predictor.schema.columns))
    assert label.dtype.kind == np.array(labels).dtype.kind.replace("U", "O")
    assert set(label.tolist()) <= set(labels)


def test_names_of_columns_are_those_of_inputs_whatever_they_are() -> None:
    names = ["label", "value_1", "probabilities"]
    table = Table.from_arrays(*make_rows(), features=names)
    predictor = fit_quickly(table, settings=SINGLE, model="logistic")
    facts = graph_facts(to_onnx(predictor))
    assert [value["name"] for value in facts["inputs"]] == names
    assert [value["name"] for value in facts["outputs"]] == ["label_", "probabilities_"]
    assert_agrees(predictor, pl.DataFrame(make_rows(seed=1)[0], schema=names))


def test_trees_of_a_single_leaf_and_no_trees_at_all_agree(predictor: Predictor) -> None:
    stump = replace(
        blank_trees(3, (), 1), baseline=np.array([0.3]), roots=np.array([0, 1], np.int32),
        outputs=np.zeros(2, np.int32),
        right=np.array([0, 3, 0, 0], np.int32), feature=np.zeros(4, np.int32), number=np.array([0.2, 0.5, -1.0, 2.0]),
        split=np.array([0, -2, 0, 0], np.int32), center=np.zeros(3), scale=np.ones(3),
    )  # fmt: skip
    frame = pl.DataFrame(make_rows(seed=1)[0], schema=["x0", "x1", "x2"]).with_columns(
        x0=pl.Series([None, 0.5, 0.51, *make_rows(seed=1)[0][3:, 0]])
    )
    parts = (predictor.calibrator, predictor.decision_rule, predictor.out_of_fold, predictor.report)
    for trees in (stump, replace(blank_trees(3, (), 1), baseline=np.array([0.3]))):
        own = Predictor([trees], predictor.members[:1], predictor.schema, *parts)
        assert_agrees(own, frame)


@pytest.mark.filterwarnings("ignore:levels that the model was not trained on:tabcohort.TabcohortWarning")
def test_words_for_truth_and_for_missing_are_known_in_small_letters_and_capitals() -> None:
    frame = mixed_rows().select("size", "flag", "target")
    predictor = fit_quickly(Table.from_frame(frame, "target"), settings=SINGLE, model="logistic")
    words = ["yes", "YES", "True", "TRUE", "t", "on", "1", "no", "False", "0", "off", "N/A", "nan", "NaN", "", "maybe"]
    inputs = {"size": np.zeros((len(words), 1)), "flag": np.array(words, dtype=object)[:, None]}
    _, probabilities = run(predictor, inputs)
    expected = [predictor.predict_row({"size": 0.0, "flag": word}).probability["yes"] for word in words]
    np.testing.assert_allclose(probabilities[:, 1], expected, atol=MAX_DIFFERENCE)


@pytest.mark.parametrize("changes", [{"scaling": "robust"}, {"periodic": 2}], ids=str)
def test_an_operation_that_is_not_written_yet_is_refused_by_name(changes: dict[str, Any]) -> None:
    predictor = fit_quickly(settings=SINGLE, **changes)
    name = "robust_scale" if "scaling" in changes else "periodic"
    with pytest.raises(EngineError, match=f"^the operation '{name}' cannot be in an ONNX graph yet: train without it$"):
        to_onnx(predictor)


def test_dates_and_text_are_refused_by_name() -> None:
    frame = mixed_rows().with_columns(
        when=pl.Series([f"2024-0{1 + i % 9}-1{i % 10}" for i in range(240)]),
        **{"my note": pl.Series([f"word{i % 7} late again {i} and so on" for i in range(240)])},
    )
    table = Table.from_frame(frame.select("size", "when", "my note", "target"), "target", types={"my note": "text"})
    with pytest.raises(
        EngineError,
        match=r"^'when' \(date\), 'my note' \(text\) cannot be in an ONNX graph.*: train without them "
        r"\(--drop when --drop 'my note'\), or give what they say as numbers$",
    ):
        to_onnx(fit_quickly(table, settings=SINGLE, model="logistic"))


def test_a_column_without_a_name_is_refused() -> None:
    table = Table.from_arrays(*make_rows(), features=["", "a", "b"])
    with pytest.raises(EngineError, match=r"^a column has no name"):
        to_onnx(fit_quickly(table, settings=SINGLE, model="logistic"))


def test_a_missing_extra_is_named(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        EngineError, match=r"^writing ONNX needs an extra; install it with `pip install 'tabcohort\[onnx"
    ):
        to_onnx(predictor)


def test_the_graph_says_what_it_is(predictor: Predictor) -> None:
    model = to_onnx(predictor)
    facts = graph_facts(model)
    assert facts["inputs"][0] == {"name": "x0", "type": "double", "shape": "(n, 1)"}
    assert [value["type"] for value in facts["outputs"]] == ["string", "double"]
    described = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(described["classes"]) == ["no", "yes"]
    assert described["fingerprint"] == predictor.report.fingerprint


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
@pytest.mark.skipif(DATA is None, reason="TABCOHORT_DATA names no folder with real tables")
@pytest.mark.parametrize(
    ("name", "target"),
    [("german_credit", "class"), ("telco_churn", "Churn"), ("adult", "income"), ("student_dropout", "Target")],
)
def test_real_tables_agree_with_missing_and_unknown_cells(name: str, target: str) -> None:
    frame = tabcohort.read_frame(Path(str(DATA)) / f"{name}.csv.gz")
    frame = frame.sample(min(900, len(frame)), seed=0)
    kinds: list[dict[str, Any]] = [{"model": "trees", "max_epochs": 20}, {"hidden": (16,), "bins": 8, "max_epochs": 5}]
    predictor = tabcohort.fit(Table.from_frame(frame.head(600), target), [Config(**kind) for kind in kinds], SMALL)
    rng = np.random.default_rng(0)
    new = frame.tail(300)
    for column in predictor.schema.columns:
        cell = pl.lit("unknown level") if column.kind == "category" else None
        for own in (cell, None):
            is_replaced = pl.Series(rng.random(len(new)) < 0.1)
            kept = pl.col(column.name) if own is None else pl.col(column.name).cast(pl.String)
            new = new.with_columns(pl.when(is_replaced).then(own).otherwise(kept).alias(column.name))
    assert_agrees(predictor, new)
