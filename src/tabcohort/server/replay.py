"""Repeats the predictions of a log, and compares each answer to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data.inputs import row_inputs, table_inputs
from tabcohort.errors import TableError
from tabcohort.model.predictor import Predictor
from tabcohort.server.prediction_log import LogError, answer_facts, folder_key, hash_of, read_log
from tabcohort.types import FloatArray

if TYPE_CHECKING:
    import polars as pl

AT_ONCE = 1_000  # answers
MAX_SHOWN = 10  # that differ


def replay(
    log: str | Path, predictor: Predictor, fingerprint: str, frame: pl.DataFrame | None = None
) -> dict[str, Any]:  # fmt: skip
    """Return how many answers of a log a model gives again.

    Args:
        log: a folder of a server's log, or a file of it.
        predictor: the model.
        fingerprint: of its file; answers of others are counted, and not repeated.
        frame: rows in which records are looked up by their hashes, where the log has only these.

    Returns:
        `n_equal`, `n_different`, `n_other_models`, `n_without_record`, `n_damaged`, and as `different` the first lines
        whose answers differ, without their records.

    Raises:
        LogError: there is no such log.
        TableError: the frame is not one of this model.
    """
    counts = dict.fromkeys(("n_equal", "n_different", "n_other_models", "n_without_record", "n_damaged"), 0)
    different: list[dict[str, Any]] = []
    known = {} if frame is None else _by_hash(Path(log), predictor, frame)
    waiting: list[tuple[dict[str, Any], FloatArray]] = []

    def repeat() -> None:
        if not waiting:
            return
        answers = predictor.predict_inputs(np.concatenate([X for _, X in waiting]))
        for (entry, _), prediction in zip(waiting, answers, strict=True):
            is_equal = json.loads(json.dumps(answer_facts(prediction), default=str)) == entry["answer"]
            counts["n_equal" if is_equal else "n_different"] += 1
            if not is_equal and len(different) < MAX_SHOWN:
                different.append(entry)
        waiting.clear()

    for entry in read_log(log):
        if entry is None:
            counts["n_damaged"] += 1
        elif entry["fingerprint"] != fingerprint:
            counts["n_other_models"] += 1
        elif (X := _inputs(entry, predictor, known)) is None:
            counts["n_without_record"] += 1
        else:
            waiting.append((entry, X))
            if len(waiting) == AT_ONCE:
                repeat()
    repeat()
    shown = [{name: entry.get(name) for name in ("time", "request", "row")} for entry in different]
    return {**counts, "different": shown}


def _inputs(entry: dict[str, Any], predictor: Predictor, known: dict[str, FloatArray]) -> FloatArray | None:
    """Return the inputs of an answer's record, `(1, n_inputs)`; None where it is not known."""
    if "record" not in entry:
        return known.get(str(entry.get("hash")))
    try:
        return row_inputs(entry["record"], predictor.schema.columns)
    except TableError:
        return None


def _by_hash(log: Path, predictor: Predictor, frame: pl.DataFrame) -> dict[str, FloatArray]:
    folder = log if log.is_dir() else log.parent
    try:
        key = folder_key(folder, create=False)
    except OSError as error:
        raise LogError(f"the key of the hashes in {str(folder)!r} cannot be read: {error.strerror}") from None
    return {hash_of(row, key): row[None] for row in table_inputs(frame, predictor.schema.columns)}
