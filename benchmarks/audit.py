"""Does the leak audit find planted leaks, and how often does it cry wolf?

    make audit

Ten kinds of leaks are planted in made tables, ten times each; clean tables count the columns that are named without a
reason. Then every file of the folder that TABCOHORT_DATA names is audited as it is: what recognition leaves out and
the audit names stands beside the columns that its manifest would drop.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from tabcohort import read_frame
from tabcohort.data.audit import audit
from tabcohort.data.columns import Column, Dropped
from tabcohort.data.labels import Finding
from tabcohort.data.recognize import recognize_columns

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "data"))
from planted_leaks import LEAKS, TARGET, clean_table

DATA_VARIABLE = "TABCOHORT_DATA"
SEEDS = range(10)


def audited(frame: pl.DataFrame, target: str) -> tuple[list[Column], tuple[Finding, ...]]:
    """Return a frame's columns and findings."""
    columns = recognize_columns(frame, [name for name in frame.columns if name != target])
    return columns, audit(frame, target, columns)


def print_planted(console: Console) -> None:
    """Print how often each leak is found, and how many kinds are found every time."""
    n_found = 0
    for plant, kind in LEAKS.items():
        times = 0
        for seed in SEEDS:
            frame = plant(clean_table(seed), np.random.default_rng(seed))
            _, findings = audited(frame, TARGET)
            times += any(
                finding.kind == kind and (not finding.columns or "planted" in finding.columns) for finding in findings
            )
        n_found += times == len(SEEDS)
        console.print(f"  {plant.__name__.replace('_', ' '):<28} {times} of {len(SEEDS)}")
    console.print(f"{n_found} of {len(LEAKS)} kinds of leaks found every time")


def print_false_alarms(console: Console) -> None:
    """Print how many findings clean tables have."""
    n_columns = n_alarms = 0
    for seed in range(100, 130):
        for n_rows, n_classes in ((80, 2), (600, 2), (3_000, 3)):
            columns, findings = audited(clean_table(seed, n_rows, n_classes), TARGET)
            n_columns += len(columns)
            for finding in findings:
                n_alarms += max(1, len(finding.columns))
                console.print(f"  {n_rows} rows: {finding}", markup=False)
    console.print(
        f"{20 * n_alarms / n_columns:.2f} false alarms per 20 columns of clean tables ({n_columns:,} columns)"
    )


def print_real_tables(console: Console, folder: Path) -> None:
    """Print what is left out and found in each table, beside what its manifest drops."""
    n_named = n_expected = 0
    for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["datasets"]:
        frame = read_frame(folder / entry["file"])
        began = time.perf_counter()
        columns, findings = audited(frame, entry["target"])
        seconds = time.perf_counter() - began
        dropped = [column.name for column in columns if isinstance(column, Dropped)]
        expected = entry["drop_columns"]
        named = {*dropped, *(name for finding in findings for name in finding.columns)}
        n_expected, n_named = n_expected + len(expected), n_named + len(named & set(expected))
        console.print(f"\n{entry['name']} {frame.shape}: {seconds:.1f} s; the manifest drops {expected}", markup=False)
        console.print(f"  left out: {dropped}", markup=False)
        for finding in findings:
            console.print(f"  {finding.kind}: {finding}", markup=False)
    console.print(f"\n{n_named} of {n_expected} columns that manifests drop are left out or named")


def main() -> None:
    """Print all three."""
    warnings.simplefilter("ignore")
    console = Console(width=160, soft_wrap=True, highlight=False)
    print_planted(console)
    print_false_alarms(console)
    if os.environ.get(DATA_VARIABLE):
        print_real_tables(console, Path(os.environ[DATA_VARIABLE]))
    else:
        console.print(f"{DATA_VARIABLE} is not set, so no real tables are audited")


if __name__ == "__main__":
    main()
