"""The comparison on the terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from tabcohort.reporting.comparison_text import print_comparison


def facts_of(**changes: Any) -> dict[str, Any]:
    """Return the facts of a comparison of two models by two metrics, one of which is unknown."""
    unknown = {"value": None, "low": None, "high": None}
    known = {"value": 0.5, "low": 0.4, "high": 0.6}
    facts = {
        "baseline": "[red]a", "models": ["[red]a", "b\x1b[2J"], "n_rows": 40, "n_groups": 40,
        "metrics": {
            "log_loss": {"label": "log loss", "lower_is_better": True, "models": [known, {**known, "value": 0.375}]},
            "roc_auc": {"label": "ROC AUC", "lower_is_better": False, "models": [unknown, unknown]},
        },
        "comparisons": [
            {
                "model": "b\x1b[2J", "told_apart": True, "conclusion": "b is better",
                "differences": {
                    "log_loss": {"value": -0.125, "low": -0.2, "high": -0.05, "is_better": True},
                    "roc_auc": {**unknown, "is_better": None},
                },
            }
        ],
        "correction": "none", "correction_note": "no correction",
    }  # fmt: skip
    return {**facts, **changes}


def text_of(facts: dict[str, Any], which: str = "") -> list[str]:
    out = io.StringIO()
    print_comparison(Console(file=out, soft_wrap=True), facts, which)
    return out.getvalue().splitlines()


def test_each_metric_has_a_line_and_a_mark_where_the_interval_excludes_0() -> None:
    assert text_of(facts_of(), " of new.csv") == [
        "compared on 40 rows of new.csv",
        "",
        "baseline [red]a, model b\\x1b[2J",
        "metric    baseline   model  difference (95 % interval)",
        "log loss    0.5000  0.3750  -0.1250  (-0.2000 to -0.0500)   better",
        "ROC AUC          -       -  these rows cannot determine it",
        "",
        "b is better.",
        "no correction.",
    ]


def test_groups_are_counted_where_there_are_any() -> None:
    assert text_of(facts_of(n_groups=7))[0] == "compared on 40 rows in 7 groups"
