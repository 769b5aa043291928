"""Tables that are larger than memory: a generated one, the time of a pass over its rows, and the memory of a command.

    python benchmarks/big_tables.py write ROWS.parquet 20000000
    python benchmarks/big_tables.py passes ROWS.parquet 10000 100000 1000000
    python benchmarks/big_tables.py memory tabcohort fit ROWS.parquet --target outcome --preset fast --memory 1.5GB

`passes` trains one network, of 16 bins of each number and a hidden layer of 64, on the first rows of the file: from
memory and from a store, in turn. Beside them are ten rounds of LightGBM and an epoch of the eager PyTorch loop (without
bins, hidden layers of 64 and 32), on rows that are ready as float32. All run on one thread, and CPU seconds are shown,
which other work on the machine disturbs least.

`memory` shows the peak of what the system counts for the process (which includes mapped pages of files), and of its
anonymous memory, which is sampled five times a second.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markdown_table import as_markdown
from reference_loops import eager_mlp

from tabcohort import CohortSettings, Config, Table, stream_table
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
CONFIG = Config(model="mlp", hidden=(64,), bins=16, dropout=0.2, max_epochs=N_EPOCHS, patience=None, batch_size=256)


def seconds_per_pass(table: Table) -> float:
    """Return the CPU seconds that one network takes for a pass over its training rows."""
    plan = make_plan(table, CONFIG, CohortSettings(folds=4, seeds=1))
    times: list[float] = []
    train_member(
        plan, table.stored_rows(), None, plan.members[0], callback=lambda state: times.append(time.thread_time())
    )
    n_windows = 1 if table.disk is None else n_windows_of(plan.split(plan.members[0]).n_train)
    return (times[-1] - times[-2]) * n_windows


def seconds_of_others(table: Table) -> tuple[float, float]:
    """Return the CPU seconds of ten rounds of LightGBM, and of an epoch of the eager PyTorch loop."""
    import lightgbm
    import torch

    torch.set_num_threads(1)
    X, y = np.nan_to_num(table.X.astype(np.float32)), table.y.astype(np.float32)
    began = time.process_time()
    lightgbm.train({"objective": "binary", "num_threads": 1, "verbose": -1}, lightgbm.Dataset(X, y), N_ROUNDS)
    grown = time.process_time()
    eager_mlp(X, y, X[:256], y[:256], (64, 32), 1, 256)
    return grown - began, time.process_time() - grown


def compare_passes(path: str, sizes: list[int]) -> None:
    """Print the seconds of a pass over some numbers of rows."""
    lines = []
    for n_rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder, "rows.parquet")
            write_first_rows(path, part, n_rows)
            tables = {"memory": Table.from_file(part, "outcome"), "store": stream_table(part, "outcome")}
            seconds = dict.fromkeys(tables, np.inf)
            for _ in range(N_REPEATS):
                for name, table in tables.items():
                    seconds[name] = min(seconds[name], seconds_per_pass(table))
            others = seconds_of_others(tables["memory"])
            shown = (seconds["memory"], seconds["store"], seconds["store"] / seconds["memory"], *others)
            lines.append([f"{n_rows:,}", *(f"{value:.3g}" for value in shown)])
            print(lines[-1], flush=True)
    head = ["rows", "in memory, s", "from a store, s", "ratio", f"LightGBM, {N_ROUNDS} rounds, s", "eager PyTorch, s"]
    print(as_markdown(head, lines))


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write")
    write.add_argument("path")
    write.add_argument("rows", type=int)
    write.add_argument("--seed", type=int, default=0)
    passes = commands.add_parser("passes")
    passes.add_argument("path")
    passes.add_argument("rows", type=int, nargs="+")
    commands.add_parser("memory").add_argument("of", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.command == "write":
        write_rows(options.path, options.rows, options.seed)
    elif options.command == "passes":
        compare_passes(options.path, options.rows)
    else:
        measure_memory(options.of)
