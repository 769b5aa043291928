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
what it takes for more than four is extrapolated (~); in two processes it would take half of that at best.

Passes over 10,000 to 20 million rows, in memory and from a store, are in big_tables.md, beside LightGBM and PyTorch.
"""

from __future__ import annotations

import os
import platform
import statistics
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from members import run_in_threads, train_member
from reference_loops import FloatMatrix, eager_mlp
from rich.console import Console
from rich.progress import track
from rich.table import Table as Printed

from tabcohort import Config, Network, Split, Table
from tabcohort.engines.compiled.blas import one_blas_thread
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.training.module import TorchNetworkEngine

MIN_REPEATS, MAX_REPEATS, SHORT_SECONDS = 3, 5, 4.0
ROWS_OF_A_MEASUREMENT, PRODUCTS_OF_A_MEASUREMENT = 80_000, 5_000_000_000
MAX_MEMBERS_IN_TURN = 4  # that PyTorch is measured with
COMPILED, TORCH, EAGER = "compiled", "torch", "eager"
TITLES = {COMPILED: "compiled engine", TORCH: "our torch engine", EAGER: "best eager PyTorch"}
FOLDER = Path(__file__).parent

Work = Callable[[], float]  # returns the seconds that count


@dataclass(frozen=True)
class Point:
    """One piece of work: its place on the axis, the size of the table, the network, and how many members train."""

    value: int
    n_rows: int = 20_000
    n_columns: int = 30
    hidden: tuple[int, ...] = (64, 32)
    n_members: int = 1

    @property
    def n_epochs(self) -> int:
        """Number of epochs of one measurement: many where they are short."""
        products = sum(d_in * d_out for d_in, d_out in pairwise((self.n_columns, *self.hidden, 1))) * self.n_rows
        return max(1, min(ROWS_OF_A_MEASUREMENT // self.n_rows, PRODUCTS_OF_A_MEASUREMENT // products))


@dataclass(frozen=True)
class Measured:
    """What one epoch of all members takes at a point.

    Args:
        point: what was measured.
        seconds: by who trains them.
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
    def best_torch(self) -> str:
        """Which of the two that use PyTorch is faster."""
        return min((TORCH, EAGER), key=lambda name: self.seconds[name])


