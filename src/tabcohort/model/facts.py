"""The facts of a model: one dictionary, from which everything that people see of a model is made.

The terminal, `--json` and `info` show it; whoever shows it derives nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabcohort.data.schema_facts import schema_facts
from tabcohort.evaluation.decision import CONFIDENCE, can_promise, parse_objective, rows_of
from tabcohort.evaluation.evaluate import Evaluation, evaluate_sets_out_of_fold
from tabcohort.evaluation.metrics import METRICS
from tabcohort.evaluation.prediction_sets import SetEvaluation, highest_coverage_without
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import CohortReport, MemberReport
from tabcohort.model.report_file import MAX_CLASSES_IN_FULL, estimate_to_dict, report_to_dict
from tabcohort.settings import Config, unused_names
from tabcohort.types import FloatArray, Label

FEW_ROWS = 10  # of a class, below which its figures say little
SELDOM_SHARE = 0.1  # of a class's rows: if fewer rows are predicted to be of it, that is said
N_CONFUSIONS = 15
CUT_SHARE = 0.25  # of the members: if more reached max_epochs, that is worth a hint


def facts(predictor: Predictor) -> dict[str, Any]:
    """Return all that is known of a model but its weights, as plain JSON values; what is unknown is null.

    Returns:
        `schema`: the columns and classes; `calibrator`, `decision_rule`: how probabilities are made and used;
        `members`: the place in `report.members` of each member of the model;
        `model`: `kinds`: a name for each kind of member, by weight; `n_members`, `n_parameters`, `n_features`;
        `rows`: `n`, `n_folds`, `n_seeds`, and the smallest and largest number of `train`, `validation` and `test` rows
        of a member; `training`: `n_members`, `n_epochs` in all, the first and last of the `best_epochs`,
        `n_at_max_epochs`, whether that is `cut_short`, `n_stopped`, members that a budget or Ctrl-C stopped early, and
        `n_not_begun`, those that it left out, `fit_seconds`, `seconds_saved`, `engine`, `device`,
        `stop_reason`; `evaluation`: see `evaluation_facts`; `alternatives`: see `alternative_facts`;
        `calibration`: log loss and calibration error before and after; `sets`: see `set_facts`; `threshold`: see
        `threshold_facts`; `configs`: see `config_facts`; `coefficients`: a linear two-class model's weight per standard
        deviation of each feature, and the class that it speaks for; `report`: what `report_to_dict` gives,
        histories included.
    """
    return {**facts_without_report(predictor), "report": report_to_dict(predictor.report)}


def facts_without_report(predictor: Predictor) -> dict[str, Any]:
    """Return the facts of a model that are derived from its report and its parts, without the report itself."""
    report, schema, rule = predictor.report, predictor.schema, predictor.decision_rule
    always = np.flatnonzero(rule.set_thresholds == 0)
    return {
        "schema": schema_facts(schema),
        "members": list(predictor.members),
        "calibrator": {**vars(predictor.calibrator), "shift": predictor.calibrator.shift.tolist()},
        "decision_rule": {**vars(rule), "set_thresholds": rule.set_thresholds.tolist()},
        "model": {
            "kinds": _kinds(report, predictor.members),
            "n_members": len(predictor.members),
            "n_parameters": sum(model.n_parameters for model in predictor.models),
            "n_features": len(schema.features),
        },
        "rows": _row_facts(report),
        "training": _training_facts(report),
        "evaluation": evaluation_facts(report.evaluation, schema.classes, weights_classes(predictor)),
        "alternatives": alternative_facts(report),
        "calibration": {**vars(report.calibration)},
        "sets": {
            **set_facts(report.sets, rule.coverage, schema.classes),
            "suggested_coverage": _suggestion(predictor),
            "in_every_set": [schema.classes[code] for code in always],
            "coverage_to_rule_out": highest_coverage_without(always, predictor.out_of_fold) if len(always) else None,
        },
        "threshold": threshold_facts(predictor),
        "configs": config_facts(report),
        "coefficients": _coefficient_facts(predictor),
    }


def weights_classes(predictor: Predictor) -> bool:
    """Return whether the members of a model were trained with weights of the classes."""
    report = predictor.report
    return all(report.configs[report.members[number].config].config.class_weight for number in predictor.members)


def evaluation_facts(evaluation: Evaluation, classes: Sequence[Label], are_weighted: bool = False) -> dict[str, Any]:
    """Return an evaluation as plain JSON values; a metric that is unknown has null values.

    Args:
        evaluation: of the model.
        classes: their labels.
        are_weighted: whether training already weighted the classes.

    Returns:
        `metrics`: for each, by name, its `label`, `value`, `low` and `high`; `confusion`: weight by true and
        predicted class, null if there are more than `MAX_CLASSES_IN_FULL`; `most_confused`: the heaviest pairs
        of different classes, with `true`, `predicted`, `weight` and its `share` of the true class; `n_rows`;
        `n_groups`; `class_counts`: weight of each class; `majority`: the most frequent class and the accuracy
        of always predicting it; `rare_classes`: those with fewer than `few_rows` rows; `seldom_predicted`: for
        each class that hardly a row is predicted to be of, its `label`, its `count`, the number `predicted`,
        and as `remedy` what helps.
    """
    counts, n_predicted = (evaluation.confusion.sum(axis=axis).tolist() for axis in (1, 0))
    if len(classes) == 2:
        remedy = "--threshold balanced_accuracy"
    else:
        remedy = (
            "more rows of it, or merging it" if are_weighted else 'class_weight = "balanced" in a file for --settings'
        )
    most = max(range(len(counts)), key=counts.__getitem__)
    return {
        "metrics": {
            name: {"label": METRICS[name].label, **estimate_to_dict(estimate)}
            for name, estimate in evaluation.metrics.items()
        },
        "confusion": evaluation.confusion.tolist() if len(classes) <= MAX_CLASSES_IN_FULL else None,
        "most_confused": _most_confused(evaluation.confusion, counts, classes),
        "n_rows": evaluation.n_rows,
        "n_groups": evaluation.n_groups,
        "class_counts": counts,
        "majority": {"label": classes[most], "accuracy": counts[most] / sum(counts)},
        "few_rows": FEW_ROWS,
        "rare_classes": [label for label, count in zip(classes, counts, strict=True) if count < FEW_ROWS],
        "seldom_predicted": [
            {"label": label, "count": count, "predicted": predicted, "remedy": remedy}
            for label, count, predicted in zip(classes, counts, n_predicted, strict=True)
            if predicted < SELDOM_SHARE * count
        ],
    }


def _most_confused(confusion: FloatArray, counts: Sequence[float], classes: Sequence[Label]) -> list[dict[str, Any]]:
    true, predicted = np.nonzero(confusion)
    true, predicted = true[true != predicted], predicted[true != predicted]
    most = np.argsort(-confusion[true, predicted], kind="stable")[:N_CONFUSIONS]
    pairs = zip(true[most].tolist(), predicted[most].tolist(), strict=True)
    return [
        {
            "true": classes[row],
            "predicted": classes[column],
            "weight": float(confusion[row, column]),
            "share": float(confusion[row, column] / counts[row]),
        }
        for row, column in pairs
    ]


def threshold_facts(predictor: Predictor) -> dict[str, Any]:
    """Return what the threshold is, and how well it does what it is for, as plain JSON values.

    Returns:
        `value`; `objective`; `was_chosen`: whether it was chosen for the objective, not given as a probability;
        `metric`: name of the metric that the objective is about, and `measured`: its cross-fitted value; `asked`: the
        least value that was asked for, or null; then `holds`: whether `measured` is at least that, and `is_promised`:
        whether there are enough rows to promise it for new ones, with this `confidence`.
    """
    rule, schema = predictor.decision_rule, predictor.schema
    values: dict[str, Any] = dict.fromkeys(("metric", "measured", "asked", "holds", "is_promised"))
    is_chosen = False
    if rule.objective is not None and schema.positive is not None:
        objective = parse_objective(rule.objective)
        is_chosen = objective.kind != "probability"
        if objective.metric is not None:
            measured = estimate_to_dict(predictor.report.evaluation.metrics[objective.metric])["value"]
            values |= {"metric": objective.metric, "measured": measured}
        if objective.required is not None:
            measured = values["measured"]
            values |= {
                "asked": objective.required,
                "holds": measured is not None and measured >= objective.required,
                "is_promised": can_promise(objective, rows_of(predictor.out_of_fold.as_float64(), schema.positive)),
            }
    return {
        "value": rule.threshold, "objective": rule.objective, "was_chosen": is_chosen, **values,
        "confidence": CONFIDENCE,
    }  # fmt: skip


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


def config_facts(report: CohortReport) -> dict[str, Any]:
    """Return what was tried, as plain JSON values.

    Returns:
        `ranking`: for each config with predictions, the best first, those that were dropped or tested on fewer rows
        last: `name`, what distinguishes it from the others; `number`; `log_loss`; `gap` to the first; `weight`;
        `dropped_after`; `n_rows`, and whether these are `all_rows`; `n_members` that were planned, and of these
        `n_stopped`, which a budget or Ctrl-C stopped early, and `n_not_begun`, which it left out;
        `failed`: `number`, `name` and `message` of each config that failed; `n`, `n_untried`, `n_dropped`.
    """
    reports, counts = report.configs, _member_counts(report)
    names = describe_configs([own.config for own in reports])
    tried = [number for number, own in enumerate(reports) if own.n_rows]
    most = max((reports[number].n_rows for number in tried), default=0)

    def place(number: int) -> tuple[bool, bool, float]:
        own = reports[number]
        return own.n_rows < most, own.dropped_after is not None, own.log_loss.value

    tried.sort(key=place)
    ranking = [
        {
            "number": number + 1,
            "name": names[number],
            "log_loss": estimate_to_dict(reports[number].log_loss),
            "gap": estimate_to_dict(reports[number].log_loss_gap),
            "weight": reports[number].weight,
            "dropped_after": reports[number].dropped_after,
            "n_rows": reports[number].n_rows,
            "all_rows": reports[number].n_rows == most,
            **counts[number],
        }
        for number in tried
    ]
    failed = [
        {"number": number + 1, "name": names[number], "message": own.failed}
        for number, own in enumerate(reports)
        if own.failed
    ]
    return {
        "n": len(reports),
        "ranking": ranking,
        "failed": failed,
        "n_untried": sum(not own.n_rows and not own.failed for own in reports),
        "n_dropped": sum(own.dropped_after is not None for own in reports),
    }


def _member_counts(report: CohortReport) -> list[dict[str, int]]:
    """Return how many members of each config were planned, stopped early and not begun; none of one that failed."""
    n_begun = Counter(member.config for member in report.members)
    n_stopped = Counter(member.config for member in report.members if _is_stopped(member, report))
    n_planned = [0 if config.failed else report.n_folds * report.n_seeds for config in report.configs]
    return [
        {
            "n_members": n_members,
            "n_stopped": n_stopped[config],
            "n_not_begun": 0 if report.stop_reason is None else n_members - n_begun[config],
        }
        for config, n_members in enumerate(n_planned)
    ]


def _is_stopped(member: MemberReport, report: CohortReport) -> bool:
    """Return whether a budget or Ctrl-C stopped a member; one whose config was dropped was paused for its loss."""
    was_paused = member.stop_reason == "paused" and report.configs[member.config].dropped_after is None
    return was_paused or member.stop_reason in ("budget", "interrupted")


def alternative_facts(report: CohortReport) -> dict[str, Any]:
    """Return what simpler models would lose beside the ensemble, as plain JSON values.

    Returns:
        `models`: for each, the simplest first, its `kind`; `name`, what its config is; the `weight` of its kind in the
        ensemble; `log_loss` and `gap`, how far that is above the ensemble's; `simplest`: the kind of the first one
        whose gap these rows cannot tell from 0, or null.
    """
    models = [
        {
            "kind": alternative.kind,
            "name": None if alternative.config is None else name_of_kind(
                report.configs[alternative.config].config.to_dict()
            ),
            "weight": alternative.weight,
            "log_loss": estimate_to_dict(alternative.log_loss),
            "gap": estimate_to_dict(alternative.gap),
        }
        for alternative in report.alternatives
    ]  # fmt: skip
    as_good = [alternative.kind for alternative in report.alternatives if alternative.gap.low <= 0]
    return {"models": models, "simplest": as_good[0] if as_good else None}


# Settings of which 0 means that there is none.
SWITCHES = frozenset(("bins", "periodic", "input_scale", "mixup_alpha", "label_smoothing"))


def describe_configs(configs: Sequence[Config]) -> list[str]:
    """Return a line for each config: the settings that it uses, but those that are the same in all that use them."""
    unused = [unused_names(config) for config in configs]
    values = [config.to_dict() for config in configs]
    same = {
        name
        for name in values[0]
        if len({str(own[name]) for own, names in zip(values, unused, strict=True) if name not in names}) <= 1
    }
    return [describe_config(own, same | names) for own, names in zip(values, unused, strict=True)]


def describe_config(config: Mapping[str, Any], same: set[str] | frozenset[str] = frozenset()) -> str:
    """Return what distinguishes a config from others, in a line: all but what is the same in all, or switched off."""
    parts = [] if {"model", "hidden"} <= set(same) else [name_of_kind(config)]
    for name, value in config.items():
        is_off = name in SWITCHES and not value
        if name not in same and name not in ("model", "hidden") and not is_off:
            parts.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(parts) or name_of_kind(config)


def name_of_kind(config: Mapping[str, Any]) -> str:
    """Return what the members of a config are, in a word or two."""
    widths = "-".join(str(width) for width in config["hidden"])
    has_widths = config["model"] in ("mlp", "residual") and widths
    return f"{config['model']} {widths}" if has_widths else config["model"]


def _kinds(report: CohortReport, members: Sequence[int]) -> list[str]:
    used = {report.members[number].config for number in members}
    by_weight = sorted(used, key=lambda config: (-report.configs[config].weight, config))
    return list(dict.fromkeys(name_of_kind(report.configs[config].config.to_dict()) for config in by_weight))


def _row_facts(report: CohortReport) -> dict[str, Any]:
    parts = {
        part: [getattr(member, f"n_{part}") for member in report.members] for part in ("train", "validation", "test")
    }
    ranges = {part: [min(counts), max(counts)] for part, counts in parts.items()}
    return {"n": report.n_rows, "n_folds": report.n_folds, "n_seeds": report.n_seeds, **ranges}


def _training_facts(report: CohortReport) -> dict[str, Any]:
    best_epochs = [member.best_epoch for member in report.members]
    n_at_max = sum(member.stop_reason == "max_epochs" for member in report.members)
    counts = _member_counts(report)
    return {
        "n_members": len(report.members),
        "n_epochs": sum(len(member.history) for member in report.members),
        "best_epochs": [min(best_epochs), max(best_epochs)],
        "n_at_max_epochs": n_at_max,
        "cut_short": n_at_max > CUT_SHARE * len(report.members),
        "n_stopped": sum(own["n_stopped"] for own in counts),
        "n_not_begun": sum(own["n_not_begun"] for own in counts),
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
    if sets.empty <= sets.several or not coverage < accuracy < 1:
        return None
    # A class with too few rows to be ruled out at this coverage is in every set.
    has_fewer = evaluate_sets_out_of_fold(predictor.out_of_fold, accuracy).single > sets.single
    return accuracy if has_fewer else None


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
