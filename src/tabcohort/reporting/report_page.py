"""The report of a model as one HTML file that loads nothing from elsewhere and is complete without its script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tabcohort.errors import listed, printable
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.explain import cell_text
from tabcohort.reporting import figures, learned_figures
from tabcohort.reporting.learning_curve_text import conclusion_lines
from tabcohort.reporting.look_page import columns_table
from tabcohort.reporting.page import STYLE, policy_hash
from tabcohort.reporting.template import resource, template_environment
from tabcohort.reporting.terminal import ALTERNATIVE_LABELS, NOT_FINISHED, config_notes, has_unfinished, stop_text

MAX_CONFUSION = 12  # classes, above which the most frequent confusions are listed instead
N_OPEN = 6  # classes, and configs, whose figures are not folded
N_CONFIGS = 24  # of the table of configs
N_IMPORTANCES = 20
TABLE_THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
HEAT_STEPS = 9  # steps of the shade of a cell


def report_page(facts: Mapping[str, Any], title: str) -> str:
    """Return the facts of a report (see `tabcohort.model.report_facts.report_facts`) as an HTML page.

    Names, labels and cells are shown as text, with control characters escaped.

    Args:
        facts: of a model.
        title: of the page, such as the name of the model's file.
    """
    facts, title = printable(facts), printable(title)
    environment = template_environment(autoescape=True)
    environment.filters |= {"pct": percent, "num": number, "count": figures.count, "interval": interval, "ends": end_of}
    environment.filters |= {"cell": cell_text, "signed": signed, "listed": listed}
    environment.globals |= {name: getattr(figures, name) for name in FIGURES}
    environment.globals |= {name: getattr(learned_figures, name) for name in LEARNED_FIGURES}
    style, script = STYLE + resource("report.css"), resource("report.js")
    known = [own for own in facts["one_against_rest"] if own["thresholds"]]
    return environment.get_template("report.html.j2").render(
        facts,
        title=title,
        style=Markup(style),
        script=Markup(script),
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
        drawn=known,
        start=start_threshold(facts),
        slider=_json({"classes": [_slider_values(own) for own in known], "start": start_threshold(facts)}),
        confusion_rows=_confusion_rows(facts),
        curve_lines=conclusion_lines(facts["learning_curve"]) if facts["learning_curve"] else [],
        columns_table=None if facts["data"] is None else Markup(columns_table(facts["data"]["columns"])),
        labels={name: metric.label for name, metric in METRICS.items()} | {"difference": "difference to the others"},
        alternative_labels=ALTERNATIVE_LABELS,
        stop_text=stop_text,
        config_notes=config_notes,
        unfinished=NOT_FINISHED if has_unfinished(facts["configs"]) else "",
        loss_styles=figures.LOSS_STYLES,
        table_thresholds=TABLE_THRESHOLDS,
        limits={"confusion": MAX_CONFUSION, "open": N_OPEN, "configs": N_CONFIGS, "importances": N_IMPORTANCES},
    )


FIGURES = (
    "roc_figure", "precision_recall_figure", "reliability_figure", "score_figure", "decision_figure", "history_figure",
    "interval_bar", "share_bar", "learning_curve_figure",
)  # fmt: skip
LEARNED_FIGURES = ("effect_figure", "heat_map_figure", "importance_bar")


def start_threshold(facts: Mapping[str, Any]) -> float:
    """Return the threshold that the page shows at first: the model's own, to two digits, or 0.5."""
    own = facts["threshold"]["value"]
    return 0.5 if own is None else min(0.99, max(0.01, round(own, 2)))


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent; a dash where it is unknown.

    Examples:
        >>> percent(0.8767), percent(None)
        ('87.7%', '–')
    """
    return "\N{EN DASH}" if share is None else f"{share:.{digits}%}".replace("-", "\N{MINUS SIGN}")


def number(value: float | None, digits: int = 3) -> str:
    """Return a number; a dash where it is unknown."""
    return "\N{EN DASH}" if value is None else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Return a contribution with its sign.

    Examples:
        >>> signed(0.456), signed(-1.2)
        ('+0.46', '−1.20')
    """
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def interval(estimate: Mapping[str, Any], unit: str = "number") -> str:
    """Return an estimate with its 95 % interval, as a "number", a "loss" with more digits, or in "percent".

    Examples:
        >>> interval({"value": 0.5, "low": 0.4, "high": 0.6}, "percent")
        '50.0% (40.0% to 60.0%)'
    """
    if estimate["value"] is None:
        return "\N{EN DASH}"
    value, low, high = (end_of(estimate, unit, end) for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def end_of(estimate: Mapping[str, Any], unit: str, end: str) -> str:
    """Return the value of an estimate, or an end of its interval, in the unit of `interval`."""
    return percent(estimate[end]) if unit == "percent" else number(estimate[end], 4 if unit == "loss" else 3)


def _json(values: Any) -> Markup:
    """Return values as JSON that no HTML parser takes for anything else."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _slider_values(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the script needs of a class: the confusion and the rates at each threshold."""
    names = ("sensitivity", "specificity", "precision", "accuracy")
    return {
        "label": str(own["label"]),
        "confusion": [rates["confusion"] for rates in own["thresholds"]],
        **{
            name: [[rates[name][end] for end in ("value", "low", "high")] for rates in own["thresholds"]]
            for name in names
        },
        "netBenefit": [point["model"]["value"] for point in own["decision_curve"]],
    }


def _confusion_rows(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the confusion table, whose cells have their shade; none where there are many classes."""
    classes, evaluation = facts["schema"]["classes"], facts["evaluation"]
    rows: list[dict[str, Any]] = []
    if len(classes) > MAX_CONFUSION:
        return rows
    for label, row in zip(classes, evaluation["confusion"], strict=True):
        total = sum(row)
        shares = [cell / total if total else 0.0 for cell in row]
        cells = [
            {"weight": cell, "share": share, "heat": round(share * HEAT_STEPS)}
            for cell, share in zip(row, shares, strict=True)
        ]
        rows.append({"label": label, "total": total, "cells": cells})
    return rows
