"""Tables that are larger than memory: a generated one, the time by rows, and the memory and speed of commands.

    make big-tables
    python benchmarks/big_tables.py write ROWS.parquet 20000000
    python benchmarks/big_tables.py rows ROWS.parquet 10000 100000 1000000 20000000
    python benchmarks/big_tables.py memory tabcohort fit ROWS.parquet --target outcome --preset fast --memory 1.5GB
    python benchmarks/big_tables.py predict 50000000

`rows` trains one network, of 16 bins of each number and a hidden layer of 64, on the first rows of the file: from a
store, and from memory as far as that goes. Beside them are ten rounds of LightGBM and an epoch of the eager PyTorch
loop (without bins, hidden layers of 64 and 32), on rows that are ready as float32. All run on one thread, and CPU
seconds are shown, which other work on the machine disturbs least; those of a pass are for all rows, though some test.

`memory` shows the peak of what the system counts for the process (which includes mapped pages of files), and of its
anonymous memory, which is sampled five times a second.

`predict` writes a file of ten numbers per row, and the predictions of a logistic regression for it.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markdown_table import as_markdown
from reference_loops import eager_mlp

from tabcohort import CohortSettings, Config, Table, fit, save, stream_table
from tabcohort.cohort.members import train_member
from tabcohort.cohort.plan import make_plan
from tabcohort.engines.windows import n_windows_of

ROWS_PER_GROUP = 262_144
N_FLOATS, N_DOUBLES, N_WHOLES = 16, 4, 4
LEVELS = (3, 4, 5, 6, 8, 12, 20, 40, 80, 150, 400, 1_000, 3_000)  # of each category


def row_group(n_rows: int, group: int, seed: int = 0) -> pa.Table:
    """Return some rows of 40 columns, the last of which is the target; equal arguments give equal rows.

    Args:
        n_rows: number of rows.
        group: number of the row group, which with the seed selects the random numbers.
        seed: of the whole table.
    """
    rng = np.random.default_rng([seed, group])
    columns: dict[str, pa.Array] = {}
    floats = rng.standard_normal((N_FLOATS, n_rows), dtype=np.float32)
    for number, cells in enumerate(floats):
        columns[f"float_{number}"] = pa.array(cells, mask=rng.random(n_rows) < 0.03 if number % 4 == 3 else None)
    for number in range(N_DOUBLES):
        columns[f"double_{number}"] = pa.array(np.exp(rng.standard_normal(n_rows) * (1 + number)))
    wholes = rng.poisson(np.array([[2.0], [15.0], [90.0], [700.0]]), (N_WHOLES, n_rows)).astype(np.int32)
    for number, cells in enumerate(wholes):
        columns[f"whole_{number}"] = pa.array(cells)
    score = floats[0] + 0.8 * floats[1] * floats[2] + np.sin(2 * floats[4]) + 0.3 * (wholes[0] - 2.0)
    for n_levels in LEVELS:
        codes = np.minimum(rng.geometric(3 / (n_levels + 3), n_rows) - 1, n_levels - 1).astype(np.int32)
        names = pa.array([f"level {code}" for code in range(n_levels)])
        columns[f"category_{n_levels}"] = pa.DictionaryArray.from_arrays(pa.array(codes), names)
        score += np.random.default_rng(n_levels).normal(0, 0.4, n_levels)[codes]
    is_member = rng.random(n_rows) < 0.3
    columns["member"] = pa.array(is_member)
    days = 15_000 + rng.integers(0, 2_000, n_rows)
    columns["day"] = pa.array(days.astype(np.int32), pa.date32())
    score += 0.5 * is_member + 0.4 * np.sin(days * 2 * np.pi / 365) - 1
    columns["outcome"] = pa.array(np.where(rng.random(n_rows) < 1 / (1 + np.exp(-score)), "yes", "no"))
    return pa.table(columns)


def write_rows(path: str | Path, n_rows: int, seed: int = 0) -> None:
    """Write a Parquet file of this many rows, in row groups."""
    with pq.ParquetWriter(path, row_group(1, 0, seed).schema, compression="zstd") as writer:
        for group, start in enumerate(range(0, n_rows, ROWS_PER_GROUP)):
            writer.write_table(row_group(min(ROWS_PER_GROUP, n_rows - start), group, seed))


N_REPEATS, N_EPOCHS, N_ROUNDS = 3, 2, 10
MAX_ROWS_IN_MEMORY = 5_000_000
CONFIG = Config(model="mlp", hidden=(64,), bins=16, dropout=0.2, max_epochs=N_EPOCHS, patience=None, batch_size=256)
SERIES = {
    "store": "tabcohort, from a store: a pass",
    "memory": "tabcohort, in memory: a pass",
    "build": "building the store",
    "lightgbm": f"LightGBM: {N_ROUNDS} rounds",
    "eager": "eager PyTorch, two layers: a pass",
}


def microseconds_per_row(table: Table) -> float:
    """Return the CPU time that one network takes for each of its training rows in a pass over them."""
    plan = make_plan(table, CONFIG, CohortSettings(folds=4, seeds=1))
    times: list[float] = []
    train_member(
        plan, table.stored_rows() if table.disk is None else None, None, plan.members[0],
        callback=lambda state: times.append(time.thread_time()),
    )  # fmt: skip
    n_train = plan.split(plan.members[0]).n_train
    return (times[-1] - times[-2]) / (n_train // (1 if table.disk is None else n_windows_of(n_train))) * 1e6


def microseconds_of_others(table: Table) -> tuple[float, float]:
    """Return the CPU time of LightGBM's rounds, and of an epoch of the eager PyTorch loop, for each row."""
    import lightgbm
    import torch

    torch.set_num_threads(1)
    X, y = np.nan_to_num(table.X.astype(np.float32)), table.y.astype(np.float32)
    eager_mlp(X[:512], y[:512], X[:256], y[:256], (64, 32), 1, 256)  # the first call of PyTorch takes a second
    began = time.process_time()
    lightgbm.train({"objective": "binary", "num_threads": 1, "verbose": -1}, lightgbm.Dataset(X, y), N_ROUNDS)
    grown = time.process_time()
    eager_mlp(X, y, X[:256], y[:256], (64, 32), 1, 256)
    return (grown - began) / len(X) * 1e6, (time.process_time() - grown) / len(X) * 1e6


