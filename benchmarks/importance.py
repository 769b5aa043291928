"""Whether importances are right where it is known: columns that say nothing, and columns that repeat each other.

    python benchmarks/importance.py [N_TABLES]

Each table has 400 rows: three columns that matter, one of them also in another unit and one under other names, and
five that say nothing. An interval should hold 0 for 95 % of the latter. Columns that repeat each other are named.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import polars as pl

import tabcohort
from tabcohort import CohortSettings, Config, Table
from tabcohort.model.learned import learned_facts

N_ROWS, N_NOISE = 400, 5
MODELS = {
    "logistic": Config(model="logistic", learning_rate=0.03, max_epochs=40),
    "mlp": Config(hidden=(32,), learning_rate=0.01, max_epochs=40),
    "trees": Config(model="trees", max_epochs=60),
}
REPEATED = [{"metres", "feet"}, {"kind", "code"}]


def planted_table(seed: int) -> Table:
    """Return a table that is known."""
    rng = np.random.default_rng(seed)
    size, kind, third = rng.normal(size=N_ROWS), rng.integers(0, 3, N_ROWS), rng.normal(size=N_ROWS)
    score = 1.5 * size + np.array([-1.5, 0.0, 1.5])[kind] + third
    columns = {
        "metres": size,
        "feet": 3.28084 * size + rng.normal(scale=0.05, size=N_ROWS),
        "kind": np.array(["low", "middle", "high"])[kind],
        "code": np.array(["C7", "A1", "B4"])[np.where(rng.random(N_ROWS) < 0.01, 0, kind)],
        "third": third,
    }
    columns |= {f"noise {place}": rng.normal(size=N_ROWS) for place in range(N_NOISE)}
    answer = np.where(rng.random(N_ROWS) < 1 / (1 + np.exp(-score)), "yes", "no")
    return Table.from_frame(pl.DataFrame({**columns, "answer": answer}), "answer")


def measure(config: Config, n_tables: int) -> str:
    """Return the figures of one kind of model in a line."""
    holds, above, named, wrong, found, seconds = [], [], [], 0, [], []
    for seed in range(n_tables):
        table = planted_table(seed)
        predictor = tabcohort.fit(table, config, CohortSettings(folds=5, seeds=1))
        began = time.perf_counter()
        facts = learned_facts(predictor, table)
        seconds.append(time.perf_counter() - began)
        for own in facts["importances"]:
            names, loss = own["columns"], own["log_loss"]
            if len(names) > 1:
                named.append(set(names))
                wrong += set(names) not in REPEATED
            elif names[0].startswith("noise"):
                holds.append(loss["low"] <= 0 <= loss["high"])
                above.append(loss["low"] > 0)
            if len(names) > 1 or names == ["third"]:
                found.append(loss["low"] > 0)
    pairs = [sum(own == pair for own in named) for pair in REPEATED]
    return (
        f"irrelevant columns: the interval holds 0 for {np.mean(holds):.1%} of {len(holds)}, and is above 0 for "
        f"{np.mean(above):.1%}; "
        f"relevant ones above 0 for {np.mean(found):.1%} of {len(found)}; repeated pairs named in {pairs[0]} and "
        f"{pairs[1]} of {n_tables} tables, others in {wrong}; {np.median(seconds):.2f} s for all facts"
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name, config in MODELS.items():
        print(f"{name}: {measure(config, int(sys.argv[1]) if len(sys.argv) > 1 else 100)}", flush=True)
