"""Write a Parquet file of mixed columns that is larger than memory, row group by row group."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("rows", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_rows(options.path, options.rows, options.seed)
