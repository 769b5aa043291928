"""A predictor as one `.tabcohort` file, and back."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.container import read_container, write_container
from tabcohort.data.inputs import input_names
from tabcohort.data.schema_facts import schema_from_facts
from tabcohort.data.table import Schema
from tabcohort.errors import ModelFileError, TabcohortError, listed
from tabcohort.evaluation.calibration import BIAS_CORRECTED, NONE, TEMPERATURE, Calibrator
from tabcohort.evaluation.decision import DecisionRule, parse_objective
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.facts import facts, facts_without_report
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import CohortReport
from tabcohort.model.report_file import report_from_dict, split_times
from tabcohort.network.program import Network, blank_network, build_program
from tabcohort.network.trees import Trees, trees_of_arrays
from tabcohort.plain_values import PlainValues
from tabcohort.settings import Config

OUT_OF_FOLD = {
    "rows": np.int64, "log_proba": np.float32, "y": np.int64, "weight": np.float64, "fold_ids": np.int64,
    "group_ids": np.int64,
}  # fmt: skip


PARTS = ("schema", "members", "calibrator", "decision_rule", "report")  # of a model's document, beside versions
MAX_SHIFT, MIN_SCALE, MAX_SCALE = 1e6, 1e-6, 1e6  # of a calibrator's correction of log probabilities


def save(predictor: Any, path: str | Path) -> None:
    """Write a predictor to a file: arrays and JSON, no code.

    Args:
        predictor: a `Predictor`, or a fitted `CohortClassifier`, whose predictor is written.
        path: the file.

    Raises:
        TabcohortError: it is something else.
        ModelFileError: the file cannot be written there; a file of that name is unchanged.
    """
    kind = type(predictor).__name__
    predictor = getattr(predictor, "predictor_", predictor)
    if not isinstance(predictor, Predictor):
        raise TabcohortError(
            f"only a Predictor or a fitted CohortClassifier can be saved, not {kind}; fit it first, and of a pipeline "
            "or a search save the classifier in it"
        )
    arrays = {f"out_of_fold.{name}": getattr(predictor.out_of_fold, name) for name in OUT_OF_FOLD}
    for number, model in zip(predictor.members, predictor.models, strict=True):
        arrays.update({f"members.{number}.{name}": array for name, array in model.named().items()})
    write_container(path, "model", arrays, _document(predictor))


def _document(predictor: Predictor) -> dict[str, Any]:
    """Return what a file says of a model: what `load` needs, and the versions that made it."""
    known = facts(predictor)
    report, times = split_times(known["report"])
    return {**_versions(), **{name: known[name] for name in PARTS}, "report": report, "times": times}


def describe(predictor: Predictor, versions: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what is known of a model beside its weights: its facts, and the versions that made it.

    Args:
        predictor: the model.
        versions: what `read_model` returns of a file; those of this process when omitted.
    """
    return {**(_versions() if versions is None else versions), **facts(predictor)}


def load(path: str | Path) -> Predictor:
    """Read a predictor from a file, if the arrays in it are exactly those that its members need.

    Raises:
        ModelFileError: the file is missing, damaged, not a model, or of another version's format.
    """
    return read_model(path)[0]


def read_model(path: str | Path) -> tuple[Predictor, dict[str, Any]]:
    """Return the predictor of a file, and the versions that made it, as `describe` shows them.

    Raises:
        ModelFileError: the file is missing, damaged, not a model, or of another version's format.
    """
    arrays, document = read_container(path, "model")
    try:
        values = PlainValues(document, "")
        predictor = _predictor(values, arrays)
        facts_without_report(predictor)  # all that is shown of a model can be shown of this one
        return predictor, {"versions": _texts_of(values.child("versions")), "python": values.text("python")}
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid model file: {error}") from None


def _versions() -> dict[str, Any]:
    versions = {name: version(name) for name in ("tabcohort", "numba", "numpy")}
    return {"versions": versions, "python": platform.python_version()}


def _texts_of(values: PlainValues) -> dict[str, str]:
    return {name: values.text(name) for name in values.values}


def _predictor(values: PlainValues, arrays: dict[str, NDArray[Any]]) -> Predictor:
    """Take the arrays of a document, and return its predictor."""
    schema = schema_from_facts(values.child("schema"))
    n_classes = len(schema.classes)
    report = report_from_dict(values.get("report"), values.get("times"), n_classes)
    members = values.wholes("members")
    if members and max(members) >= len(report.members):
        raise ValueError(f"it has no member {max(members)}")
    if len(set(members)) != len(members) or not members:
        raise ValueError("it has no members, or one twice")
    if not all(report.configs[report.members[number].config].weight > 0 for number in members):
        raise ValueError("a member has a config that has no weight in the ensemble")
    models = [_model(number, arrays, schema, report) for number in members]
    predictions = _out_of_fold(arrays, n_classes)
    calibrator = _calibrator(values.child("calibrator"), n_classes)
    rule = _decision_rule(values.child("decision_rule"), n_classes)
    if arrays:
        raise ValueError(f"it has arrays that are not needed: {listed(arrays, 3)}")
    return Predictor(models, members, schema, calibrator, rule, predictions, report)