def measure_rows(path: str, n_rows: int) -> dict[str, float]:
    """Return the CPU microseconds per row of each series for the first rows of a file."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(path)
        if pq.read_metadata(path).num_rows > n_rows:
            part = Path(folder, "rows.parquet")
            write_first_rows(path, part, n_rows)
        began = time.process_time()
        tables = {"store": stream_table(part, "outcome")}
        measured = {"build": (time.process_time() - began) / n_rows * 1e6}
        if n_rows <= MAX_ROWS_IN_MEMORY:
            tables["memory"] = Table.from_file(part, "outcome")
        for _ in range(N_REPEATS):
            for name, table in tables.items():
                measured[name] = min(measured.get(name, np.inf), microseconds_per_row(table))
        if n_rows <= MAX_ROWS_IN_MEMORY:
            measured["lightgbm"], measured["eager"] = microseconds_of_others(tables["memory"])
        return measured


def compare_rows(path: str, sizes: list[int], picture: str) -> None:
    """Print the time for some numbers of rows, and draw it."""
    measured = {}
    for n_rows in sizes:
        measured[n_rows] = measure_rows(path, n_rows)
        print(n_rows, {name: round(value, 3) for name, value in measured[n_rows].items()}, flush=True)
    lines = []
    for n_rows, values in measured.items():
        shown = [f"{values[name]:.3g}" if name in values else "" for name in SERIES]
        ratio = f"{values['store'] / values['memory']:.3g}" if "memory" in values else ""
        lines.append([f"{n_rows:,}", *shown, ratio])
    print(as_markdown(["rows", *SERIES.values(), "store / memory"], lines))
    for name, label in SERIES.items():
        rows = [n_rows for n_rows in measured if name in measured[n_rows]]
        slope = np.polyfit(np.log(rows), np.log([measured[n][name] * n for n in rows]), 1)[0]
        print(f"{label}: time grows with the rows to the power {slope:.2f}")
    draw_rows(measured, picture)


def draw_rows(measured: dict[int, dict[str, float]], picture: str) -> None:
    """Draw the seconds of each series over the rows, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, label in SERIES.items():
        rows = [n_rows for n_rows in measured if name in measured[n_rows]]
        axes.loglog(rows, [measured[n][name] * n / 1e6 for n in rows], marker="o", label=label)
    axes.set_xlabel("rows")
    axes.set_ylabel("CPU seconds on one thread")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=110)


