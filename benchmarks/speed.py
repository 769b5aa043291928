"""How fast it is, beside what people use, from one run on an otherwise idle machine.

    make bench

Every table alternates between its competitors, five times after a round to warm up, and compares medians. All do the
same work: the steps of every epoch, a pass over the validation rows (the Wine document has none, ours has), losses and
history. Ours run on one thread unless a row says otherwise; the others on the better of one and two.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from members import run_in_threads, train_member
from numba import njit
from real_tables import real_tables
from reference_loops import FloatMatrix, cancer_loop, eager_patent, patent_loop, wine_loop
from rich.console import Console
from rich.table import Table as Printed
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.utils._testing import ignore_warnings

from tabcohort import (
    CohortSettings,
    Config,
    Split,
    Table,
    build_model,
    fit,
    initialize_weights,
    load,
    save,
    train,
)
from tabcohort.engines.compiled.blas import one_blas_thread
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.compiled.inference import Inference
from tabcohort.network.lower import lower, network_of

REPEATS = 5
ONE_NETWORK = CohortSettings(folds=1, seeds=1)
CANCER = Config(
    model="logistic", optimizer="adam", learning_rate=1e-3, weight_decay=0.0, batch_size=32, max_epochs=447,
    patience=None,
)  # fmt: skip
WINE = replace(CANCER, model="mlp", hidden=(10, 10), dropout=0.0, max_epochs=100)
PATENT = Config(
    model="residual", hidden=(256, 128), dropout=0.3, optimizer="adamw", learning_rate=2e-3, weight_decay=1e-5,
    batch_size=256, mixup_alpha=0.2, clip_norm=1.0, schedule="plateau", max_epochs=2, patience=None,
)  # fmt: skip

Work = Callable[[], object]


def medians(work: dict[str, tuple[Work, int]]) -> dict[str, float]:
    """Return the median seconds of each piece of work, run in turn with PyTorch on so many threads."""
    before = torch.get_num_threads()
    times: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(REPEATS + 1):
        for name, (run, n_threads) in work.items():
            torch.set_num_threads(n_threads)
            began = time.perf_counter()
            run()
            if repeat:
                times[name].append(time.perf_counter() - began)
    torch.set_num_threads(before)
    return {name: statistics.median(values) for name, values in times.items()}


def on_better_threads(name: str, run: Work) -> dict[str, tuple[Work, int]]:
    """Return the work twice, on one thread and on two."""
    return {f"{name}, {n} thread{'s' * (n > 1)}": (run, n) for n in (1, 2)}


def best_of(times: dict[str, float], name: str) -> float:
    """Return the better time of those of a name."""
    return min(value for key, value in times.items() if key.startswith(f"{name}, "))


def train_compiled(table: Table, split: Split, config: Config, seed: int = 0) -> None:
    """Train one member in the compiled engine, from the table on."""
    train_member(CompiledEngine, table, split, config if seed == config.seed else replace(config, seed=seed))


def train_torch(table: Table, split: Split, config: Config) -> None:
    """Train one module in the torch engine."""
    module = build_model(config, table.n_inputs, len(table.schema.classes))
    initialize_weights(module, 0)
    train(module, table, replace(config, engine="torch"), split=split)


def table_and_split(X: FloatMatrix, y: FloatMatrix, n_train: int) -> tuple[Table, Split]:
    """Return a table whose first rows train and whose others validate."""
    rows = np.arange(len(y))
    return Table.from_arrays(X.astype(np.float64), y), Split(rows[:n_train], rows[n_train:], rows[:0])


def cancer_rows() -> tuple[FloatMatrix, FloatMatrix]:
    """Return the breast-cancer rows, shuffled and standardised, and their labels."""
    cancer = load_breast_cancer()
    shuffled = np.random.default_rng(0).permutation(len(cancer.target))
    X = cancer.data[shuffled]
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32), cancer.target[shuffled].astype(np.float32)


def skorch_training(X: FloatMatrix, y: FloatMatrix, n_epochs: int) -> Work:
    """Return a training of the same logistic regression as skorch's users write it."""
    from skorch import NeuralNetBinaryClassifier

    def run() -> None:
        NeuralNetBinaryClassifier(
            torch.nn.Linear, module__in_features=X.shape[1], module__out_features=1, optimizer=torch.optim.Adam,
            lr=1e-3, batch_size=32, max_epochs=n_epochs, iterator_train__shuffle=True, verbose=0,
        ).fit(X, y)  # fmt: skip

    return run


@ignore_warnings(category=ConvergenceWarning)
def sklearn_training(X: FloatMatrix, y: FloatMatrix, n_epochs: int) -> None:
    """Train the same logistic regression in scikit-learn, which sets 20 % of the rows aside to validate on."""
    MLPClassifier(
        (), batch_size=32, alpha=0.0, max_iter=n_epochs, early_stopping=True, validation_fraction=0.2,
        n_iter_no_change=n_epochs, tol=0.0,
    ).fit(X, y)  # fmt: skip


