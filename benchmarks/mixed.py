"""What typed columns cost: an epoch on mixed columns beside their numbers alone, one record, and a large table.

    make mixed

Each pair alternates in one run, three times, and medians are compared. `adult` needs the folder that TABCOHORT_DATA
names.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from members import train_member
from real_tables import whole_tables
from rich.console import Console
from rich.table import Table as Printed

from tabcohort import CohortSettings, Config, Table, fit
from tabcohort.cohort.presets import preset_configs
from tabcohort.data.splits import train_validation_test_split
from tabcohort.engines.compiled.engine import CompiledEngine

REPEATS, EPOCHS = 3, 4
ONE_NETWORK = CohortSettings(folds=1, seeds=1)
N_COLUMNS = 10  # of each of three types


def mixed_frame(n_rows: int) -> pl.DataFrame:
    """Return ten columns of numbers, ten of few levels and ten of many, some cells missing, and a target."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(n_rows, N_COLUMNS))
    few, many = rng.integers(5, size=(n_rows, N_COLUMNS)), rng.integers(300, size=(n_rows, N_COLUMNS))
    score = numbers[:, 0] + 0.5 * few[:, 0] + np.sin(many[:, 0]) + rng.normal(size=n_rows)
    numbers[rng.random(numbers.shape) < 0.05] = np.nan
    columns = {f"number {i}": numbers[:, i] for i in range(N_COLUMNS)}
    columns |= {f"few {i}": np.char.add("level ", few[:, i].astype(str)) for i in range(N_COLUMNS)}
    columns |= {f"many {i}": np.char.add("level ", many[:, i].astype(str)) for i in range(N_COLUMNS)}
    return pl.DataFrame({**columns, "y": np.where(score > np.median(score), "yes", "no")})


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def epoch_of_adult(out: Printed) -> None:
    """One network on adult: all columns, beside its numbers alone."""
    adult = next((table for table in whole_tables() if table.name == "adult"), None)
    if adult is None:
        return
    numbers = [name for name in adult.frame.columns if name not in (*adult.categories, adult.target)]
    whole = Table.from_frame(adult.frame, adult.target)
    plain = Table.from_frame(
        adult.frame.select(*numbers, adult.target), adult.target, types=dict.fromkeys(numbers, "number")
    )
    config = Config(max_epochs=EPOCHS, patience=None)
    split = train_validation_test_split(whole, config)
    times: dict[str, list[float]] = {"whole": [], "numbers": []}
    for _ in range(REPEATS + 1):
        for name, table in (("whole", whole), ("numbers", plain)):
            times[name].append(seconds_of(lambda table=table: train_member(CompiledEngine, table, split, config)))
    ours, other = (statistics.median(times[name][1:]) / EPOCHS for name in ("whole", "numbers"))
    out.add_row(
        "adult, an epoch of one network", f"its {len(numbers)} numbers alone: {other * 1e3:,.0f} ms",
        f"{ours * 1e3:,.0f} ms", f"{ours / other:.2f}", "at most 1.3",
    )  # fmt: skip


def one_record(out: Printed) -> None:
    """One record of thirty mixed columns through one network."""
    frame = mixed_frame(2_000)
    predictor = fit(Table.from_frame(frame, "y"), Config(max_epochs=2), ONE_NETWORK)
    record = frame.drop("y").row(0, named=True)
    predictor.predict_row(record)
    times = [seconds_of(lambda: predictor.predict_row(record)) for _ in range(2_000)]
    out.add_row("one record of 30 mixed columns", "", f"{statistics.median(times) * 1e6:,.0f} us", "", "at most 150 us")


def large_table(out: Printed) -> None:
    """100,000 rows of thirty mixed columns, the default cohort, in a process of its own."""
    code = (
        "import resource, sys, time; sys.path.insert(0, 'benchmarks'); from mixed import *; "
        "began = time.perf_counter(); "
        "fit(Table.from_frame(mixed_frame(100_000), 'y')); "
        "print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    seconds, gib = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    shown = f"{float(seconds):,.0f} s, {float(gib):.2f} GiB"
    out.add_row("100,000 rows x 30 mixed columns, default cohort", "", shown, "", "5 min, 2 GB")


def memory_of_rows(out: Printed) -> None:
    """1,000,000 rows of thirty mixed columns: what the table holds, and the peak while a cohort trains."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        mixed_frame(1_000_000).write_parquet(path)
        code = "import sys; sys.path.insert(0, 'benchmarks'); from mixed import *; print(*rows_in_memory(sys.argv[1]))"
        command = [sys.executable, "-W", "ignore", "-c", code, str(path)]
        held, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    out.add_row("1,000,000 rows x 30 mixed columns", "", f"{held} MiB, training {peak} MiB", "", "293 MiB")


def rows_in_memory(path: str) -> tuple[int, int]:
    """Return by how many MiB a file's table, and a cohort's training on it, raise the memory of a process (Linux)."""
    fit_fast_preset(Table.from_frame(mixed_frame(2_000), "y"))  # what is loaded once is not counted
    before = resident_mib()
    table = Table.from_file(path, "y")
    time.sleep(2)  # after which Polars returns what it freed, when it is next called
    pl.DataFrame({"a": [1]}).filter(pl.col("a") > 0)
    held, sizes, is_over = resident_mib(), [0.0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.01):
            sizes.append(resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    fit_fast_preset(table)
    is_over.set()
    watcher.join()
    return round(held - before), round(max(sizes) - before)


def fit_fast_preset(table: Table) -> None:
    """Train the fast preset on three folds, one epoch or round per member."""
    configs = [replace(config, max_epochs=1) for config in preset_configs("fast")]
    fit(table, configs, CohortSettings(folds=3, seeds=1))


def resident_mib() -> float:
    """Return the memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    """Print the table, or those of its parts that are named."""
    warnings.simplefilter("ignore")
    parts = {part.__name__: part for part in (one_record, epoch_of_adult, large_table, memory_of_rows)}
    out = Printed("work", "beside", "takes", "ratio", "wanted", box=None)
    for name in sys.argv[1:] or parts:
        parts[name](out)
    Console(width=140).print(out)


if __name__ == "__main__":
    main()
