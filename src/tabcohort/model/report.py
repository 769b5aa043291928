"""What happened in training and how good the model is: the report, and the dictionary of facts made from it.

Everything that people see of a model (the terminal, `--json`, `info`) is made from `facts`; whoever shows it derives
nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabcohort.evaluation.decision import parse_objective
from tabcohort.evaluation.evaluate import Evaluation
from tabcohort.evaluation.intervals import Estimate
from tabcohort.evaluation.metrics import METRICS
from tabcohort.evaluation.prediction_sets import SetEvaluation
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord
from tabcohort.types import Label

if TYPE_CHECKING:
    from tabcohort.model.predictor import Predictor

FEW_ROWS = 10  # of a class, below which its figures say little
CUT_SHARE = 0.25  # of the networks: if more reached max_epochs, that is worth a hint


@dataclass(frozen=True)
class MemberReport:
    """What happened to one network of the cohort.

    Args:
        config: number of its config, counted from 0.
        repeat, fold: which seed's folds, and which of these, counted from 0.
        n_train, n_validation, n_test: numbers of rows.
        best_epoch: the epoch whose weights it has.
        stop_reason: "patience", "max_epochs", "interrupted", "budget", or "paused", where its config was dropped, or
            the run ended, before it could go on.
        history: one record per epoch.
    """

    config: int
    repeat: int
    fold: int
    n_train: int
    n_validation: int
    n_test: int
    best_epoch: int
    stop_reason: str
    history: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class ConfigReport:
    """How one config did.

    Args:
        config: the config.
        n_rows: number of rows that its members tested; not all, if training ended early.
        log_loss: of its out-of-fold predictions, not calibrated.
        log_loss_gap: log loss minus that of the best config in the ensemble, on the same rows.
        metrics: of the same predictions, by name.
        weight: in the ensemble.
        dropped_after: the epoch after which it was dropped, or None.
        failed: why a member ended without weights, or None.
    """

    config: Config
    n_rows: int
    log_loss: Estimate
    log_loss_gap: Estimate
    metrics: dict[str, float]
    weight: float
    dropped_after: int | None = None
    failed: str | None = None


@dataclass(frozen=True)
class CalibrationReport:
    """Log loss and calibration error of the ensemble before and after calibration, cross-fitted."""

    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float


@dataclass(frozen=True)
class CohortReport:
    """What happened in training, as a model file keeps it.

    Args:
        members: every network that was trained.
        configs: every config that was tried.
        evaluation: of the out-of-fold predictions; what was chosen for a row was chosen on others.
        calibration: what calibration did.
        sets: how often prediction sets hold the true class.
        n_rows: of the table.
        n_folds, n_seeds: of the members that were planned.
        engine, device: what ran the epochs, and where.
        stop_reason: "budget" or "interrupted" where that ended training, else None.
        fit_seconds: duration of training.
        seconds_saved: by dropping configs, extrapolated.
        fingerprint: SHA-256 of the table.
    """

    members: tuple[MemberReport, ...]
    configs: tuple[ConfigReport, ...]
    evaluation: Evaluation
    calibration: CalibrationReport
    sets: SetEvaluation
    n_rows: int
    n_folds: int
    n_seeds: int
    engine: str
    device: str
    stop_reason: str | None
    fit_seconds: float
    seconds_saved: float
    fingerprint: str


# -- facts -----------------------------------------------------------------------------------------------------------


def facts(predictor: Predictor) -> dict[str, Any]:
    """Return all that is known of a model but its weights, as plain JSON values; what is unknown is null.

    Returns:
        `schema`: the columns and classes; `calibrator`, `decision_rule`: how probabilities are made and used;
        `members`: the place in `report.members` of each network of the model;
        `model`: `networks`: a name for each kind in the model, by weight; `n_networks`, `n_parameters`, `n_features`;
        `rows`: `n`, `n_folds`, `n_seeds`, and the smallest and largest number of `train`, `validation` and `test` rows
        of a network; `training`: `n_networks`, `n_epochs` in all, the first and last of the `best_epochs`,
        `n_at_max_epochs`, whether that is `cut_short`, `fit_seconds`, `seconds_saved`, `engine`, `device`,
        `stop_reason`; `evaluation`: see `evaluation_facts`; `calibration`: log loss and calibration error before and
        after; `sets`: see `set_facts`; `threshold`: the threshold, its objective, and whether it was chosen; `configs`:
        see `config_facts`; `coefficients`: a linear two-class model's weight per standard deviation of each feature,
        and the class that it speaks for; `report`: what `report_to_dict` gives, histories included.
    """
    report, schema, rule = predictor.report, predictor.schema, predictor.decision_rule
    return {
        "schema": dataclasses.asdict(schema),
        "members": list(predictor.members),
        "calibrator": {**vars(predictor.calibrator), "shift": predictor.calibrator.shift.tolist()},
        "decision_rule": {**vars(rule), "set_thresholds": rule.set_thresholds.tolist()},
        "model": {
            "networks": _names_of_networks(report, predictor.members),
            "n_networks": len(predictor.members),
            "n_parameters": sum(network.program.n_parameters for network in predictor.networks),
            "n_features": len(schema.features),
        },
        "rows": _row_facts(report),
        "training": _training_facts(report),
        "evaluation": evaluation_facts(report.evaluation, schema.classes),
        "calibration": {**vars(report.calibration)},
        "sets": {**set_facts(report.sets, rule.coverage, schema.classes), "suggested_coverage": _suggestion(predictor)},
        "threshold": {
            "value": rule.threshold,
            "objective": rule.objective,
            "was_chosen": rule.objective is not None and parse_objective(rule.objective).kind != "probability",
        },
        "configs": config_facts(report.configs),
        "coefficients": _coefficient_facts(predictor),
        "report": report_to_dict(report),
    }


def evaluation_facts(evaluation: Evaluation, classes: Sequence[Label]) -> dict[str, Any]:
    """Return an evaluation as plain JSON values; a metric that is unknown has null values.

    Returns:
        `metrics`: for each, by name, its `label`, `value`, `low` and `high`; `confusion`: weight by true and predicted
        class; `n_rows`; `n_groups`; `class_counts`: weight of each class; `majority`: the most frequent class and the
        accuracy of always predicting it; `rare_classes`: those with fewer than `few_rows` rows.
    """
    counts = [float(sum(row)) for row in evaluation.confusion.tolist()]
    most = max(range(len(counts)), key=counts.__getitem__)
    return {
        "metrics": {
            name: {"label": METRICS[name].label, **_estimate_facts(estimate)}
            for name, estimate in evaluation.metrics.items()
        },
        "confusion": evaluation.confusion.tolist(),
        "n_rows": evaluation.n_rows,
        "n_groups": evaluation.n_groups,
        "class_counts": counts,
        "majority": {"label": classes[most], "accuracy": counts[most] / sum(counts)},
        "few_rows": FEW_ROWS,
        "rare_classes": [label for label, count in zip(classes, counts, strict=True) if count < FEW_ROWS],
    }


def set_facts(sets: SetEvaluation, coverage: float, classes: Sequence[Label]) -> dict[str, Any]:
    """Return how often prediction sets hold the true class as plain JSON values: shares of the rows.

    Returns:
        `coverage`: what was asked for; `covered`: what was measured, and `covered_by_class`, null for a class without
        rows; `single`, `several`, `empty`: by the number of classes in the set.
    """
    return {
        "coverage": coverage,
        "covered": sets.covered,
        "covered_by_class": [
            {"label": label, "covered": None if math.isnan(share) else share}
            for label, share in zip(classes, sets.covered_by_class, strict=True)
        ],
        "single": sets.single,
        "several": sets.several,
        "empty": sets.empty,
    }


def config_facts(reports: Sequence[ConfigReport]) -> dict[str, Any]:
    """Return what was tried, as plain JSON values.

    Returns:
        `ranking`: for each config with predictions, the best first: `name`, what distinguishes it from the others;
        `number`; `log_loss`; `gap` to the best; `weight`; `dropped_after`; `n_rows`, and whether these are `all_rows`;
        `failed`: `number`, `name` and `message` of each config that failed; `n`, `n_untried`, `n_dropped`.
    """
    configs = [report.config.to_dict() for report in reports]
    same = {name for name in configs[0] if len({str(config[name]) for config in configs}) == 1}
    names = [describe_config(config, same) for config in configs]
    tried = [number for number, report in enumerate(reports) if report.n_rows]
    most = max((reports[number].n_rows for number in tried), default=0)
    tried.sort(key=lambda number: (reports[number].n_rows < most, reports[number].log_loss.value))
    ranking = [
        {
            "number": number + 1,
            "name": names[number],
            "log_loss": _estimate_facts(reports[number].log_loss),
            "gap": _estimate_facts(reports[number].log_loss_gap),
            "weight": reports[number].weight,
            "dropped_after": reports[number].dropped_after,
            "n_rows": reports[number].n_rows,
            "all_rows": reports[number].n_rows == most,
        }
        for number in tried
    ]
    failed = [
        {"number": number + 1, "name": names[number], "message": report.failed}
        for number, report in enumerate(reports)
        if report.failed
    ]
    return {
        "n": len(reports),
        "ranking": ranking,
        "failed": failed,
        "n_untried": sum(not report.n_rows and not report.failed for report in reports),
        "n_dropped": sum(report.dropped_after is not None for report in reports),
    }


def describe_config(config: Mapping[str, Any], same: set[str] | frozenset[str] = frozenset()) -> str:
    """Return what distinguishes a config from others, in a line: all but those names that are the same in all."""
    parts = [] if {"model", "hidden"} <= set(same) else [name_of_network(config)]
    for name, value in config.items():
        if name not in same and name not in ("model", "hidden"):
            parts.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(parts) or name_of_network(config)


def name_of_network(config: Mapping[str, Any]) -> str:
    """Return what a network is, in a word or two."""
    widths = "-".join(str(width) for width in config["hidden"])
    return config["model"] if config["model"] == "logistic" or not widths else f"{config['model']} {widths}"


def _names_of_networks(report: CohortReport, members: Sequence[int]) -> list[str]:
    used = {report.members[number].config for number in members}
    by_weight = sorted(used, key=lambda config: (-report.configs[config].weight, config))
    return list(dict.fromkeys(name_of_network(report.configs[config].config.to_dict()) for config in by_weight))


def _row_facts(report: CohortReport) -> dict[str, Any]:
    parts = {
        part: [getattr(member, f"n_{part}") for member in report.members] for part in ("train", "validation", "test")
    }
    ranges = {part: [min(counts), max(counts)] for part, counts in parts.items()}
    return {"n": report.n_rows, "n_folds": report.n_folds, "n_seeds": report.n_seeds, **ranges}


def _training_facts(report: CohortReport) -> dict[str, Any]:
    best_epochs = [member.best_epoch for member in report.members]
    n_at_max = sum(member.stop_reason == "max_epochs" for member in report.members)
    return {
        "n_networks": len(report.members),
        "n_epochs": sum(len(member.history) for member in report.members),
        "best_epochs": [min(best_epochs), max(best_epochs)],
        "n_at_max_epochs": n_at_max,
        "cut_short": n_at_max > CUT_SHARE * len(report.members),
        "fit_seconds": report.fit_seconds,
        "seconds_saved": report.seconds_saved,
        "engine": report.engine,
        "device": report.device,
        "stop_reason": report.stop_reason,
    }


def _suggestion(predictor: Predictor) -> float | None:
    """Return a coverage with fewer abstentions, where sets miss rows on purpose as the model is right more often."""
    sets, coverage = predictor.report.sets, predictor.decision_rule.coverage
    accuracy = round(predictor.report.evaluation.metrics["accuracy"].value, 2)
    return accuracy if sets.empty > sets.several and coverage < accuracy < 1 else None


def _coefficient_facts(predictor: Predictor) -> list[dict[str, Any]] | None:
    coefficients, schema = predictor.coefficients(), predictor.schema
    if coefficients is None or schema.positive is None:
        return None
    return [
        {
            "feature": name,
            "coefficient": value,
            "class": schema.classes[schema.positive if value > 0 else 1 - schema.positive],
        }
        for name, value in coefficients.items()
    ]


def _estimate_facts(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in dataclasses.asdict(estimate).items()}


# -- the report as plain values --------------------------------------------------------------------------------------

_RECORD = tuple(field.name for field in dataclasses.fields(EpochRecord))


def report_to_dict(report: CohortReport) -> dict[str, Any]:
    """Return a report as plain JSON values; what is unknown is null, and a history is a list for each column."""
    return {
        **vars(report),
        "members": [{**vars(member), "history": _columns(member.history)} for member in report.members],
        "configs": [
            {
                **vars(config),
                "config": config.config.to_dict(),
                "log_loss": _estimate_facts(config.log_loss),
                "log_loss_gap": _estimate_facts(config.log_loss_gap),
                "metrics": {name: None if math.isnan(value) else value for name, value in config.metrics.items()},
            }
            for config in report.configs
        ],
        "evaluation": {
            **vars(report.evaluation),
            "metrics": {name: _estimate_facts(estimate) for name, estimate in report.evaluation.metrics.items()},
            "confusion": report.evaluation.confusion.tolist(),
        },
        "calibration": {**vars(report.calibration)},
        "sets": {
            **vars(report.sets),
            "covered_by_class": [None if math.isnan(share) else share for share in report.sets.covered_by_class],
        },
    }


def report_from_dict(values: Mapping[str, Any]) -> CohortReport:
    """Return the report that `report_to_dict` described.

    Raises:
        ValueError, LookupError, TypeError: the values do not fit.
    """
    configs = tuple(
        ConfigReport(
            **{
                **config,
                "config": Config.from_dict(config["config"]),
                "log_loss": _estimate(config["log_loss"]),
                "log_loss_gap": _estimate(config["log_loss_gap"]),
                "metrics": {name: _number(value) for name, value in config["metrics"].items()},
            }
        )
        for config in values["configs"]
    )
    members = tuple(MemberReport(**{**member, "history": _records(member["history"])}) for member in values["members"])
    if any(not 0 <= member.config < len(configs) for member in members):
        raise ValueError("a member has a config that is not there")
    sets = values["sets"]
    return CohortReport(
        **{
            **values,
            "members": members,
            "configs": configs,
            "evaluation": _evaluation(values["evaluation"]),
            "calibration": CalibrationReport(**values["calibration"]),
            "sets": SetEvaluation(**{**sets, "covered_by_class": tuple(map(_number, sets["covered_by_class"]))}),
        }
    )


def _evaluation(values: Mapping[str, Any]) -> Evaluation:
    import numpy as np

    n_rows, n_groups = values["n_rows"], values["n_groups"]
    if type(n_rows) is not int or type(n_groups) is not int or not 1 <= n_groups <= n_rows:
        raise ValueError("its report has impossible numbers of rows")
    metrics = {name: _estimate(estimate) for name, estimate in values["metrics"].items()}
    if not set(metrics) <= set(METRICS):
        raise ValueError("its report has unknown metrics")
    return Evaluation(metrics, np.array(values["confusion"], dtype=np.float64), n_rows, n_groups)


def _columns(history: Sequence[EpochRecord]) -> dict[str, list[float]]:
    return {name: [getattr(record, name) for record in history] for name in _RECORD}


def _records(columns: Mapping[str, list[Any]]) -> tuple[EpochRecord, ...]:
    return tuple(EpochRecord(*values) for values in zip(*(columns[name] for name in _RECORD), strict=True))


def _estimate(values: Mapping[str, Any]) -> Estimate:
    return Estimate(**{name: _number(value) for name, value in values.items()})


def _number(value: float | None) -> float:
    return math.nan if value is None else value
