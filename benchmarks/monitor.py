"""How often `monitor` alarms on fresh samples of the training table, and how often it finds a shift.

Ten tables of 20 columns (numbers of several shapes, whole numbers, categories of few and many levels, truth values,
some with missing cells) are drawn and trained on. From the same population come 20 fresh samples for each. A shift of
half a standard deviation is then planted in one number of these samples. Each sample is tested against the training
table (`--against`) and against what the model file holds.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import polars as pl
from scipy import stats

import tabcohort
from tabcohort import CohortSettings, TabcohortWarning, Table
from tabcohort.cohort.fit import fit
from tabcohort.cohort.presets import preset_cohort
from tabcohort.settings import Config

N_TABLES, N_SAMPLES = 10, 20
N_REFERENCE, N_NEW = 1_000, 300
SHIFTED = "normal 0"
MANY = np.array([f"level {place}" for place in range(200)])
SHARES = 1 / np.arange(1, 201)


def sample(n_rows: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return rows of the population: 20 features and the class `answer`."""
    shared = rng.normal(size=n_rows)
    columns: dict[str, object] = {f"normal {i}": 0.6 * shared + 0.8 * rng.normal(size=n_rows) for i in range(6)}
    columns |= {f"skewed {i}": np.exp(rng.normal(size=n_rows) + 0.3 * shared) for i in range(4)}
    columns |= {f"count {i}": rng.poisson(3 + 20 * i, n_rows) for i in range(2)}
    columns |= {f"few {i}": rng.choice(["a", "b", "c", "rare"], n_rows, p=[0.5, 0.3, 0.18, 0.02]) for i in range(3)}
    columns |= {f"many {i}": rng.choice(MANY, n_rows, p=SHARES / SHARES.sum()) for i in range(2)}
    columns |= {f"flag {i}": rng.random(n_rows) < (0.5, 0.03)[i] for i in range(2)}
    columns["late"] = rng.standard_t(3, n_rows)
    logit = columns["normal 1"] + (columns["few 0"] == "b") + 0.5 * np.log(columns["skewed 1"])  # type: ignore
    frame = pl.DataFrame(columns).with_columns(
        answer=pl.Series(np.where(rng.logistic(size=n_rows) < logit, "yes", "no"))
    )
    holes = {name: rng.random(n_rows) < share for name, share in (("normal 2", 0.1), ("few 1", 0.05), ("late", 0.3))}
    return frame.with_columns(
        pl.when(pl.Series(~own)).then(pl.col(name)).otherwise(None).alias(name) for name, own in holes.items()
    )


def shifted(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows with one number half a standard deviation higher, which is 1 in the population."""
    return frame.with_columns(pl.col(SHIFTED) + 0.5)


def is_found(facts: dict[str, object]) -> bool:
    """Return whether the column that was shifted is among the findings."""
    return any(repr(SHIFTED) in str(finding) for finding in facts["findings"])  # type: ignore[attr-defined]


def main() -> None:
    """Print the share of alarms on fresh samples, and of shifts that were found."""
    warnings.simplefilter("ignore", TabcohortWarning)
    alarms = {"the training table": 0, "the model alone": 0}
    found, n, seconds = dict.fromkeys(alarms, 0), 0, 0.0
    for number in range(N_TABLES):
        rng = np.random.default_rng(number)
        reference = sample(N_REFERENCE, rng)
        table = Table.from_frame(reference, "answer")
        predictor = fit(table, *preset_cohort(table, Config(), CohortSettings(preset="fast")))
        for _ in range(N_SAMPLES):
            new = sample(N_NEW, rng)
            n += 1
            for name, against in zip(alarms, (reference, None), strict=True):
                start = time.perf_counter()
                facts = tabcohort.monitor(predictor, new, against)
                seconds += time.perf_counter() - start
                alarms[name] += facts["alarm"]
                found[name] += is_found(tabcohort.monitor(predictor, shifted(new), against))
                if facts["alarm"]:
                    print(f"  table {number}, against {name}: {facts['findings']}", file=sys.stderr)
        print(f"{n} samples: alarms {alarms}, shifts found {found}", file=sys.stderr)
    print(f"{N_TABLES} training tables of {N_REFERENCE:,} rows x 20 columns, {n} fresh samples of {N_NEW} rows")
    for name in alarms:
        low, high = stats.binomtest(alarms[name], n).proportion_ci(method="wilson")
        print(
            f"against {name:18}  false alarms {alarms[name] / n:.1%} ({low:.1%} to {high:.1%}), "
            f"a shift of half a standard deviation in one column found in {found[name] / n:.1%}"
        )
    print(f"one call takes {seconds / (2 * n):.2f} s")


if __name__ == "__main__":
    main()
