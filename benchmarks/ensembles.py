"""How to weigh the configs of an ensemble, and how to calibrate it: measured on the predictions of `make ablations`.

    make ensembles

- Weights are chosen on some out-of-fold rows of each table and judged on all others, by the ratio of log losses to
  greedy selection (Caruana et al. 2004). Ways: this; of bootstrap samples and averaged, as `fit` does it ("bagged");
  shrunk towards equal weights; equal weights; the best config alone.
- Calibrators are fitted on all folds but one and judged on that one, by the ratio of log losses to no correction:
  those of `fit`, quadratic scaling of the log odds (Berta et al. 2025) and isotonic regression (Zadrozny & Elkan 2002)
  for two classes, matrix scaling (Guo et al. 2017) with a weak prior for three to five.

Writes `ensembles.md` beside this file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from ablations import KEPT, Predictions, predictions_of, ratio_of_means, together
from markdown_table import as_markdown
from numpy.typing import NDArray
from real_tables import whole_tables
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from tabcohort import OutOfFoldPredictions
from tabcohort.cohort.selection import greedy_weights, mean_log_proba
from tabcohort.evaluation.calibration import BIAS_CORRECTED, TEMPERATURE, fit_calibrator, fit_method
from tabcohort.evaluation.metrics import log_loss, log_probabilities

FEW = (
    "logistic, batches of 128, patience 8",
    "trees, 15 leaves, l2 1, half of the columns, shrinkage 0.05",
    "dropout, decay, silu, 128-64, batches of 128",
    "mixup, 16 bins, 128-64, batch norm, batches of 128",
)
MANY = (*FEW, "trees, 15 leaves", "16 bins, cosine", "mixup, 64-64", "dropout, decay, silu, batches of 128")
SIZES, REPEATS, MOST_CLASSES = (50, 100, 200, 500, 2_000), 4, 5
Candidates = list[OutOfFoldPredictions]
Array = NDArray[np.float64]


def greedy(candidates: Candidates) -> Array:
    """Return the weights that are chosen on the rows themselves."""
    return greedy_weights(candidates, n_bags=1)


def shrunk(n_prior: float, choose: Callable[[Candidates], Array] = greedy) -> Callable[[Candidates], Array]:
    """Return a way to choose weights, drawn towards equal ones as if `n_prior` rows asked for these."""

    def weights(candidates: Candidates) -> Array:
        share = n_prior / (n_prior + len(candidates[0].y))
        return (1 - share) * choose(candidates) + share / len(candidates)

    return weights


def best_alone(candidates: Candidates) -> Array:
    """Return all weight for the config with the lowest log loss."""
    return np.eye(len(candidates))[int(np.argmin([candidate.losses() @ candidate.weight for candidate in candidates]))]


WAYS: Mapping[str, Callable[[Candidates], Array]] = {
    "greedy": greedy,
    "bagged": greedy_weights,
    "shrunk, 20 rows": shrunk(20),
    "shrunk, 100 rows": shrunk(100),
    "bagged, shrunk": shrunk(20, greedy_weights),
    "equal": lambda candidates: np.full(len(candidates), 1 / len(candidates)),
    "best alone": best_alone,
}


def ratios_of_ways(tables: Mapping[str, Predictions], names: tuple[str, ...], n: int) -> list[str]:
    """Return the mean ratio of each way's log loss to that of greedy selection, weights chosen on n rows."""
    losses: dict[str, list[Array]] = {way: [] for way in WAYS}
    for own in tables.values():
        candidates = [own[name] for name in names]
        if len(candidates[0].y) < 1.3 * n:
            continue
        repeated: dict[str, list[float]] = {way: [] for way in WAYS}
        for repeat in range(REPEATS):
            order = np.random.default_rng(repeat).permutation(len(candidates[0].y))
            some, rest = (
                [candidate.take(np.sort(rows)) for candidate in candidates] for rows in (order[:n], order[n:])
            )
            for way, choose in WAYS.items():
                log_proba = mean_log_proba(rest, choose(some))
                repeated[way].append(log_loss(log_proba, rest[0].y, rest[0].weight))
        for way, of_way in repeated.items():
            losses[way].append(np.mean(of_way))
    first = losses["greedy"]
    ratios = [ratio_of_means([a / b for a, b in zip(of_way, first, strict=True)]) for of_way in losses.values()]
    return [str(n), str(len(names)), str(len(first)), *(f"{ratio:.4f}" for ratio in ratios)]


