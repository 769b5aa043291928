"""Explanations of records are those of the library."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from asking import record_of

from tabcohort import Predictor
from tabcohort.model.explain import explanation_facts
from tabcohort.server.explaining import explain_records
from tabcohort.server.model_store import load_model
from tabcohort.server.problems import Problem


def test_each_record_is_explained_alone_and_as_the_library_does(
    files: Path, mixed: Predictor, visits: pl.DataFrame
) -> None:
    model = load_model("mixed", files / "mixed.tabcohort", lambda: visits)
    records = [record_of(visits, row, mixed.schema.features) for row in range(3)]
    together = explain_records(model, records, model.reader.inputs(records), None, None)
    for record, own in zip(records, together, strict=True):
        explanation = mixed.explain(record, visits)
        assert own == json.loads(json.dumps(explanation_facts(explanation, "ill")))
    (short,) = explain_records(model, records[:1], model.reader.inputs(records[:1]), "well", 2)
    assert (short["class"], len(short["columns"])) == ("well", 2)


def test_rows_to_compare_with_and_a_class_of_the_model_are_needed(files: Path, visits: pl.DataFrame) -> None:
    alone = load_model("mixed", files / "mixed.tabcohort")
    records = [record_of(visits, 0, alone.predictor.schema.features)]
    X = alone.reader.inputs(records)
    with pytest.raises(Problem, match="start it with --background TABLE"):
        explain_records(alone, records, X, None, None)
    model = load_model("mixed", files / "mixed.tabcohort", lambda: visits)
    with pytest.raises(Problem, match="must be a class of the model"):
        explain_records(model, records, X, "dead", None)
