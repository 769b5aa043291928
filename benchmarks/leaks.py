"""Memory, files and threads of one process that trains 100 times and predicts 100,000 times.

    make leaks

A line for each tenth of the work. After the first tenth, memory may grow by 5 % at most, and files and threads not at
all: otherwise the exit status is 1. It reads /proc, which Linux has.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sklearn.datasets import load_breast_cancer

import tabcohort

N_TRAININGS, N_PREDICTIONS, N_PARTS = 100, 100_000, 10
ROWS_AT_ONCE = 100
MAX_GROWTH = 1.05


class Held(NamedTuple):
    """What a process holds: resident memory in MB, open files, and threads."""

    memory: float
    files: int
    threads: int


def held() -> Held:
    """Return what this process holds now."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    memory = int(status["VmRSS"].split()[0]) / 1024
    return Held(memory, sum(1 for _ in Path("/proc/self/fd").iterdir()), int(status["Threads"]))


def measure(name: str, work: Callable[[], object], n_calls: int) -> bool:
    """Call a function often, print what the process holds after each tenth, and return whether that stays flat."""
    parts = []
    for part in range(1, N_PARTS + 1):
        for _ in range(n_calls // N_PARTS):
            work()
        parts.append(held())
        count = f"{part * n_calls // N_PARTS:,} {name}"
        print(
            f"{count:<24} {parts[-1].memory:7.1f} MB  {parts[-1].files} files  {parts[-1].threads} threads", flush=True
        )
    first, last = parts[0], parts[-1]
    return last.memory <= first.memory * MAX_GROWTH and last[1:] == first[1:]


def main() -> int:
    """Train and predict again and again, and return the exit status."""
    X, y = load_breast_cancer(return_X_y=True)
    table = tabcohort.Table.from_arrays(X, y)
    config, settings = tabcohort.Config(model="logistic", max_epochs=20), tabcohort.CohortSettings(folds=3, seeds=1)
    predictor = tabcohort.fit(table, config, settings)
    record = dict(zip(predictor.schema.features, X[0].tolist(), strict=True))
    text = {name: [str(cell) for cell in X[:ROWS_AT_ONCE, place]] for place, name in enumerate(record)}
    are_flat = [
        measure("trainings", lambda: tabcohort.fit(table, config, settings), N_TRAININGS),
        measure("records", lambda: predictor.predict_row(record), N_PREDICTIONS),
        measure("tables of text", lambda: predictor.predict_proba(text), N_PREDICTIONS // ROWS_AT_ONCE),
    ]
    print("flat" if all(are_flat) else "not flat", f"({threading.active_count()} Python thread)")
    return 0 if all(are_flat) else 1


if __name__ == "__main__":
    sys.exit(main())
