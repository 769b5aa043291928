"""A predictor as one `.tabcohort` file, and back."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.container import read_container, write_container
from tabcohort.data.columns import column_from_dict
from tabcohort.data.inputs import input_names
from tabcohort.data.table import Schema
from tabcohort.errors import ModelFileError, TabcohortError, listed
from tabcohort.evaluation.calibration import Calibrator
from tabcohort.evaluation.decision import DecisionRule, parse_objective
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.facts import facts
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import CohortReport, MemberReport, report_from_dict
from tabcohort.network.program import Network, blank_network, build_program
from tabcohort.network.trees import Trees, trees_of_arrays
from tabcohort.settings import Config

OUT_OF_FOLD = {
    "rows": np.int64, "log_proba": np.float32, "y": np.int64, "weight": np.float64, "fold_ids": np.int64,
    "group_ids": np.int64,
}  # fmt: skip


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
    write_container(path, "model", arrays, describe(predictor))


def describe(predictor: Predictor) -> dict[str, Any]:
    """Return what a model file says of a model beside its weights: its facts, and the versions that made it."""
    versions = {name: version(name) for name in ("tabcohort", "numba", "numpy")}
    return {"versions": versions, "python": platform.python_version(), **facts(predictor)}


def load(path: str | Path) -> Predictor:
    """Read a predictor from a file, if the arrays in it are exactly those that its members need.

    Raises:
        ModelFileError: the file is missing, damaged, not a model, or of another version's format.
    """
    arrays, document = read_container(path, "model")
    try:
        schema = _schema(document["schema"])
        report = report_from_dict(document["report"])
        members = [_member(number, report.members) for number in document["members"]]
        if len(set(members)) != len(members) or not members:
            raise ValueError("it has no members, or one twice")
        if not all(0 < report.configs[report.members[number].config].weight <= 1 for number in members):
            raise ValueError("a member has a config that has no weight in the ensemble")
        models = [_model(number, arrays, schema, report) for number in members]
        predictions = _out_of_fold(arrays, len(schema.classes))
        calibrator = _calibrator(document["calibrator"], len(schema.classes))
        rule = _decision_rule(document["decision_rule"], len(schema.classes))
        if arrays:
            raise ValueError(f"it has arrays that are not needed: {listed(arrays, 3)}")
        return Predictor(models, members, schema, calibrator, rule, predictions, report)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid model file: {error}") from None


def _schema(values: Mapping[str, Any]) -> Schema:
    """Return the schema that `dataclasses.asdict` described.

    Raises:
        ValueError: names or classes are repeated, or the positive class is not among them.
    """
    classes, keys, groups = (tuple(values[name]) for name in ("classes", "keys", "groups"))
    columns, dropped = (tuple(map(column_from_dict, values[name])) for name in ("columns", "dropped"))
    features = [column.name for column in columns]
    positive = values["positive"]
    if len(set(features)) != len(features) or len(set(classes)) != len(classes) or len(classes) < 2 or not features:
        raise ValueError("its schema has no features, or repeated names, or fewer than two classes")
    if positive is None and len(classes) == 2:
        raise ValueError("neither of its two classes is the positive one")
    if positive is not None and not (isinstance(positive, int) and 0 <= positive < len(classes)):
        raise ValueError("its positive class is not among its classes")
    return Schema(columns, str(values["target"]), classes, positive, keys, groups, dropped)


def _member(number: Any, members: tuple[MemberReport, ...]) -> int:
    if type(number) is not int or not 0 <= number < len(members):
        raise ValueError(f"it has no member {number!r}")
    return number


def _model(
    number: int, arrays: dict[str, NDArray[Any]], schema: Schema, report: CohortReport
) -> Network | Trees:  # fmt: skip
    """Take a member's arrays, and return its network or trees."""
    prefix = f"members.{number}."
    own = {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}
    config = report.configs[report.members[number].config].config
    if config.model == "trees":
        return trees_of_arrays(own, schema.n_numbers, schema.n_codes, schema.n_outputs)
    return _network(own, schema, config)


def _network(own: dict[str, NDArray[Any]], schema: Schema, config: Config) -> Network:
    """Return the network of a config with the arrays of a member."""
    own = {name: array for name, array in own.items() if not name.endswith("num_batches_tracked")}
    n_inputs = len(input_names(schema.columns))
    n_bins = len(own["bins.column"]) if "bins.column" in own else 0
    program = build_program(config, n_inputs, len(schema.classes), schema.encoding(config), n_bins)
    if program.n_parameters + program.n_buffers != sum(array.size for array in own.values()):
        raise ValueError("its arrays are not those of the network it describes")
    with np.errstate(over="ignore"):
        network = blank_network(program).with_named(own)
    if own.keys() != network.named().keys():
        raise ValueError("its arrays are not those of the network it describes")
    may_be_missing = ("encode.fill", "encode.lookup")  # there NaN stands for the mean
    if not all(np.isfinite(array).all() for name, array in own.items() if name not in may_be_missing) or not (
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


def _calibrator(values: Mapping[str, Any], n_classes: int) -> Calibrator:
    shift = np.array(values["shift"], dtype=np.float64)
    scale = float(values["scale"])
    if shift.shape != (n_classes,) or not np.isfinite(shift).all() or not (math.isfinite(scale) and scale > 0):
        raise ValueError("its calibrator has impossible numbers")
    return Calibrator(str(values["method"]), scale, shift)


def _decision_rule(values: Mapping[str, Any], n_classes: int) -> DecisionRule:
    thresholds = np.array(values["set_thresholds"], dtype=np.float64)
    objective, threshold, coverage = values["objective"], values["threshold"], float(values["coverage"])
    if thresholds.shape != (n_classes,) or not np.isfinite(thresholds).all() or not 0 < coverage < 1:
        raise ValueError("its prediction sets have impossible thresholds")
    if threshold is not None and not (isinstance(threshold, float) and 0 <= threshold <= 1 and n_classes == 2):
        raise ValueError(f"its threshold cannot be {threshold!r}")
    if (objective is None) != (threshold is None):
        raise ValueError("it has an objective without a threshold, or a threshold without an objective")
    if objective is not None:
        parse_objective(objective)
    return DecisionRule(coverage, thresholds, objective, threshold)