def cancer(out: Printed) -> None:
    """Breast cancer: one member beside what people use, and 100 members on two threads."""
    X, y = cancer_rows()
    n_train, n_epochs = 455, CANCER.max_epochs
    table, split = table_and_split(X, y, n_train)

    def hundred() -> None:
        run_in_threads([lambda seed=seed: train_compiled(table, split, CANCER, seed) for seed in range(100)], 2)

    with one_blas_thread():
        times = medians(
            {
                "compiled": (lambda: train_compiled(table, split, CANCER), 1),
                "torch": (lambda: train_torch(table, split, CANCER), 1),
                "100 members": (hundred, 1),
                "scikit-learn": (lambda: sklearn_training(X, y, n_epochs), 1),
                **on_better_threads(
                    "reference", lambda: cancer_loop(X[:n_train], y[:n_train], X[n_train:], y[n_train:], n_epochs)
                ),
                **on_better_threads("skorch", skorch_training(X, y, n_epochs)),
            }
        )
    name = f"breast cancer, logistic, batch 32, {n_epochs} epochs"
    for other, wanted in (("reference", "150"), ("skorch", "100"), ("scikit-learn", "50"), ("torch", "")):
        theirs = times[other] if other in times else best_of(times, other)
        title = {"reference": "reference loop", "torch": "our torch engine"}.get(other, other)
        add(out, name, title, theirs, times["compiled"], wanted)
    add(
        out, "100 members of it, 2 threads", "ONE reference run", best_of(times, "reference"), times["100 members"], "2"
    )


def cohort(out: Printed) -> None:
    """What `fit` does by itself: the whole cohort, calibrated, measured, with intervals."""
    X, y = cancer_rows()
    parts = (X[:455], y[:455], X[455:], y[455:])
    tables = dict(real_tables())
    times = medians(
        {
            "cohort": (lambda: fit(tables["breast-cancer"]), 1),
            **on_better_threads("reference", lambda: cancer_loop(*parts, CANCER.max_epochs)),
        }
    )
    add(out, "breast cancer, `fit` as it is", "ONE reference run", best_of(times, "reference"), times["cohort"], "1")
    if "magic_gamma" in tables:
        began = time.perf_counter()
        fit(tables["magic_gamma"])
        seconds = time.perf_counter() - began
        out.add_row("MAGIC, 19,020 rows, `fit` as it is", "", "", f"{seconds:.1f} s", "", "under 120 s")


def wine(out: Printed) -> None:
    """Wine: 13-10-10-3."""
    sample = load_wine()
    X, y = (sample.data / sample.data.std(axis=0)).astype(np.float32), sample.target
    rows = np.arange(len(y))
    table = Table.from_arrays(np.concatenate([X, X + 1e-3]).astype(np.float64), np.concatenate([y, y]))
    split = Split(rows, rows[:36] + len(y), rows[:0])
    with one_blas_thread():
        times = medians(
            {
                "compiled": (lambda: train_compiled(table, split, WINE), 1),
                **on_better_threads("reference", lambda: wine_loop(X, y, WINE.max_epochs)),
            }
        )
    name = f"Wine, 13-10-10-3, batch 32, {WINE.max_epochs} epochs"
    add(out, name, "reference loop", best_of(times, "reference"), times["compiled"], "80")


@njit(nogil=True)
def products(x, w, dout, out, dw, dx):  # type: ignore[no-untyped-def]
    """Do the three matrix products of a linear layer, as the kernels do them."""
    np.dot(x, w, out)
    np.dot(x.T, dout, dw)
    np.dot(dout, w.T, dx)


def products_of_patent(n_steps: int) -> Work:
    """Return the matrix products of so many steps of the patent network, and nothing else."""
    layers = []
    for d_in, d_out in ((10, 256), (10, 256), (256, 128), (256, 128), (128, 1)):
        shapes = ((256, d_in), (d_in, d_out), (256, d_out), (256, d_out), (d_in, d_out), (256, d_in))
        layers.append([np.ones(shape, np.float32) for shape in shapes])

    def run() -> None:
        for _ in range(n_steps):
            for layer in layers:
                products(*layer)

    return run


