"""How one epoch's time grows with rows, columns, width and members, beside PyTorch, from one run on an idle machine.

    make scale

All train the same multilayer perceptron: AdamW, dropout 0.1, batches of 256 (32 below 5,000 rows), with 80 % of the
rows training and 20 % passed through the network after each epoch. Each point alternates between the compiled engine
on one thread, our torch engine on one thread, and the best eager loop on one and on two threads, of which the better
counts. It shows medians of three, or of five where a point is short.

Only epochs are timed: the clock starts when engine or module is made, and stops when the last epoch's losses are
known. Eager PyTorch has its rows standardised beforehand and keeps no best weights; ours do both within the epochs.

Members are whole trainings, set-up included on all sides, divided by the number of epochs: where they run side by
side, one's set-up falls into another's epochs. Ours run on two threads. PyTorch trains them one after another, and
what it takes for more than four is extrapolated (~). Two processes could halve that at best.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from reference_loops import FloatMatrix, eager_mlp
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Printed

from tabcohort import Roles, Settings, Table, make_table
from tabcohort.engines.compiled import CompiledEngine, one_blas_thread
from tabcohort.member import in_threads, train_member, training_statistics
from tabcohort.modules import TorchNetworkEngine
from tabcohort.program import draw_network, program_of

FEWEST_REPEATS, MOST_REPEATS, SHORT_SECONDS = 3, 5, 4.0
ROWS_OF_A_MEASUREMENT, PRODUCTS_OF_A_MEASUREMENT = 80_000, 5_000_000_000
MOST_MEMBERS_IN_TURN = 4  # that PyTorch is measured with
COMPILED, TORCH, EAGER = "compiled", "torch", "eager"
TITLES = {COMPILED: "compiled engine", TORCH: "our torch engine", EAGER: "best eager PyTorch"}
FOLDER = Path(__file__).parent

Work = Callable[[], float]  # returns the seconds that count


@dataclass(frozen=True)
class Point:
    """One piece of work: the size of the table, the network, and how many members train."""

    value: int
    n_rows: int = 20_000
    n_columns: int = 30
    hidden: tuple[int, ...] = (64, 32)
    n_members: int = 1

    @property
    def n_epochs(self) -> int:
        """Epochs of one measurement: many where they are short."""
        products = sum(d_in * d_out for d_in, d_out in pairwise((self.n_columns, *self.hidden, 1))) * self.n_rows
        return max(1, min(ROWS_OF_A_MEASUREMENT // self.n_rows, PRODUCTS_OF_A_MEASUREMENT // products))

    @property
    def settings(self) -> Settings:
        """How ours train."""
        batch_size = 32 if self.n_rows < 5_000 else 256
        return Settings(
            model="mlp", hidden=self.hidden, batch_size=batch_size, max_epochs=self.n_epochs, patience=None
        )


@dataclass(frozen=True)
class Series:
    """Points that differ in one thing: its name, what one of it is called, what is the same for all, and the points."""

    name: str
    axis: str
    same: str
    points: tuple[Point, ...]


SERIES = (
    Series(
        "rows",
        "rows of the table",
        "30 columns, hidden (64, 32)",
        tuple(Point(n, n_rows=n) for n in (1_000, 10_000, 100_000, 1_000_000)),
    ),
    Series(
        "columns",
        "columns of the table",
        "20,000 rows, hidden (64, 32)",
        tuple(Point(n, n_columns=n) for n in (10, 30, 100, 300, 1_000)),
    ),
    Series(
        "width",
        "width w of both hidden layers",
        "20,000 rows, 30 columns, hidden (w, w)",
        tuple(Point(w, hidden=(w, w)) for w in (16, 64, 256, 1_024)),
    ),
    Series(
        "members",
        "members",
        "569 rows, 30 columns, hidden (64, 32)",
        tuple(Point(n, n_rows=569, n_members=n) for n in (1, 4, 16, 64, 256)),
    ),
)


@dataclass(frozen=True)
class Measured:
    """What a point takes.

    Args:
        point: what was measured.
        seconds: of one epoch of all members, by who trains them.
        eager_threads: the number of threads that the eager loop was faster on.
        is_extrapolated: whether PyTorch's times are those of fewer members, multiplied.
    """

    point: Point
    seconds: dict[str, float]
    eager_threads: int
    is_extrapolated: bool = False

    def ratio(self, other: str) -> float:
        """Return how many times as fast as another the compiled engine is."""
        return self.seconds[other] / self.seconds[COMPILED]

    @property
    def fastest_torch(self) -> str:
        """Whichever of the two that use PyTorch is faster."""
        return min(TORCH, EAGER, key=lambda name: self.seconds[name])


def draw_rows(point: Point) -> tuple[FloatMatrix, FloatMatrix]:
    """Return random rows, and labels that a network can learn."""
    X = np.random.default_rng(0).standard_normal((point.n_rows, point.n_columns), dtype=np.float32)
    return X, (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(np.float32)


def train_in(
    engine: type[CompiledEngine] | type[TorchNetworkEngine], table: Table, roles: Roles, settings: Settings
) -> float:
    """Train one member, and return the seconds from the engine's being ready to the end of the last epoch."""
    program = program_of(settings, table.X.shape[1], len(table.schema.classes))
    statistics_ = training_statistics(table, roles)
    network = draw_network(program, settings.seed).with_statistics(statistics_)
    times = []

    def make_engine(data):  # type: ignore[no-untyped-def]
        made = engine(network, data, settings)
        times.append(time.perf_counter())
        return made

    train_member(
        make_engine,
        table,
        roles,
        settings,
        statistics=statistics_,
        has_batch_norm=program.has_batch_norm,
        watch=lambda progress: times.append(time.perf_counter()),
    )
    return times[-1] - times[0]


