"""Presets beside other classifiers' defaults on few rows: log loss on all other rows.

    make few-rows

Five samples of 100, 200 and 400 rows of each of ten real tables, with at least three rows of each class. Names of
methods run these alone. Results are appended to `few_rows.jsonl` beside this file, so that a run that was stopped goes
on. Writes `few_rows.md`.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import peers
from accuracy import mean_ranks
from markdown_table import as_markdown
from real_tables import MAX_ROWS, RealTable, usable_rows, whole_tables

from tabcohort import CohortSettings, Table
from tabcohort.cohort.fit import fit
from tabcohort.data.parse import as_text
from tabcohort.evaluation.metrics import log_loss
from tabcohort.randomness import Purpose, make_rng

RESULTS = Path(__file__).with_suffix(".jsonl")
SIZES, REPEATS, N_TABLES = (100, 200, 400), 5, 10
MIN_ROWS, MAX_CLASSES, MIN_ROWS_OF_CLASS = 1_000, 4, 3
METHODS = ("fast", "default", *peers.NAMES)


def tables() -> Iterator[RealTable]:
    """Yield the first tables that are large enough and have few classes."""
    suitable = (
        table
        for table in whole_tables()
        if len(table.frame) >= MIN_ROWS and as_text(table.frame[table.target]).drop_nulls().n_unique() <= MAX_CLASSES
    )
    yield from islice(suitable, N_TABLES)


def measure(table: RealTable, n: int, repeat: int, method: str) -> float:
    """Return the log loss on the rows that are not in a sample, at most 8,000 of them."""
    frame = usable_rows(table, MIN_ROWS_OF_CLASS)
    labels = as_text(frame[table.target]).to_numpy()
    for attempt in range(100):
        order = make_rng(repeat, Purpose.SAMPLE, attempt, n).permutation(len(frame))
        values, counts = np.unique(labels[order[:n]], return_counts=True)
        if len(values) == len(np.unique(labels)) and counts.min() >= MIN_ROWS_OF_CLASS:
            break
    sample = Table.from_frame(frame[order[:n]], table.target, positive=table.positive)
    others = Table.for_schema(frame[order[n : n + MAX_ROWS]], sample.schema)
    if method in peers.NAMES:
        log_proba, *_ = peers.log_proba_and_seconds(method, sample, others)
    else:
        log_proba = fit(sample, settings=CohortSettings(preset=method)).log_proba_of(others)
    return log_loss(log_proba, others.y, others.weight)


def write_report(results: list[dict[str, Any]]) -> None:
    """Print and write the mean ranks by number of rows, and the losses."""
    methods = [method for method in METHODS if any(result["method"] == method for result in results)]
    blocks = []
    for n in SIZES:
        losses: dict[str, dict[str, float]] = {}
        for name in dict.fromkeys(result["data"] for result in results):
            own = [result for result in results if result["data"] == name and result["n"] == n]
            losses[name] = {
                method: float(np.mean([result["logloss"] for result in own if result["method"] == method]))
                for method in methods
            }
        ranks = mean_ranks(losses, methods, 1)
        lines = [["mean rank", *(f"{ranks[method]:.2f}" for method in methods)]]
        lines += [[name, *(f"{of[method]:.4f}" for method in methods)] for name, of in losses.items()]
        blocks.append(as_markdown([f"{n} rows", *methods], lines))
    title = "# Log loss of models of few rows, mean of five samples (`make few-rows`)"
    text = "\n\n".join([title, *blocks])
    print(text)
    Path(__file__).with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")


def main() -> None:
    """Measure what is not measured yet."""
    warnings.simplefilter("ignore")
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    done = {tuple(json.loads(line)[key] for key in ("data", "n", "repeat", "method")) for line in lines}
    for table in tables():
        for n in SIZES:
            for repeat in range(REPEATS):
                for method in sys.argv[1:] or METHODS:
                    key = (table.name, n, repeat, method)
                    if key not in done:
                        result = dict(zip(("data", "n", "repeat", "method"), key, strict=True))
                        result["logloss"] = measure(table, n, repeat, method)
                        with RESULTS.open("a", encoding="utf-8") as file:
                            file.write(f"{json.dumps(result)}\n")
                        print(*result.values(), flush=True)
    write_report([json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()])


if __name__ == "__main__":
    main()