def patent(out: Printed) -> None:
    """The patent network: one member, and eight on one and two threads."""
    rng = np.random.default_rng(0)
    n_train, n_rows = 39_979, 39_979 + 8_567
    X = rng.standard_normal((n_rows, 10), dtype=np.float32)
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(np.float32)
    table, split = table_and_split(X, y, n_train)
    parts = (X[:n_train], y[:n_train], X[n_train:], y[n_train:], PATENT.max_epochs)
    n_steps = -(-n_train // 256) * PATENT.max_epochs
    one_epoch = replace(PATENT, max_epochs=1)

    def eight(n_threads: int) -> Work:
        jobs = [lambda seed=seed: train_compiled(table, split, one_epoch, seed) for seed in range(8)]
        return lambda: run_in_threads(jobs, n_threads)

    with one_blas_thread():
        times = medians(
            {
                "compiled": (lambda: train_compiled(table, split, PATENT), 1),
                "products": (products_of_patent(n_steps), 1),
                "torch": (lambda: train_torch(table, split, PATENT), 1),
                **on_better_threads("eager", lambda: eager_patent(*parts)),
                **on_better_threads("reference", lambda: patent_loop(*parts)),
                "8 on 1": (eight(1), 1),
                "8 on 2": (eight(2), 1),
            }
        )
    name = "patent network, 39,979 rows, batch 256, 2 epochs"
    add(out, name, "reference loop", best_of(times, "reference"), times["compiled"], "8")
    add(out, name, "best eager PyTorch", best_of(times, "eager"), times["compiled"], "5")
    add(out, name, "our torch engine", times["torch"], times["compiled"], "")
    add(out, "its matrix products alone", "one member", times["compiled"], times["products"], "at most 2.0")
    add(out, "8 members of it on 2 threads", "on 1 thread", times["8 on 1"], times["8 on 2"], "1.8")


def prediction(out: Printed) -> None:
    """One row through a loaded model, and 100,000 rows of the patent network beside PyTorch."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 10))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tabcohort"
        table, config = Table.from_arrays(X, X[:, 0] > 0), replace(PATENT, max_epochs=1)
        for name, settings in (("one network", ONE_NETWORK), ("24 networks", CohortSettings(folds=8, seeds=3))):
            save(fit(table, config, settings), path)
            predictor = load(path)
            record = {name: float(value) for name, value in zip(predictor.schema.features, X[0], strict=True)}
            predict = functools.partial(predictor.predict_row, record)
            times = medians({"row": (lambda predict=predict: [predict() for _ in range(1000)], 1)})
            limit = "under 100 us" if settings is ONE_NETWORK else ""
            out.add_row(f"one record, by column names, {name}", "", "", f"{times['row'] * 1e3:,.0f} us", "", limit)

    module = build_model(PATENT, 10, 2).eval()
    network = Inference([network_of(module, lower(module, 10))])
    rows = rng.standard_normal((100_000, 10))
    tensor = torch.from_numpy(rows.astype(np.float32))

    def eager() -> None:
        with torch.inference_mode():
            module[1](tensor)

    times = medians({"ours": (lambda: network.logits(rows), 1), **on_better_threads("torch", eager)})
    name = "100,000 rows of the patent network"
    add(out, name, "PyTorch, all at once", best_of(times, "torch"), times["ours"], "3")


def memory(out: Printed) -> None:
    """The most memory that training adds to a process that holds a table of a million rows and 40 columns (Linux)."""
    code = """
import numpy as np
from tabcohort import CohortSettings, Config, fit, Table
def megabytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))
rng = np.random.default_rng(0)
table = Table.from_arrays(rng.standard_normal((1_000_000, 40)), rng.integers(2, size=1_000_000))
settings = CohortSettings({shape})
fit(Table.from_arrays(table.X[:500], table.y[:500]), Config(max_epochs=1), settings)
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # forget the peak so far
before = megabytes("VmRSS")
fit(table, Config(hidden=(64,), max_epochs=1), settings)
print(megabytes("VmHWM") - before)
"""
    table = 1_000_000 * 40 * 4 / 2**20
    for name, shape in (("one network", "folds=1, seeds=1"), ("5 networks on 2 threads", "folds=5, seeds=1")):
        command = [sys.executable, "-c", code.replace("{shape}", shape)]
        added = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        out.add_row(
            f"memory that training adds, {name}", f"{table:,.0f} MB as float32", "", f"{added:,.0f} MB", "",
            f"at most {1.5 * table + 64:,.0f} MB",
        )  # fmt: skip


def starts(out: Printed) -> None:
    """From `python` to the end of the first epoch: with machine code to compile, and with a cache of it."""
    code = """
import numpy as np
from tabcohort import Config, fit, Table
X = np.random.default_rng(0).normal(size=(500, 10))
def stop(progress): raise SystemExit
fit(Table.from_arrays(X, X[:, 0] > 0), callback=stop)
"""
    with tempfile.TemporaryDirectory() as cache:
        times = []
        for _ in range(REPEATS + 1):
            began = time.perf_counter()
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, check=True)
            times.append(time.perf_counter() - began)
    out.add_row("from `python` to the first epoch done, once", "", "", f"{times[0]:.1f} s", "", "at most 15 s")
    kept = statistics.median(times[1:])
    out.add_row("from `python` to the first epoch done, later", "", "", f"{kept:.2f} s", "", "at most 1.5 s")


def add(out: Printed, name: str, other: str, theirs: float, ours: float, wanted: str) -> None:
    """Add a row that compares two times."""
    out.add_row(name, other, shown(theirs), shown(ours), f"{theirs / ours:.1f}", wanted)


def shown(seconds: float) -> str:
    """Return a time for people."""
    return f"{seconds * 1e3:,.1f} ms"


def main() -> None:
    """Print the table, or those of its parts that are asked for."""
    parts = {part.__name__: part for part in (cancer, cohort, wine, patent, prediction, memory, starts)}
    out = Printed("work", "beside", "takes", "ours takes", "times as fast", "wanted", box=None)
    try:
        for name in sys.argv[1:] or parts:
            parts[name](out)
    finally:  # a part that fails takes no minutes of the others with it
        Console(width=160).print(out)


if __name__ == "__main__":
    main()