def work_of(point: Point) -> dict[str, tuple[Work, int]]:
    """Return what each competitor does at a point, and PyTorch's number of threads meanwhile."""
    X, y = draw_rows(point)
    n_train = point.n_rows * 4 // 5
    rows = np.arange(point.n_rows)
    table, roles = make_table(X.astype(np.float64), y), Roles(rows[:n_train], rows[n_train:], rows[:0])
    parts = (X[:n_train], y[:n_train], X[n_train:], y[n_train:])
    settings = point.settings

    def compiled() -> float:
        return train_in(CompiledEngine, table, roles, settings)

    def torch_engine() -> float:
        return train_in(TorchNetworkEngine, table, roles, settings)

    def eager() -> float:
        return eager_mlp(*parts, point.hidden, point.n_epochs, int(settings.batch_size))

    return {
        COMPILED: (side_by_side(compiled, point.n_members), 1),
        TORCH: (in_turn(torch_engine, point.n_members), 1),
        f"{EAGER}, 1": (in_turn(eager, point.n_members), 1),
        f"{EAGER}, 2": (in_turn(eager, point.n_members), 2),
    }


def side_by_side(train: Work, n_members: int) -> Work:
    """Return the training of so many members on two threads, timed as a whole."""
    return timed(lambda: in_threads([train] * n_members, 2))


def in_turn(train: Work, n_members: int) -> Work:
    """Return the training of so many members one after another, timed as a whole."""
    return timed(lambda: [train() for _ in range(n_members)])


def timed(run: Callable[[], object]) -> Work:
    """Return work that is timed from its beginning to its end."""

    def whole() -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    return whole


def medians(work: dict[str, tuple[Work, int]]) -> dict[str, float]:
    """Return the median seconds of each piece of work, run in turn with PyTorch on so many threads."""
    times: dict[str, list[float]] = {name: [] for name in work}
    began = time.perf_counter()
    for repeat in range(MOST_REPEATS):
        if repeat >= FEWEST_REPEATS and time.perf_counter() - began > SHORT_SECONDS:
            break
        for name, (run, n_threads) in work.items():
            torch.set_num_threads(n_threads)
            times[name].append(run())
    torch.set_num_threads(1)
    return {name: statistics.median(values) for name, values in times.items()}
