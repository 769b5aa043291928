"""How fast the engines train, beside the loops as the reference documents write them, from one run.

    make bench

Each row alternates between them, five times, and compares medians. All do the same work per epoch: the steps, a pass
over the rows that stop, and the bookkeeping. Ours run on one thread; the reference on the better of one and two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from reference_loops import FloatMatrix, cancer_loop, patent_loop
from rich.console import Console
from rich.table import Table as Printed
from sklearn.datasets import load_breast_cancer

from tabcohort import Roles, Settings, build_model, draw_weights, make_table, train

REPEATS = 5
CANCER = Settings(
    model="logistic", optimizer="adam", learning_rate=1e-3, weight_decay=0.0, batch_size=32, max_epochs=100,
    patience=None,
)  # fmt: skip
PATENT = Settings(
    model="residual", hidden=(256, 128), dropout=0.3, optimizer="adamw", learning_rate=2e-3, weight_decay=1e-5,
    batch_size=256, mixup_alpha=0.2, clip_norm=1.0, schedule="plateau", max_epochs=3, patience=None,
)  # fmt: skip

Loop = Callable[[FloatMatrix, FloatMatrix, FloatMatrix, FloatMatrix, int], None]


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(X: FloatMatrix, y: FloatMatrix, n_train: int, loop: Loop, settings: Settings) -> dict[str, float]:
    """Return the median seconds per step of the reference loop and of each engine."""
    table = make_table(X.astype(np.float64), y)
    rows = np.arange(len(y))
    roles = Roles(rows[:n_train], rows[n_train:], rows[:0])

    def ours(engine: str) -> None:
        module = build_model(settings, X.shape[1], 2)
        draw_weights(module, seed=0)
        train(module, table, replace(settings, engine=engine), roles=roles)

    def reference() -> None:
        loop(X[:n_train], y[:n_train], X[n_train:], y[n_train:], settings.max_epochs)

    work: dict[str, tuple[Callable[[], None], int]] = {
        "torch": (lambda: ours("torch"), 1),
        "compiled": (lambda: ours("compiled"), 1),
        "reference, one thread": (reference, 1),
        "reference, two threads": (reference, 2),
    }
    threads = torch.get_num_threads()
    times: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(REPEATS + 1):
        for name, (run, n_threads) in work.items():
            torch.set_num_threads(n_threads)
            took = seconds(run)
            if repeat:  # the first round warms up
                times[name].append(took)
    torch.set_num_threads(threads)
    n_steps = settings.max_epochs * (n_train / int(settings.batch_size))
    medians = {name: statistics.median(values) / n_steps for name, values in times.items()}
    medians["reference"] = min(medians.pop("reference, one thread"), medians.pop("reference, two threads"))
    return medians


def main() -> None:
    """Print the table of ratios."""
    rng = np.random.default_rng(0)
    cancer = load_breast_cancer()
    shuffled = rng.permutation(len(cancer.target))
    X = cancer.data[shuffled]
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    n_rows = 39_979 + 8_567
    X_patent = rng.standard_normal((n_rows, 10), dtype=np.float32)
    y_patent = (X_patent[:, 0] + X_patent[:, 1] * X_patent[:, 2] > 0).astype(np.float32)

    printed = Printed(
        "per step", "reference", "torch engine", "times as fast", "wanted", "compiled engine", "times as fast", box=None
    )
    work = (
        ("breast cancer, 455 x 30, logistic, batch 32", X, cancer.target[shuffled], 455, cancer_loop, CANCER, 2.0),
        ("patent shape, 39,979 x 10, residual, batch 256", X_patent, y_patent, 39_979, patent_loop, PATENT, 1.5),
    )
    for name, inputs, labels, n_train, loop, settings, wanted in work:
        found = compare(inputs, labels.astype(np.float32), n_train, loop, settings)
        reference, times = found["reference"], {engine: f"{found[engine] * 1e6:,.0f} us" for engine in found}
        printed.add_row(
            name, times["reference"], times["torch"], f"{reference / found['torch']:.2f}", f"{wanted:.1f}",
            times["compiled"], f"{reference / found['compiled']:.1f}",
        )  # fmt: skip
    Console(width=160).print(printed)


if __name__ == "__main__":
    main()
