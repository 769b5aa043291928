"""How often the interval of `learning_curve` for twice the rows holds what twice the rows bring.

Populations whose class depends on the columns linearly, in steps, through products, or not at all are sampled many
times. What twice the rows bring is known: the mean out-of-fold log loss of cohorts on samples of n rows minus that of
cohorts on samples of 2 n rows.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats

import tabcohort
from tabcohort import CohortSettings, Config, TabcohortWarning, Table
from tabcohort.cohort.learning_curve import learning_curve

N_SAMPLES, N_TRUTH, N_ROWS, N_COLUMNS = 20, 60, 400, 12
LINEAR, STEPS, PRODUCTS, NOTHING = "linear", "steps", "products", "nothing"
LOGITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    LINEAR: lambda X: 0.8 * X[:, 0] - 0.6 * X[:, 1] + 0.4 * X[:, 2],
    STEPS: lambda X: 2.0 * (X[:, 0] > 0) * (X[:, 1] > 0) - 1.5 * (X[:, 2] > 1),
    PRODUCTS: lambda X: X[:, 0] * X[:, 1] + X[:, 2],
    NOTHING: lambda X: np.zeros(len(X)),
}
CONFIGS = {
    "logistic regression": (Config(model="logistic", learning_rate=0.02, batch_size=128), (LINEAR, NOTHING)),
    "a network": (Config(hidden=(32,), learning_rate=3e-3, batch_size=128, weight_decay=0.1), (LINEAR, PRODUCTS)),
    "boosted trees": (Config(model="trees", max_leaf_nodes=8, shrinkage=0.2, max_epochs=60), (STEPS,)),
}
SETTINGS = CohortSettings(folds=8, seeds=1)


def sample(n_rows: int, population: str, seed: int) -> Table:
    """Return rows of a population."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, N_COLUMNS))
    y = np.where(rng.logistic(size=n_rows) < LOGITS[population](X), "yes", "no")
    return Table.from_arrays(X, y)


def truth_of(config: Config, population: str) -> tuple[float, float]:
    """Return by how much twice the rows lower the log loss on average, and the standard error of that."""
    losses = np.empty((N_TRUTH, 2))
    for number in range(N_TRUTH):
        for place, n_rows in enumerate((N_ROWS, 2 * N_ROWS)):
            model = tabcohort.fit(sample(n_rows, population, 10_000 * (1 + place) + number), config, SETTINGS)
            losses[number, place] = model.report.evaluation.metrics["log_loss"].value
    mean, variance = losses.mean(axis=0), losses.var(axis=0, ddof=1)
    return float(mean[0] - mean[1]), float(np.sqrt(variance.sum() / N_TRUTH))


def main() -> None:
    """Print how often the interval holds the truth, and how far the estimate is from it."""
    warnings.simplefilter("ignore", TabcohortWarning)
    n_held, n, started = 0, 0, time.perf_counter()
    print(f"{N_SAMPLES} samples of {N_ROWS} rows x {N_COLUMNS} columns each; twice the rows lower the log loss by")
    for name, (config, populations) in CONFIGS.items():
        for population in populations:
            truth, error = truth_of(config, population)
            estimates = []
            for number in range(N_SAMPLES):
                estimates.append(learning_curve(sample(N_ROWS, population, number), config, SETTINGS).gain(2.0))
                print(f"  {name}, {population}: {number + 1} of {N_SAMPLES}", end="\r", file=sys.stderr)
            held = sum(own.low <= max(0.0, truth) <= own.high for own in estimates)
            values = np.array([own.value for own in estimates])
            width = float(np.median([own.high - own.low for own in estimates]))
            n_held, n = n_held + held, n + N_SAMPLES
            print(
                f"{name:20} {population:9} {truth:7.4f} (standard error {error:.4f}); estimated {values.mean():.4f} "
                f"(standard deviation {values.std(ddof=1):.4f}); interval {width:.4f} wide, holds it in {held} of "
                f"{N_SAMPLES}",
                flush=True,
            )
    low, high = stats.binomtest(n_held, n).proportion_ci(method="wilson")
    print(f"in all, {n_held / n:.1%} ({low:.1%} to {high:.1%}) of the 95 % intervals hold it")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
