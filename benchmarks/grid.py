"""The patent network's tuning, 54 configs x 3 folds, with halving and without, beside the reference loop.

    make grid

The reference loop is measured for one epoch, on two threads and on one, and extrapolated to the epochs of the full
grid. The best configs of both runs are compared by their out-of-fold predictions in the full run.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from reference_loops import patent_loop
from rich.console import Console

from tabcohort import CohortSettings, Predictor, Table, fit
from tabcohort.cohort.search import grid
from tabcohort.model.facts import config_facts
from tabcohort.reporting.progress_displays import ProgressDisplay
from tabcohort.reporting.terminal import print_configs
from tabcohort.reproduce.patent import N_TRAIN
from tabcohort.reproduce.patent_grid import BASE, GRID
from tabcohort.reproduce.patent_pairs import patent_pairs

FOLDS = 3


def tune(halving: bool) -> Predictor:
    """Train the grid."""
    pairs = patent_pairs(N_TRAIN, seed=0)
    settings = CohortSettings(folds=FOLDS, seeds=1, halving=halving)
    with ProgressDisplay(Console(stderr=True)) as display:
        return fit(Table.from_arrays(pairs.X, pairs.y), grid(GRID, BASE), settings, display)


def reference_seconds(n_train: int) -> float:
    """Return the seconds of one epoch of the reference loop on so many rows, the better of one and two threads."""
    pairs = patent_pairs(N_TRAIN, seed=0)
    X, y = pairs.X.astype(np.float32), pairs.y.astype(np.float32)
    times = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        for _ in range(2):  # the first warms up
            began = time.perf_counter()
            patent_loop(X[:n_train], y[:n_train], X[n_train:], y[n_train:], 1)
            seconds = time.perf_counter() - began
        times.append(seconds)
    return min(times)


def main() -> None:
    """Print both rankings and the times; `halving` or `full` runs one of them only."""
    out, best = Console(width=200), {}
    for name in sys.argv[1:] or ("halving", "full"):
        predictor = tune(halving=name == "halving")
        report = predictor.report
        n_epochs = sum(len(member.history) for member in report.members)
        out.print(f"\n{name}: {report.fit_seconds:.0f} s, {n_epochs:,} epochs, {len(report.members)} members")
        print_configs(out, config_facts(report), report.seconds_saved)
        kept = [number for number, config in enumerate(report.configs) if config.dropped_after is None]
        best[name] = min(kept, key=lambda number: report.configs[number].log_loss.value)
        if name == "full":
            n_train = report.members[0].n_train
            once = reference_seconds(n_train)
            out.print(
                f"the reference loop: {once:.2f} s for one epoch of {n_train:,} rows; {n_epochs:,} such epochs would "
                f"take {once * n_epochs / 3600:.1f} hours (extrapolated)"
            )
            for run, number in best.items():
                auc = report.configs[number].metrics["roc_auc"]
                out.print(f"the best config of '{run}' has ROC AUC {auc:.4f} in the full grid (config {number + 1})")


if __name__ == "__main__":
    main()
