"""Made tables for the leak audit: clean ones, and ten kinds of leaks to plant in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl

TARGET = "outcome"


def clean_table(seed: int, n_rows: int = 600, n_classes: int = 2) -> pl.DataFrame:
    """Return a table of 20 columns of many kinds, in any order of rows, some of which predict the target moderately."""
    rng = np.random.default_rng(seed)
    columns: dict[str, pl.Series] = {}
    for i in range(5):
        columns[f"normal_{i}"] = pl.Series(rng.normal(size=n_rows))
        columns[f"skewed_{i}"] = pl.Series(np.round(rng.lognormal(2, 1, n_rows), 2))
    for i in range(4):
        columns[f"count_{i}"] = pl.Series(rng.poisson(3 * 3**i, n_rows))
        n_levels = 3 * 4**i
        share = 1 / np.arange(1, n_levels + 1)
        levels = rng.choice([f"level {j}" for j in range(n_levels)], n_rows, p=share / share.sum())
        columns[f"category_{i}"] = pl.Series(levels)
    columns["age"] = pl.Series(np.clip(np.round(rng.normal(50, 15, n_rows)), 18, 95).astype(int))
    columns["flag"] = pl.Series(rng.choice(["yes", "no"], n_rows))
    signal = columns["normal_0"].to_numpy() + 0.05 * columns["age"].to_numpy() + (columns["flag"] == "yes").to_numpy()
    signal = signal + rng.logistic(size=n_rows)
    y = np.searchsorted(np.quantile(signal, np.arange(1, n_classes) / n_classes), signal)
    for name in ("normal_1", "skewed_0", "category_1"):
        columns[name] = columns[name].set(pl.Series(rng.random(n_rows) < 0.1), None)
    columns[TARGET] = pl.Series(y).cast(pl.String).replace_strict(["0", "1"], ["well", "ill"], default="other")
    return pl.DataFrame(columns)


def _ill(frame: pl.DataFrame) -> np.ndarray:
    return (frame[TARGET] == "ill").to_numpy().astype(float)


def _with(frame: pl.DataFrame, values: object) -> pl.DataFrame:
    return frame.with_columns(pl.Series("planted", values))


def copied_in_58_of_60_rows(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    frame = pl.concat([frame.filter(pl.col(TARGET) == label)[:30] for label in ("ill", "well")])
    frame = frame[rng.permutation(60)]
    ill = _ill(frame)
    ill[[7, 31]] = 1 - ill[[7, 31]]
    return _with(frame, ill.astype(int))


def copied_with_tiny_noise(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return _with(frame, _ill(frame) + rng.normal(0, 1e-9, len(frame)))


def rescaled_with_noise(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return _with(frame, 350 - 120 * (_ill(frame) + rng.normal(0, 0.15, len(frame))))


def outcome_in_other_words(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    words = np.where(rng.random(len(frame)) < 0.5, "discharged", "at home")
    return _with(frame, np.where(_ill(frame) == 1, "on ward", words))


def filled_in_afterwards(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    is_filled = rng.random(len(frame)) < np.where(_ill(frame) == 1, 0.9, 0.04)
    days = rng.poisson(9, len(frame)).astype(float)
    return _with(frame, days).with_columns(planted=pl.when(pl.Series(is_filled)).then("planted"))


def rows_repeated(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return pl.concat([frame, frame[rng.choice(len(frame), len(frame) // 5, replace=False)]])[
        rng.permutation(len(frame) + len(frame) // 5)
    ]


def visits_of_patients(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Four rows each of patients whose label is nearly always the same."""
    parts = []
    for label in ("ill", "well"):
        part = frame.filter(pl.col(TARGET) == label)
        parts.append(part.with_columns(patient=pl.Series(rng.permutation(len(part)) // 4) + (label == "ill") * 10_000))
    joined = pl.concat(parts)[rng.permutation(len(frame))]
    ids = rng.permutation(20_000)
    return joined.drop("patient").with_columns(planted=pl.Series(ids[joined["patient"].to_numpy()]) + 1_000)


def rows_in_order_of_time(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Most are well at first, and ill at the end."""
    key = _ill(frame) * 0.8 + rng.random(len(frame))
    frame = frame[np.argsort(key)]
    return _with(frame, [datetime(2024, 1, 1) + timedelta(hours=7 * i) for i in range(len(frame))])


def row_numbers_in_disguise(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return _with(frame, 3.7 + 0.01 * np.arange(len(frame)) + rng.normal(0, 0.02, len(frame)))


def missing_as_minus_999(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return _with(frame, np.where(rng.random(len(frame)) < 0.03, -999, np.round(rng.normal(80, 12, len(frame)), 1)))


# Each leak, and the kind of finding that it is.
LEAKS: dict[Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame], str] = {
    copied_in_58_of_60_rows: "target",
    copied_with_tiny_noise: "target",
    rescaled_with_noise: "target",
    outcome_in_other_words: "target",
    filled_in_afterwards: "afterwards",
    rows_repeated: "duplicates",
    visits_of_patients: "group",
    rows_in_order_of_time: "order",
    row_numbers_in_disguise: "row number",
    missing_as_minus_999: "sentinel",
}