def sample_rows(point: Point) -> tuple[FloatMatrix, FloatMatrix]:
    """Return random rows, and labels that a network can learn."""
    X = np.random.default_rng(0).standard_normal((point.n_rows, point.n_columns), dtype=np.float32)
    return X, (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(np.float32)


def train_in(
    engine: type[CompiledEngine] | type[TorchNetworkEngine], table: Table, split: Split, config: Config
) -> float:
    """Train one member, and return the seconds from when its engine is made to the end of its last epoch."""
    times = []

    def make_engine(network: Network, data: MemberData, config: Config) -> Engine:
        made = engine(network, data, config)
        times.append(time.perf_counter())
        return made

    train_member(make_engine, table, split, config, callback=lambda state: times.append(time.perf_counter()))
    return times[-1] - times[0]


def trainings_at(point: Point) -> dict[str, Work]:
    """Return the training of one member by each competitor."""
    X, y = sample_rows(point)
    n_train, rows = point.n_rows * 4 // 5, np.arange(point.n_rows)
    table, split = Table.from_arrays(X.astype(np.float64), y), Split(rows[:n_train], rows[n_train:], rows[:0])
    parts = (X[:n_train], y[:n_train], X[n_train:], y[n_train:])
    batch_size = 32 if point.n_rows < 5_000 else 256
    config = Config(model="mlp", hidden=point.hidden, batch_size=batch_size, max_epochs=point.n_epochs, patience=None)
    return {
        COMPILED: lambda: train_in(CompiledEngine, table, split, config),
        TORCH: lambda: train_in(TorchNetworkEngine, table, split, config),
        EAGER: lambda: eager_mlp(*parts, point.hidden, point.n_epochs, batch_size),
    }


def medians(work: dict[str, tuple[Work, int]], n_epochs: int) -> dict[str, float]:
    """Return the median seconds per epoch of each piece of work, run in turn with PyTorch on so many threads."""
    times: dict[str, list[float]] = {name: [] for name in work}
    began = time.perf_counter()
    for repeat in range(MAX_REPEATS):
        if repeat >= MIN_REPEATS and time.perf_counter() - began > SHORT_SECONDS:
            break
        for name, (run, n_threads) in work.items():
            torch.set_num_threads(n_threads)
            times[name].append(run() / n_epochs)
    torch.set_num_threads(1)
    return {name: statistics.median(values) for name, values in times.items()}


def in_pytorch(torch_engine: Work, eager: Work) -> dict[str, tuple[Work, int]]:
    """Return the work that PyTorch does, the eager loop on one thread and on two."""
    return {TORCH: (torch_engine, 1), **{f"{EAGER} {n}": (eager, n) for n in (1, 2)}}


def measured(point: Point, times: dict[str, float]) -> Measured:
    """Return the times at a point, with the better of the two eager ones."""
    n_threads = min((1, 2), key=lambda n: times[f"{EAGER} {n}"])
    seconds = {COMPILED: times[COMPILED], TORCH: times[TORCH], EAGER: times[f"{EAGER} {n_threads}"]}
    return Measured(point, seconds, n_threads)


def measure_one_member(points: Sequence[Point]) -> list[Measured]:
    """Measure the epochs of one member at each point."""
    results = []
    for point in track(points, transient=True):
        train = trainings_at(point)
        work = {COMPILED: (train[COMPILED], 1), **in_pytorch(train[TORCH], train[EAGER])}
        results.append(measured(point, medians(work, point.n_epochs)))
    return results


def measure_members(points: Sequence[Point]) -> list[Measured]:
    """Measure members side by side in the compiled engine; in PyTorch one after another, up to a few."""
    results: list[Measured] = []
    for point in track(points, transient=True):
        train, n = trainings_at(point), point.n_members
        work = {COMPILED: (timed(lambda run=train[COMPILED], n=n: run_in_threads([run] * n, 2)), 1)}
        if n <= MAX_MEMBERS_IN_TURN:
            turns = [timed(lambda run=train[name], n=n: [run() for _ in range(n)]) for name in (TORCH, EAGER)]
            results.append(measured(point, medians({**work, **in_pytorch(*turns)}, point.n_epochs)))
        else:
            last = results[-1]
            seconds = {name: value / last.point.n_members * n for name, value in last.seconds.items()}
            seconds[COMPILED] = medians(work, point.n_epochs)[COMPILED]
            results.append(Measured(point, seconds, last.eager_threads, is_extrapolated=True))
    return results


def timed(run: Callable[[], object]) -> Work:
    """Return work whose every second counts."""

    def whole() -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    return whole


@dataclass(frozen=True)
class Series:
    """Points that differ in one thing: its name, what the axis says, what all have in common, how they are measured."""

    name: str
    axis: str
    common: str
    points: tuple[Point, ...]
    measure: Callable[[Sequence[Point]], list[Measured]] = measure_one_member


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
        "width w of each hidden layer",
        "20,000 rows, 30 columns, hidden (w, w)",
        tuple(Point(w, hidden=(w, w)) for w in (16, 64, 256, 1_024)),
    ),
    Series(
        "members",
        "members",
        "569 rows, 30 columns, hidden (64, 32)",
        tuple(Point(n, n_rows=569, n_members=n) for n in (1, 4, 16, 64, 256)),
        measure_members,
    ),
)


def verdict(series: Series, results: Sequence[Measured]) -> str:
    """Say in a sentence where PyTorch is faster than the compiled engine, or where it comes nearest."""
    ahead = [result for result in results if result.ratio(result.best_torch) < 1]
    if not ahead:
        nearest = min(results, key=lambda result: result.ratio(result.best_torch))
        times = f"{nearest.ratio(nearest.best_torch):.2f}"
        return (
            f"By {series.name}, PyTorch overtakes nowhere between {results[0].point.value:,} and "
            f"{results[-1].point.value:,}; it comes nearest at {nearest.point.value:,}, where the compiled engine is "
            f"{times} times as fast as {who(nearest)}."
        )
    places = [
        f"at {result.point.value:,} ({who(result)} is {1 / result.ratio(result.best_torch):.2f} times as fast)"
        for result in ahead
    ]
    return f"By {series.name}, PyTorch overtakes {', '.join(places)}; at the other points the compiled engine is ahead."


def who(result: Measured) -> str:
    """Name the faster of the two that use PyTorch."""
    threads = f" on {in_words(result.eager_threads)}" if result.best_torch == EAGER else ""
    return f"{TITLES[result.best_torch]}{threads}"


