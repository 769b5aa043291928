"""The cohort beside one network, on every real table: the log loss of held-out rows.

    make tables

Each table is split three times, 70 % to fit on and 30 % held out; those of more than 20,000 rows once. Both have the
default config. One network has one split of its rows into train, validation and test rows, `folds=1, seeds=1`.
Writes `tables.md` beside this file.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
from real_tables import part, real_tables
from rich.console import Console
from rich.progress import track
from rich.table import Table as Printed

from tabcohort import CohortSettings, Config, Table, fit
from tabcohort.evaluation.metrics import log_loss
from tabcohort.randomness import Purpose, make_rng

FIT_FRACTION, SPLITS, LARGE = 0.7, 3, 20_000
ONE_NETWORK = CohortSettings(folds=1, seeds=1)
COLUMNS = ("table", "rows", "columns", "classes", "one network", "cohort", "difference", "seconds", "seconds, cohort")


def measure(table: Table, split: int) -> list[float]:
    """Return log loss and seconds of one network and of the cohort."""
    order = make_rng(split, Purpose.SAMPLE).permutation(len(table.y))
    n_fit = int(FIT_FRACTION * len(order))
    to_fit, held_out = part(table, order[:n_fit]), part(table, order[n_fit:])
    results = []
    for settings in (ONE_NETWORK, CohortSettings()):
        began = time.perf_counter()
        predictor = fit(to_fit, Config(seed=split), settings)
        seconds = time.perf_counter() - began
        results += [log_loss(predictor.log_proba(held_out.X), held_out.y, held_out.weight), seconds]
    return results


def main() -> None:
    """Measure all tables, print the results, and write them to a file."""
    warnings.simplefilter("ignore")
    rows, n_better = [], 0
    for name, table in real_tables():
        splits = range(1 if len(table.y) > LARGE else SPLITS)
        one, one_seconds, many, many_seconds = np.mean([measure(table, split) for split in track(splits, name)], axis=0)
        n_better += bool(many < one)
        size = (f"{len(table.y):,}", str(table.X.shape[1]), str(len(table.schema.classes)))
        losses = (f"{one:.4f}", f"{many:.4f}", f"{many - one:+.4f}")
        rows.append((name, *size, *losses, f"{one_seconds:.1f}", f"{many_seconds:.1f}"))
    printed = Printed(*COLUMNS, box=None)
    for row in rows:
        printed.add_row(*row)
    summary = f"The cohort has the lower log loss on {n_better} of {len(rows)} tables."
    Console(width=140).print(printed, summary)
    lines = [f"| {' | '.join(row)} |" for row in (COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *rows)]
    title = "# Log loss on held-out rows: one network and the cohort (`make tables`)"
    what = (
        f"{FIT_FRACTION:.0%} of each table's rows to fit on, columns of numbers without missing cells only; means "
        f"of {SPLITS} splits, of 1 above {LARGE:,} rows; default config."
    )
    text = "\n\n".join([title, what, "\n".join(lines), summary])
    Path(__file__).with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
