"""A predictor as one `.tabcohort` file, and back."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tabcohort.container import read_container, write_container
from tabcohort.errors import ModelFileError
from tabcohort.evaluate import Estimate, Evaluation
from tabcohort.predictor import Predictor, TrainingReport
from tabcohort.program import blank_network, program_of
from tabcohort.settings import Settings
from tabcohort.table import Schema
from tabcohort.training import EpochRecord


def save(predictor: Predictor, path: str | Path) -> None:
    """Write a predictor to a file: arrays and JSON, no code.

    Raises:
        ModelFileError: the file cannot be written there; a file of that name is as it was.
    """
    write_container(path, "model", predictor.network.named(), describe(predictor))


def describe(predictor: Predictor) -> dict[str, Any]:
    """Return all that is known of a predictor but its weights, as plain JSON values: what a model file says of it."""
    return {
        "versions": {name: version(name) for name in ("tabcohort", "numba", "numpy")},
        "python": platform.python_version(),
        "schema": dataclasses.asdict(predictor.schema),
        "settings": predictor.settings.to_dict(),
        "report": report_to_dict(predictor.report),
        "n_parameters": predictor.network.program.n_parameters,
        "strongest_weights": predictor.strongest_weights(),
    }


def load(path: str | Path) -> Predictor:
    """Read a predictor from a file, if the arrays in it are exactly those that its network needs.

    Raises:
        ModelFileError: the file is missing, damaged, not a model, or of a later version.
    """
    arrays, document = read_container(path, "model")
    try:
        schema = schema_from_dict(document["schema"])
        settings = Settings.from_dict(document["settings"])
        report = report_from_dict(document["report"])
        program = program_of(settings, len(schema.features), len(schema.classes))
        arrays = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
        if program.n_parameters + program.n_buffers != sum(array.size for array in arrays.values()):
            raise ValueError("its arrays are not those of the network it describes")
        with np.errstate(over="ignore"):
            network = blank_network(program).with_named(arrays)
        if not (np.isfinite(network.parameters).all() and np.isfinite(network.buffers).all()):
            raise ValueError("a weight is not finite, or beyond float32")
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid model file: {error}") from None
    return Predictor(network, schema, settings, report)


def report_to_dict(report: TrainingReport) -> dict[str, Any]:
    """Return a training report as plain JSON values; a metric that is not known is null."""
    values = dataclasses.asdict(report)
    values["history"] = [dataclasses.asdict(record) for record in report.history]
    values["evaluation"] = evaluation_to_dict(report.evaluation)
    return values


def evaluation_to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as plain JSON values; a metric that is not known is null."""
    return {
        "metrics": {
            name: None if math.isnan(estimate.value) else dataclasses.asdict(estimate)
            for name, estimate in evaluation.metrics.items()
        },
        "confusion": evaluation.confusion.tolist(),
        "n_rows": evaluation.n_rows,
    }


def report_from_dict(values: Mapping[str, Any]) -> TrainingReport:
    """Return the training report that `report_to_dict` described."""
    unknown = Estimate(math.nan, math.nan, math.nan)
    metrics = values["evaluation"]["metrics"]
    evaluation = Evaluation(
        {name: unknown if estimate is None else Estimate(**estimate) for name, estimate in metrics.items()},
        np.array(values["evaluation"]["confusion"], dtype=np.float64),
        values["evaluation"]["n_rows"],
    )
    history = tuple(EpochRecord(**record) for record in values["history"])
    return TrainingReport(**{**values, "history": history, "evaluation": evaluation})


def schema_from_dict(values: Mapping[str, Any]) -> Schema:
    """Return the schema that `dataclasses.asdict` described.

    Raises:
        ValueError: names or classes come twice, or the positive class is none of them.
    """
    features, classes, keys = (tuple(values[name]) for name in ("features", "classes", "keys"))
    positive = values["positive"]
    if len(set(features)) != len(features) or len(set(classes)) != len(classes) or len(classes) < 2 or not features:
        raise ValueError("its schema has no features, or names that come twice, or fewer than two classes")
    if positive is not None and not (isinstance(positive, int) and 0 <= positive < len(classes)):
        raise ValueError("its positive class is none of its classes")
    return Schema(features, str(values["target"]), classes, positive, keys)
