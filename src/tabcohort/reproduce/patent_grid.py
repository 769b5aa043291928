"""The patent network's tuning as one cohort: 54 configs x 3 folds, side by side.

Source: the walkthrough says that its system tried architectures, dropout, learning rates and decays, 54 configs in 3
folds, in 19,518 seconds on an M1 GPU. It does not give the values; ours lie around those that it chose in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from tabcohort.cohort.fit import fit
from tabcohort.cohort.search import grid
from tabcohort.data.table import Table
from tabcohort.model.facts import describe_config
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import ConfigReport
from tabcohort.reporting.progress_displays import ProgressDisplay
from tabcohort.reproduce.findings import Findings, Row, Sheet
from tabcohort.reproduce.patent import DOCUMENT, N_TRAIN
from tabcohort.reproduce.patent_pairs import expected_auc, patent_pairs
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
MAX_SHOWN = 8


def run(messages: Console, halving: bool, n_rows: int = N_TRAIN, configs: Sequence[Config] | None = None) -> Findings:
    """Train all configs on synthetic pairs, and measure them out of fold and on new pairs.

    Args:
        messages: where to show progress.
        halving: whether configs with a high loss are dropped early.
        n_rows: number of pairs.
        configs: what to try; the whole grid when omitted.
    """
    configs = grid(GRID, BASE) if configs is None else list(configs)
    pairs = patent_pairs(n_rows, seed=0)
    table, settings = Table.from_arrays(pairs.X, pairs.y), CohortSettings(folds=3, seeds=1, halving=halving)
    with ProgressDisplay(messages) as display:
        predictor = fit(table, configs, settings, display)
    if predictor.report.stop_reason == "interrupted":
        raise KeyboardInterrupt
    new = patent_pairs(N_NEW, seed=1)
    expected = expected_auc(predictor.predict_proba(new.X)[:, 1], new.probability)
    best = expected_auc(new.probability, new.probability)
    ranked = sorted(predictor.report.configs, key=lambda report: report.log_loss.value)
    return Findings(
        "patent grid",
        f"the patent network's tuning on synthetic pairs: {len(configs)} configs x 3 folds of {n_rows:,} rows, "
        + ("with" if halving else "without")
        + " halving",
        _notes(predictor, halving),
        (_ranking(ranked), _figures(predictor, ranked[0], expected, best)),
        (),
        predictor.report.fit_seconds,
    )


def _ranking(ranked: list[ConfigReport]) -> Sheet:
    same = {name for name in ranked[0].config.to_dict() if name not in GRID}
    rows = [
        Row(
            describe_config(report.config.to_dict(), same),
            (report.log_loss.value, report.metrics["roc_auc"], report.weight),
            ".4f",
        )
        for report in ranked[:MAX_SHOWN]
    ]
    return Sheet("the best configs, out of fold", ("log loss", "ROC AUC", "weight in the ensemble"), tuple(rows))


def _figures(predictor: Predictor, winner: ConfigReport, expected: float, best: float) -> Sheet:
    metrics = predictor.report.evaluation.metrics
    return Sheet(
        "the tuning as a whole",
        ("document", "ours", "optimum"),
        (
            Row("seconds", (SECONDS_CLAIMED, predictor.report.fit_seconds, None), ",.0f"),
            Row("ROC AUC out of fold, best config", (None, winner.metrics["roc_auc"], None), ".4f"),
            Row("ROC AUC out of fold, ensemble", (None, metrics["roc_auc"].value, None), ".4f"),
            Row(f"ROC AUC of {N_NEW:,} new pairs, expected over labels, ensemble", (None, expected, best), ".4f"),
        ),
    )


def _notes(predictor: Predictor, halving: bool) -> tuple[str, ...]:
    report = predictor.report
    member = report.members[0]
    n_dropped = sum(config.dropped_after is not None for config in report.configs)
    notes = [
        "the pairs are SYNTHETIC, and the values of the document's grid are not known: compare times, not metrics",
        f"rows of a network: {member.n_train:,} train, {member.n_validation:,} validation, {member.n_test:,} test",
        f"{sum(len(member.history) for member in report.members):,} epochs in all",
    ]
    if halving and n_dropped:
        notes.append(
            f"{n_dropped} configs were dropped early, which saved about {report.seconds_saved:.0f} s (extrapolated)"
        )
    return tuple(notes)