def quadratic(fitted: OutOfFoldPredictions, others: Array) -> Array:
    """Return log probabilities by a quadratic function of the log odds, with a normal prior around no correction."""
    y, weight = 2 * fitted.y - 1, fitted.weight / fitted.weight.mean()
    terms = [
        np.vander(log_proba[:, 1] - log_proba[:, 0], 3, increasing=True) for log_proba in (fitted.log_proba, others)
    ]
    start = np.array([0.0, 1.0, 0.0])

    def loss(parameters: Array) -> float:
        return float(weight @ np.logaddexp(0, -y * (terms[0] @ parameters)) + 0.5 * np.square(parameters - start).sum())

    return log_probabilities((terms[1] @ minimize(loss, start).x)[:, None])


def isotonic(fitted: OutOfFoldPredictions, others: Array) -> Array:
    """Return log probabilities by isotonic regression on the probability of the second class."""
    model = IsotonicRegression(y_min=1e-3, y_max=1 - 1e-3, out_of_bounds="clip")
    proba = model.fit(fitted.log_proba[:, 1], fitted.y, fitted.weight).predict(others[:, 1])
    return np.log(np.stack([1 - proba, proba], axis=1))


def matrix(fitted: OutOfFoldPredictions, others: Array) -> Array:
    """Return log probabilities by a matrix and a shift, with a normal prior around no correction."""
    n_classes = others.shape[1]

    def corrected(parameters: Array, log_proba: Array) -> Array:
        changes, shift = parameters[:-n_classes].reshape(n_classes, n_classes), parameters[-n_classes:]
        return log_probabilities(log_proba @ (np.eye(n_classes) + changes).T + shift)

    def loss(parameters: Array) -> float:
        prior = 5 * np.square(parameters[:-n_classes]).sum() + 0.5 * np.square(parameters[-n_classes:]).sum()
        fit = log_loss(corrected(parameters, fitted.log_proba), fitted.y, fitted.weight)
        return float(fit * len(fitted.y) + prior)

    return corrected(minimize(loss, np.zeros(n_classes * (n_classes + 1))).x, others)


CALIBRATORS: Mapping[str, Callable[[OutOfFoldPredictions, Array], Array]] = {
    "as `fit` chooses": lambda fitted, others: fit_calibrator(fitted).apply(others),
    **{
        method: lambda fitted, others, method=method: fit_method(  # type: ignore[misc]
            method, fitted.log_proba, fitted.y, fitted.weight
        ).apply(others)
        for method in (TEMPERATURE, BIAS_CORRECTED)
    },
    "quadratic": quadratic,
    "isotonic": isotonic,
    "matrix": matrix,
}


def ratios_of_calibrators(own: Predictions) -> dict[str, float]:
    """Return the ratio of each calibrator's log loss to that without one, where it can be fitted."""
    ensemble = together(own, FEW)
    n_classes, y, weight = ensemble.log_proba.shape[1], ensemble.y, ensemble.weight
    before, ratios = log_loss(ensemble.log_proba, y, weight), {}
    for name, calibrate in CALIBRATORS.items():
        if (name in ("quadratic", "isotonic") and n_classes > 2) or (
            name == "matrix" and not 2 < n_classes <= MOST_CLASSES
        ):
            continue
        after = np.empty(ensemble.log_proba.shape)
        for inside, outside in ensemble.folds():
            after[inside] = calibrate(ensemble.take(np.flatnonzero(outside)), ensemble.log_proba[inside])
        ratios[name] = log_loss(after, y, weight) / before
    return ratios


def main() -> None:
    """Measure both on the tables whose predictions are kept."""
    warnings.simplefilter("ignore")
    kept = [table for table in whole_tables() if (KEPT / f"{table.name}.npz").is_file()]
    tables = {table.name: predictions_of(table) for table in kept}
    ways = [ratios_of_ways(tables, names, n) for names in (FEW, MANY) for n in SIZES]
    by_table = {name: ratios_of_calibrators(own) for name, own in tables.items()}
    means = [
        [name, str(len(ratios)), f"{ratio_of_means(ratios):.4f}"]
        for name in CALIBRATORS
        if (ratios := [of_table[name] for of_table in by_table.values() if name in of_table])
    ]
    each = [[name, *(f"{of[key]:.4f}" if key in of else "-" for key in CALIBRATORS)] for name, of in by_table.items()]
    text = "\n\n".join(
        [
            f"# Weights and calibrators of ensembles, {len(tables)} tables (`make ensembles`)",
            "Log loss on the rows that chose nothing, as a ratio to greedy selection.",
            as_markdown(["rows that choose", "configs", "tables", *WAYS], ways),
            "Log loss of the fold that was left out, as a ratio to no correction.",
            as_markdown(["calibrator", "tables", "mean ratio"], means),
            as_markdown(["table", *CALIBRATORS], each),
        ]
    )
    print(text)
    Path(__file__).with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