def _model(
    number: int, arrays: dict[str, NDArray[Any]], schema: Schema, report: CohortReport
) -> Network | Trees:  # fmt: skip
    """Take a member's arrays, and return its network or trees."""
    prefix = f"members.{number}."
    member_arrays = {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}
    config = report.configs[report.members[number].config].config
    if config.model == "trees":
        return trees_of_arrays(member_arrays, schema.n_numbers, schema.n_codes, schema.n_outputs)
    return _network(member_arrays, schema, config)


def _network(member_arrays: dict[str, NDArray[Any]], schema: Schema, config: Config) -> Network:
    """Return the network of a config with the arrays of a member."""
    member_arrays = {name: array for name, array in member_arrays.items() if not name.endswith("num_batches_tracked")}
    n_inputs = len(input_names(schema.columns))
    n_bins = len(member_arrays["bins.column"]) if "bins.column" in member_arrays else 0
    program = build_program(config, n_inputs, len(schema.classes), schema.encoding(config), n_bins)
    if program.n_parameters + program.n_buffers != sum(array.size for array in member_arrays.values()):
        raise ValueError("its arrays are not those of the network it describes")
    with np.errstate(over="ignore"):
        network = blank_network(program).with_named(member_arrays)
    if member_arrays.keys() != network.named().keys():
        raise ValueError("its arrays are not those of the network it describes")
    may_be_missing = ("encode.fill", "encode.lookup")  # there NaN stands for the mean
    if not all(np.isfinite(array).all() for name, array in member_arrays.items() if name not in may_be_missing) or not (
        np.isfinite(network.parameters).all() and not np.isinf(network.buffers).any()
    ):
        raise ValueError("a weight is not finite, or beyond float32")
    return network


def _out_of_fold(arrays: dict[str, NDArray[Any]], n_classes: int) -> OutOfFoldPredictions:
    """Take the arrays of the out-of-fold predictions, and return these if they fit together."""
    values = {name: arrays.pop(f"out_of_fold.{name}") for name in OUT_OF_FOLD}
    n_rows = len(values["y"])
    for name, dtype in OUT_OF_FOLD.items():
        shape = (n_rows, n_classes) if name == "log_proba" else (n_rows,)
        if values[name].shape != shape or values[name].dtype != dtype or not np.isfinite(values[name]).all():
            raise ValueError(f"its out-of-fold predictions have an impossible {name!r}")
    if not (n_rows and values["y"].min() >= 0 and values["y"].max() < n_classes and values["weight"].min() > 0):
        raise ValueError("its out-of-fold predictions have impossible classes or weights")
    groups = np.unique(values["group_ids"])
    if groups[0] != 0 or groups[-1] != len(groups) - 1:
        raise ValueError("its out-of-fold predictions have impossible groups")
    return OutOfFoldPredictions(**values)


def _calibrator(values: PlainValues, n_classes: int) -> Calibrator:
    shift = np.array(values.numbers("shift", -MAX_SHIFT, MAX_SHIFT))
    if shift.shape != (n_classes,):
        raise ValueError(f"{values.path}.shift must have a number for each of the {n_classes} classes")
    return Calibrator(
        values.text("method", (NONE, TEMPERATURE, BIAS_CORRECTED)), values.number("scale", MIN_SCALE, MAX_SCALE), shift
    )


def _decision_rule(values: PlainValues, n_classes: int) -> DecisionRule:
    thresholds = np.array(values.numbers("set_thresholds", low=0, high=1))
    coverage = values.number("coverage", low=0, high=1)
    if thresholds.shape != (n_classes,) or not 0 < coverage < 1:
        raise ValueError("its prediction sets have impossible thresholds")
    threshold = None if values.is_null("threshold") else values.number("threshold", low=0, high=1)
    objective = None if values.is_null("objective") else values.text("objective")
    if threshold is not None and n_classes != 2:
        raise ValueError(f"it has a threshold, {threshold:g}, and {n_classes} classes")
    if (objective is None) != (threshold is None):
        raise ValueError("it has an objective without a threshold, or a threshold without an objective")
    if objective is not None:
        parse_objective(objective)
    return DecisionRule(coverage, thresholds, objective, threshold)
