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
from numpy.typing import NDArray

from tabcohort.container import read_container, write_container
from tabcohort.data.table import Schema
from tabcohort.errors import ModelFileError
from tabcohort.evaluation.calibration import Calibrator
from tabcohort.evaluation.decision import parse_aim
from tabcohort.evaluation.intervals import UNKNOWN, Estimate, Evaluation
from tabcohort.evaluation.out_of_fold import Decision, Judged
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import CalibrationReport, CohortReport, MemberReport, SettingReport
from tabcohort.network.program import Network, blank_network, program_of
from tabcohort.settings import Settings
from tabcohort.training.loop import EpochRecord

RECORD = tuple(each.name for each in dataclasses.fields(EpochRecord))
JUDGED = {
    "rows": np.int64, "log_proba": np.float32, "y": np.int64, "weight": np.float64, "part": np.int64,
    "family": np.int64,
}  # fmt: skip


def save(predictor: Predictor, path: str | Path) -> None:
    """Write a predictor to a file: arrays and JSON, no code.

    Raises:
        ModelFileError: the file cannot be written there; a file of that name is as it was.
    """
    arrays = {f"judged.{name}": getattr(predictor.judged, name) for name in JUDGED}
    for number, network in zip(predictor.members, predictor.networks, strict=True):
        arrays.update({f"members.{number}.{name}": array for name, array in network.named().items()})
    write_container(path, "model", arrays, describe(predictor))


def describe(predictor: Predictor) -> dict[str, Any]:
    """Return all that is known of a predictor but its weights, as plain JSON values: what a model file says of it."""
    return {
        "versions": {name: version(name) for name in ("tabcohort", "numba", "numpy")},
        "python": platform.python_version(),
        "schema": dataclasses.asdict(predictor.schema),
        "members": list(predictor.members),
        "calibrator": {**vars(predictor.calibrator), "shift": predictor.calibrator.shift.tolist()},
        "decision": {**vars(predictor.decision), "limits": predictor.decision.limits.tolist()},
        "report": report_to_dict(predictor.report),
        "n_parameters": sum(network.program.n_parameters for network in predictor.networks),
        "strongest_weights": predictor.strongest_weights(),
    }


def load(path: str | Path) -> Predictor:
    """Read a predictor from a file, if the arrays in it are exactly those that its networks need.

    Raises:
        ModelFileError: the file is missing, damaged, not a model, or of another version's format.
    """
    arrays, document = read_container(path, "model")
    try:
        schema = schema_from_dict(document["schema"])
        report = report_from_dict(document["report"])
        members = [_place(number, report.members) for number in document["members"]]
        if len(set(members)) != len(members) or not members:
            raise ValueError("it has no members, or one twice")
        if not all(0 < report.settings[report.members[number].setting].weight <= 1 for number in members):
            raise ValueError("a member is of settings that have no share in the ensemble")
        networks = [_network(number, arrays, schema, report) for number in members]
        judged = _judged(arrays, len(schema.classes))
        calibrator = _calibrator(document["calibrator"], len(schema.classes))
        decision = _decision(document["decision"], len(schema.classes))
        if arrays:
            raise ValueError(f"it has arrays that nothing needs: {', '.join(list(arrays)[:3])}")
        return Predictor(networks, members, schema, calibrator, decision, judged, report)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid model file: {error}") from None


def _place(number: Any, members: tuple[MemberReport, ...]) -> int:
    if type(number) is not int or not 0 <= number < len(members):
        raise ValueError(f"it has no member {number!r}")
    return number


def _network(number: int, arrays: dict[str, NDArray[Any]], schema: Schema, report: CohortReport) -> Network:
    """Take a member's arrays, and return the network of its settings with these."""
    prefix = f"members.{number}."
    own = {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}
    own = {name: array for name, array in own.items() if not name.endswith("num_batches_tracked")}
    settings = report.settings[report.members[number].setting].settings
    program = program_of(settings, len(schema.features), len(schema.classes))
    if program.n_parameters + program.n_buffers != sum(array.size for array in own.values()):
        raise ValueError("its arrays are not those of the network it describes")
    with np.errstate(over="ignore"):
        network = blank_network(program).with_named(own)
    if not (np.isfinite(network.parameters).all() and np.isfinite(network.buffers).all()):
        raise ValueError("a weight is not finite, or beyond float32")
    return network


def _judged(arrays: dict[str, NDArray[Any]], n_classes: int) -> Judged:
    """Take the arrays of the out-of-fold predictions, and return these if they fit together."""
    found = {name: arrays.pop(f"judged.{name}") for name in JUDGED}
    n_rows = len(found["y"])
    for name, dtype in JUDGED.items():
        shape = (n_rows, n_classes) if name == "log_proba" else (n_rows,)
        if found[name].shape != shape or found[name].dtype != dtype or not np.isfinite(found[name]).all():
            raise ValueError(f"its out-of-fold predictions have a {name!r} that does not fit")
    if not (n_rows and found["y"].min() >= 0 and found["y"].max() < n_classes and found["weight"].min() > 0):
        raise ValueError("its out-of-fold predictions have classes or weights that cannot be")
    families = np.unique(found["family"])
    if families[0] != 0 or families[-1] != len(families) - 1:
        raise ValueError("its out-of-fold predictions have families that cannot be")
    return Judged(**found)


