"""The cohort beside one network, on every real table: the log loss of rows that neither of them was given.

    make tables

Each table is split three times, 70 % to train on and 30 % to judge by; those of more than 20,000 rows once. Both have
the default settings. One network has one split of its rows, `folds=1, seeds=1`: the others of its rows stop and score.
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

SHARE_TO_TRAIN, SPLITS, LARGE = 0.7, 3, 20_000
ONE_NETWORK = CohortSettings(folds=1, seeds=1)
COLUMNS = ("table", "rows", "columns", "classes", "one network", "cohort", "difference", "seconds", "seconds, cohort")


def measure(table: Table, split: int) -> list[float]:
    """Return log loss and seconds of one network and of the cohort."""
    order = make_rng(split, Purpose.SAMPLE).permutation(len(table.y))
    n_train = int(SHARE_TO_TRAIN * len(order))
    given, judges = part(table, order[:n_train]), part(table, order[n_train:])
    found = []
    for cohort in (ONE_NETWORK, CohortSettings()):
        began = time.perf_counter()
        predictor = fit(given, Config(seed=split), cohort)
        seconds = time.perf_counter() - began
        found += [log_loss(predictor.log_proba(judges.X), judges.y, judges.weight), seconds]
    return found


def main() -> None:
    """Measure all tables, print what was found, and write it to a file."""
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
        f"{SHARE_TO_TRAIN:.0%} of each table's rows to train on, columns of numbers without missing cells only; means "
        f"of {SPLITS} splits, of 1 above {LARGE:,} rows; default settings."
    )
    text = "\n\n".join([title, what, "\n".join(lines), summary])
    Path(__file__).with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
