"""The patent network's tuning, 54 settings x 3 folds, with halving and without, beside the reference loop.

    make grid

The reference loop is measured for one epoch, on two threads and on one, and multiplied by the epochs of the full grid:
an extrapolation, and called one. The winner is judged by its out-of-fold predictions in the full run and in the other.
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
from tabcohort.model.report import report_to_dict
from tabcohort.reporting.terminal import ProgressDisplay, print_settings
from tabcohort.reproduce.patent import N_TRAIN, patent_pairs
from tabcohort.reproduce.patent_grid import BASE, GRID

FOLDS = 3


def tune(halving: bool) -> Predictor:
    """Train the grid."""
    pairs = patent_pairs(N_TRAIN, seed=0)
    cohort = CohortSettings(folds=FOLDS, seeds=1, halving=halving)
    with ProgressDisplay(Console(stderr=True)) as shown:
        return fit(Table.from_arrays(pairs.X, pairs.y), grid(GRID, BASE), cohort, shown)


def reference_seconds(n_train: int) -> float:
    """Return the seconds of one epoch of the reference loop on so many rows, the better of one and two threads."""
    pairs = patent_pairs(N_TRAIN, seed=0)
    X, y = pairs.X.astype(np.float32), pairs.y.astype(np.float32)
    found = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        for _ in range(2):  # the first warms up
            began = time.perf_counter()
            patent_loop(X[:n_train], y[:n_train], X[n_train:], y[n_train:], 1)
            seconds = time.perf_counter() - began
        found.append(seconds)
    return min(found)


def main() -> None:
    """Print both rankings and the times; `halving` or `full` runs one of them only."""
    out, winners = Console(width=200), {}
    for name in sys.argv[1:] or ("halving", "full"):
        predictor = tune(halving=name == "halving")
        report = predictor.report
        n_epochs = sum(len(member.history) for member in report.members)
        out.print(f"\n{name}: {report.seconds:.0f} s, {n_epochs:,} epochs, {len(report.members)} members")
        print_settings(out, report_to_dict(report))
        ended = [number for number, each in enumerate(report.settings) if each.dropped_after is None]
        winners[name] = min(ended, key=lambda number: report.settings[number].log_loss.value)
        if name == "full":
            n_train = report.members[0].n_train
            once = reference_seconds(n_train)
            out.print(
                f"the reference loop: {once:.2f} s for one epoch of {n_train:,} rows; {n_epochs:,} such epochs would "
                f"take {once * n_epochs / 3600:.1f} hours (extrapolated)"
            )
            for other, number in winners.items():
                auc = report.settings[number].metrics["roc_auc"]
                out.print(f"the winner of '{other}' has ROC AUC {auc:.4f} in the full grid (settings {number + 1})")


if __name__ == "__main__":
    main()