def _calibrator(values: Mapping[str, Any], n_classes: int) -> Calibrator:
    shift = np.array(values["shift"], dtype=np.float64)
    scale = float(values["scale"])
    if shift.shape != (n_classes,) or not np.isfinite(shift).all() or not (math.isfinite(scale) and scale > 0):
        raise ValueError("its calibrator has numbers that cannot be")
    return Calibrator(str(values["method"]), scale, shift)


def _decision(values: Mapping[str, Any], n_classes: int) -> Decision:
    limits = np.array(values["limits"], dtype=np.float64)
    aim, threshold, coverage = values["aim"], values["threshold"], float(values["coverage"])
    if limits.shape != (n_classes,) or not np.isfinite(limits).all() or not 0 < coverage < 1:
        raise ValueError("its sets have limits that cannot be")
    if threshold is not None and not (isinstance(threshold, float) and 0 <= threshold <= 1 and n_classes == 2):
        raise ValueError(f"its threshold cannot be {threshold!r}")
    if (aim is None) != (threshold is None):
        raise ValueError("it has an aim without a threshold, or a threshold without an aim")
    if aim is not None:
        parse_aim(aim)
    return Decision(coverage, limits, aim, threshold)


def report_to_dict(report: CohortReport) -> dict[str, Any]:
    """Return a report as plain JSON values; what is not known is null, and a history is a list for each column."""
    return {
        **vars(report),
        "members": [{**vars(each), "history": _columns(each.history)} for each in report.members],
        "settings": [
            {
                **vars(each),
                "settings": each.settings.to_dict(),
                "log_loss": _estimate_to_list(each.log_loss),
                "behind": _estimate_to_list(each.behind),
                "metrics": {name: None if math.isnan(value) else value for name, value in each.metrics.items()},
            }
            for each in report.settings
        ],
        "evaluation": evaluation_to_dict(report.evaluation),
        "calibration": vars(report.calibration),
        "sets": sets_to_dict(report.sets),
    }


def _columns(history: tuple[EpochRecord, ...]) -> dict[str, list[float]]:
    return {name: [getattr(record, name) for record in history] for name in RECORD}


def _estimate_to_list(estimate: Estimate) -> list[float] | None:
    return None if math.isnan(estimate.value) else [estimate.value, estimate.low, estimate.high]


def evaluation_to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as plain JSON values; a metric that is not known is null."""
    return {
        "metrics": {
            name: None if math.isnan(estimate.value) else dataclasses.asdict(estimate)
            for name, estimate in evaluation.metrics.items()
        },
        "confusion": evaluation.confusion.tolist(),
        "n_rows": evaluation.n_rows,
        "n_families": evaluation.n_families,
    }


def sets_to_dict(shares: Mapping[str, float]) -> dict[str, float | None]:
    """Return the shares of sets as plain JSON values; None where rows cannot tell."""
    return {name: None if math.isnan(share) else share for name, share in shares.items()}


def report_from_dict(values: Mapping[str, Any]) -> CohortReport:
    """Return the report that `report_to_dict` described."""
    metrics = values["evaluation"]["metrics"]
    counts = {name: values["evaluation"][name] for name in ("n_rows", "n_families")}
    if not all(type(count) is int for count in counts.values()) or not 1 <= counts["n_families"] <= counts["n_rows"]:
        raise ValueError("its report has numbers of rows that cannot be")
    evaluation = Evaluation(
        {name: UNKNOWN if estimate is None else Estimate(**estimate) for name, estimate in metrics.items()},
        np.array(values["evaluation"]["confusion"], dtype=np.float64),
        **counts,
    )
    settings = tuple(
        SettingReport(
            **{
                **each,
                "settings": Settings.from_dict(each["settings"]),
                "log_loss": _estimate_from_list(each["log_loss"]),
                "behind": _estimate_from_list(each["behind"]),
                "metrics": {name: math.nan if value is None else value for name, value in each["metrics"].items()},
            }
        )
        for each in values["settings"]
    )
    members = tuple(MemberReport(**{**each, "history": _records(each["history"])}) for each in values["members"])
    if any(not 0 <= each.setting < len(settings) for each in members):
        raise ValueError("a member is of settings that are not there")
    sets = {name: math.nan if share is None else share for name, share in values["sets"].items()}
    calibration = CalibrationReport(**values["calibration"])
    made = {"evaluation": evaluation, "settings": settings, "members": members, "sets": sets}
    return CohortReport(**{**values, **made, "calibration": calibration})


def _records(columns: Mapping[str, list[Any]]) -> tuple[EpochRecord, ...]:
    return tuple(EpochRecord(*record) for record in zip(*(columns[name] for name in RECORD), strict=True))


def _estimate_from_list(values: list[float] | None) -> Estimate:
    return UNKNOWN if values is None else Estimate(*values)


def schema_from_dict(values: Mapping[str, Any]) -> Schema:
    """Return the schema that `dataclasses.asdict` described.

    Raises:
        ValueError: names or classes come twice, or the positive class is none of them.
    """
    features, classes, keys, groups = (tuple(values[name]) for name in ("features", "classes", "keys", "groups"))
    positive = values["positive"]
    if len(set(features)) != len(features) or len(set(classes)) != len(classes) or len(classes) < 2 or not features:
        raise ValueError("its schema has no features, or names that come twice, or fewer than two classes")
    if positive is None and len(classes) == 2:
        raise ValueError("of its two classes none is the positive one")
    if positive is not None and not (isinstance(positive, int) and 0 <= positive < len(classes)):
        raise ValueError("its positive class is none of its classes")
    return Schema(features, str(values["target"]), classes, positive, keys, groups)