def write_first_rows(source: str, path: Path, n_rows: int) -> None:
    """Copy the first rows of a Parquet file."""
    with pq.ParquetFile(source) as file, pq.ParquetWriter(path, file.schema_arrow) as writer:
        for batch in file.iter_batches(65_536):
            writer.write_batch(batch.slice(0, n_rows))
            n_rows -= len(batch)
            if n_rows <= 0:
                return


def measure_memory(command: list[str]) -> None:
    """Run a command, and print the peaks of its memory."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            text = ""
        peak = max(peak, *(int(number) for number in re.findall(r"^Anonymous: +(\d+)", text, re.MULTILINE)), 0)
        time.sleep(0.2)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"status {process.returncode}, {time.perf_counter() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} CPU s, "
        f"peak {used.ru_maxrss / 1e6:.2f} GB, anonymous {peak / 1e6:.2f} GB"
    )


def predict_rows(n_rows: int) -> None:
    """Time `tabcohort predict` of a logistic regression on rows of ten numbers."""
    rng, names = np.random.default_rng(0), [f"x{number}" for number in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        path, model, out = (str(Path(folder, name)) for name in ("rows.parquet", "m.tabcohort", "p.parquet"))
        with pq.ParquetWriter(path, pa.schema([(name, pa.float32()) for name in names])) as writer:
            for start in range(0, n_rows, ROWS_PER_GROUP):
                cells = rng.standard_normal((10, min(ROWS_PER_GROUP, n_rows - start)), np.float32)
                writer.write_table(pa.table(dict(zip(names, cells, strict=True))))
        X = rng.standard_normal((5_000, 10), np.float32)
        y = X[:, 0] + 2 * X[:, 1] + rng.standard_normal(5_000) > 0
        table = Table.from_arrays(X, y, features=names)
        save(fit(table, Config(model="logistic"), CohortSettings(folds=3, seeds=1)), model)
        command = [sys.executable, "-m", "tabcohort", "predict", model, path, "--out", out, "--memory", "1GB"]
        began = time.perf_counter()
        measure_memory([*command, "--columns", "none"])
        seconds = time.perf_counter() - began
        print(f"{n_rows:,} rows in {seconds:.1f} s: {n_rows / seconds:,.0f} rows a second, with starting the command")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write")
    write.add_argument("path")
    write.add_argument("rows", type=int)
    write.add_argument("--seed", type=int, default=0)
    rows = commands.add_parser("rows")
    rows.add_argument("path")
    rows.add_argument("rows", type=int, nargs="+")
    rows.add_argument("--picture", default=str(Path(__file__).with_name("big_tables.png")))
    predict = commands.add_parser("predict")
    predict.add_argument("rows", type=int)
    commands.add_parser("memory").add_argument("of", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.command == "write":
        write_rows(options.path, options.rows, options.seed)
    elif options.command == "rows":
        compare_rows(options.path, options.rows, options.picture)
    elif options.command == "predict":
        predict_rows(options.rows)
    else:
        measure_memory(options.of)
