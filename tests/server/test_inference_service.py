"""Where a model predicts for the server: counted, compared and recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import polars as pl

from tabcohort import Predictor
from tabcohort.server.inference_service import InferenceService
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
from tabcohort.server.service_metrics import ServiceMetrics


def inference(files: Path) -> InferenceService:
    """Return what answers for the model of two classes."""
    return InferenceService(ModelStore({"two": files / "two.tabcohort"}), ServerOptions(), ServiceMetrics())


def test_batched_records_have_the_bits_of_single_ones(files: Path, predictor: Predictor) -> None:
    own = inference(files)
    X = np.random.default_rng(0).normal(size=(40, 3))

    async def ask() -> list[float]:
        version = own.current("two")
        answers = await asyncio.gather(*(own.predict(version, row[None]) for row in X))
        return [answer[0].probability["yes"] for answer in answers]

    alone = [predictor.predict_inputs(row[None])[0].probability["yes"] for row in X]
    assert asyncio.run(ask()) == alone == predictor.predict_proba(X)[:, 1].tolist()


def test_a_version_answers_for_as_long_as_its_model_is_there(files: Path) -> None:
    own = inference(files)
    assert own.current("two") is own.current("two")


def test_a_table_is_answered_and_counted_piece_by_piece(files: Path, predictor: Predictor) -> None:
    own = inference(files)
    X = np.random.default_rng(0).normal(size=(25_000, 3))
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    parts = list(own.predict_table(own.current("two"), frame, X, [], "id"))
    assert [len(part) for part in parts] == [10_000, 10_000, 5_000]
    assert pl.concat(parts)["probability yes"].to_list() == predictor.predict_proba(X)[:, 1].tolist()
    counts = [
        line for line in own.metrics.text().decode().splitlines() if line.startswith("tabcohort_predictions_total")
    ]
    assert sum(float(line.split()[-1]) for line in counts) == 25_000
