"""The patent network's tuning as one cohort: 54 settings x 3 folds, side by side.

Source: the walkthrough says that its system tried architectures, dropout, rates and decays, 54 settings in 3 folds, in
19,518 seconds on an M1 GPU. The values it tried are not in it; ours lie around those that it settled on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from tabcohort.cohort.fit import fit
from tabcohort.cohort.search import grid
from tabcohort.data.table import Table
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import ConfigReport, describe_config
from tabcohort.reporting.terminal import ProgressDisplay
from tabcohort.reproduce.findings import Findings, Row, Sheet
from tabcohort.reproduce.patent import DOCUMENT, N_TRAIN, expected_auc, patent_pairs
from tabcohort.settings import CohortSettings, Config

GRID = {
    "hidden": [[256, 128], [128, 64]],
    "dropout": [0.2, 0.3, 0.4],
    "learning_rate": [1e-3, 2e-3, 4e-3],
    "weight_decay": [1e-5, 1e-4, 1e-3],
}
BASE = replace(DOCUMENT, validation_fraction=0.16)
SECONDS_CLAIMED = 19_518.0
N_NEW = 20_000
SHOWN = 8


def run(messages: Console, halving: bool, n_rows: int = N_TRAIN, settings: Sequence[Config] | None = None) -> Findings:
    """Train all settings on synthetic pairs, and judge them out of fold and on new pairs.

    Args:
        messages: where to show what is going on.
        halving: whether settings that are far behind are dropped early.
        n_rows: how many pairs there are.
        settings: what to try; the whole grid when left out.
    """
    tried = grid(GRID, BASE) if settings is None else list(settings)
    pairs = patent_pairs(n_rows, seed=0)
    with ProgressDisplay(messages) as shown:
        predictor = fit(
            Table.from_arrays(pairs.X, pairs.y), tried, CohortSettings(folds=3, seeds=1, halving=halving), shown
        )
    if predictor.report.stop_reason == "interrupted":
        raise KeyboardInterrupt
    new = patent_pairs(N_NEW, seed=1)
    expected = expected_auc(predictor.predict_proba(new.X)[:, 1], new.probability)
    best = expected_auc(new.probability, new.probability)
    ranked = sorted(predictor.report.configs, key=_rank)
    return Findings(
        "patent grid",
        f"the patent network's tuning on synthetic pairs: {len(tried)} settings x 3 folds of {n_rows:,} rows, "
        + ("with" if halving else "without")
        + " halving",
        _notes(predictor, halving),
        (_ranking(ranked), _figures(predictor, ranked[0], expected, best)),
        (),
        predictor.report.seconds,
    )


def _rank(each: ConfigReport) -> float:
    return each.log_loss.value


def _ranking(ranked: list[ConfigReport]) -> Sheet:
    same = {name for name in ranked[0].settings.to_dict() if name not in GRID}
    rows = [
        Row(
            describe_config(each.settings.to_dict(), same),
            (each.log_loss.value, each.metrics["roc_auc"], each.weight),
            ".4f",
        )
        for each in ranked[:SHOWN]
    ]
    return Sheet("the best settings, out of fold", ("log loss", "ROC AUC", "share of the ensemble"), tuple(rows))


def _figures(predictor: Predictor, winner: ConfigReport, expected: float, best: float) -> Sheet:
    metrics = predictor.report.evaluation.metrics
    return Sheet(
        "the tuning as a whole",
        ("document", "ours", "optimum"),
        (
            Row("seconds", (SECONDS_CLAIMED, predictor.report.seconds, None), ",.0f"),
            Row("ROC AUC out of fold, best settings", (None, winner.metrics["roc_auc"], None), ".4f"),
            Row("ROC AUC out of fold, ensemble", (None, metrics["roc_auc"].value, None), ".4f"),
            Row(f"ROC AUC of {N_NEW:,} new pairs, expected over labels, ensemble", (None, expected, best), ".4f"),
        ),
    )


def _notes(predictor: Predictor, halving: bool) -> tuple[str, ...]:
    report = predictor.report
    member = report.members[0]
    dropped = sum(each.dropped_after is not None for each in report.settings)
    notes = [
        "the pairs are SYNTHETIC, and the values of the document's grid are not known: compare times, not scores",
        f"each network trains on {member.n_train:,} rows, stops on {member.n_validation:,}, is judged on {member.n_test:,}",
        f"{sum(len(each.history) for each in report.members):,} epochs in all",
    ]
    if halving and dropped:
        notes.append(
            f"{dropped} settings were dropped early, which saved about {report.seconds_saved:.0f} s (extrapolated)"
        )
    return tuple(notes)
