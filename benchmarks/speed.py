"""How fast the torch engine trains, beside the loops as the reference documents write them, from one run.

    make bench

Each row alternates between the two, five times, and compares medians. Both do the same work per epoch: the steps, a
pass over the rows that stop, and the bookkeeping. PyTorch's thread count is the engine's own for ours (one) and the
better of one and two for the reference.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

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


def compare(X: FloatMatrix, y: FloatMatrix, n_train: int, loop: Loop, settings: Settings) -> tuple[float, float]:
    """Return the median seconds per step of (the reference loop, our engine)."""
    table = make_table(X.astype(np.float64), y)
    rows = np.arange(len(y))
    roles = Roles(rows[:n_train], rows[n_train:], rows[:0])

    def ours() -> None:
        module = build_model(settings, X.shape[1], 2)
        draw_weights(module, seed=0)
        train(module, table, settings, roles=roles)

    def reference() -> None:
        loop(X[:n_train], y[:n_train], X[n_train:], y[n_train:], settings.max_epochs)

    threads = torch.get_num_threads()
    times: dict[str, list[float]] = {"ours": [], "one thread": [], "two threads": []}
    for repeat in range(REPEATS + 1):
        for name, work, n_threads in (("ours", ours, 1), ("one thread", reference, 1), ("two threads", reference, 2)):
            torch.set_num_threads(n_threads)
            took = seconds(work)
            if repeat:  # the first round warms up
                times[name].append(took)
    torch.set_num_threads(threads)
    n_steps = settings.max_epochs * (n_train / int(settings.batch_size))
    medians = {name: statistics.median(values) / n_steps for name, values in times.items()}
    return min(medians["one thread"], medians["two threads"]), medians["ours"]


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

    printed = Printed("work", "reference, us per step", "ours, us per step", "times as fast", "wanted", box=None)
    work = (
        ("breast cancer, 455 x 30, logistic, batch 32", X, cancer.target[shuffled], 455, cancer_loop, CANCER, 2.0),
        ("patent shape, 39,979 x 10, residual, batch 256", X_patent, y_patent, 39_979, patent_loop, PATENT, 1.5),
    )
    for name, inputs, labels, n_train, loop, settings, wanted in work:
        reference, ours = compare(inputs, labels.astype(np.float32), n_train, loop, settings)
        printed.add_row(
            name, f"{reference * 1e6:,.0f}", f"{ours * 1e6:,.0f}", f"{reference / ours:.2f}", f"{wanted:.1f}"
        )
    Console(width=130).print(printed)


if __name__ == "__main__":
    main()
