"""`export` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from shell import Run

from tabcohort import load

onnxruntime = pytest.importorskip("onnxruntime")


def test_export_writes_a_graph_and_names_its_inputs(run: Run, model_file: Path, folder: Path) -> None:
    ran = run("export", model_file, "--onnx", "model.onnx")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "input    double   (n, 1)       x0",
        "input    double   (n, 1)       x1",
        "input    double   (n, 1)       x2",
        "output   string   (n)          label",
        "output   double   (n, 2)       probabilities",
        "onnx     model.onnx",
    ]
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    label, probabilities = session.run(None, {name: np.array([[0.5]]) for name in ("x0", "x1", "x2")})
    prediction = load(model_file).predict_row({"x0": 0.5, "x1": 0.5, "x2": 0.5})
    assert label[0] == prediction.label
    assert probabilities[0] == pytest.approx(list(prediction.probability.values()), abs=1e-6)


def test_the_inputs_and_outputs_as_json(run: Run, model_file: Path) -> None:
    facts = json.loads(run("export", model_file, "--onnx", "model.onnx", "--json").out)
    assert facts["file"] == "model.onnx"
    assert [value["name"] for value in facts["inputs"]] == ["x0", "x1", "x2"]
    assert facts["opsets"] == {"": 17, "ai.onnx.ml": 5}


def test_mistakes_are_errors(run: Run, model_file: Path, folder: Path) -> None:
    ran = run("export", model_file)
    assert (ran.status, "--onnx" in ran.err) == (2, True)
    ran = run("export", model_file, "--onnx", model_file)
    assert (ran.status, "is what this command reads" in ran.err) == (2, True)
    assert list(folder.iterdir()) == []