def in_words(n_threads: int) -> str:
    """Return a number of threads for people."""
    return f"{n_threads} thread{'s' * (n_threads > 1)}"


def cells(result: Measured) -> list[str]:
    """Return a point's line of the table."""
    about = "~" if result.is_extrapolated else ""
    times = {name: f"{seconds * 1e3:,.2f}" for name, seconds in result.seconds.items()}
    return [
        f"{result.point.value:,}", times[COMPILED], about + times[TORCH], about + times[EAGER],
        str(result.eager_threads), *(f"{about}{result.ratio(name):.2f}" for name in (TORCH, EAGER)),
    ]  # fmt: skip


def title_of(series: Series) -> str:
    """Return what stands above a table."""
    return f"{series.name.capitalize()}: milliseconds per epoch of {series.common}"


def heads(series: Series) -> list[str]:
    """Return the heads of a table's columns."""
    times = [f"{TITLES[name]}, ms" for name in TITLES]
    return [series.name, *times, "its threads", "torch engine / compiled", "best eager / compiled"]


def machine() -> str:
    """Name the CPU and the number of cores."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores, PyTorch {torch.__version__}"


def print_table(series: Series, results: Sequence[Measured]) -> None:
    """Print one series."""
    out = Printed(title=title_of(series), title_justify="left", box=None)
    for head in heads(series):
        out.add_column(head, justify="right", max_width=18)
    for result in results:
        out.add_row(*cells(result))
    console = Console(width=130)
    console.print(out)
    console.print(f"{verdict(series, results)}\n", highlight=False)


def markdown(measurements: Sequence[tuple[Series, Sequence[Measured]]]) -> str:
    """Return all tables as Markdown."""
    method = textwrap.dedent(__doc__ or "").split("\n\n", 2)[2]
    parts = ["# How one epoch's time grows", f"`make scale` writes this. Measured on {machine()}.", method.strip()]
    parts.append("![Time of one epoch by rows, columns, width and members](scaling.png)")
    for series, results in measurements:
        lines = [heads(series), ["---:"] * len(heads(series)), *(cells(result) for result in results)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts += [f"## {title_of(series)}", table, verdict(series, results)]
    return "\n\n".join(parts) + "\n"


STYLES = {
    COMPILED: {"color": "black", "linestyle": "-", "marker": "o"},
    TORCH: {"color": "tab:orange", "linestyle": "--", "marker": "s"},
    EAGER: {"color": "tab:blue", "linestyle": ":", "marker": "^"},
}


def draw(measurements: Sequence[tuple[Series, Sequence[Measured]]], path: Path) -> None:
    """Draw a panel for each series, both axes logarithmic; hollow marks are extrapolated."""
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    for axis, (series, results) in zip(figure.subplots(2, 2).flat, measurements, strict=True):
        draw_panel(axis, series, results)
    figure.savefig(path, dpi=120)


def draw_panel(axis: Axes, series: Series, results: Sequence[Measured]) -> None:
    """Draw the times of one series."""
    values = [result.point.value for result in results]
    n_extrapolated = sum(result.is_extrapolated for result in results)
    for name, style in STYLES.items():
        times = [result.seconds[name] * 1e3 for result in results]
        axis.plot(values, times, label=TITLES[name], **style)
        if n_extrapolated and name != COMPILED:
            hollow = {**style, "linestyle": "none", "markerfacecolor": "white", "zorder": 3}
            axis.plot(values[-n_extrapolated:], times[-n_extrapolated:], **hollow)
    axis.set(xscale="log", yscale="log", xlabel=series.axis, ylabel="one epoch (milliseconds)", title=series.common)
    axis.set_xticks(values, [f"{value:,}" for value in values])
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, title="hollow: extrapolated" if n_extrapolated else None)


def main() -> None:
    """Measure everything, print the tables, and write them and the picture beside this file."""
    measurements = []
    with one_blas_thread():
        measure_one_member([Point(0, n_rows=500)])  # machine code is loaded, PyTorch sets itself up
        for series in SERIES:
            results = series.measure(series.points)
            print_table(series, results)
            measurements.append((series, results))
    (FOLDER / "scaling.md").write_text(markdown(measurements))
    draw(measurements, FOLDER / "scaling.png")


if __name__ == "__main__":
    main()
