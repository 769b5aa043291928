"""Are the reported metrics the true ones, and do prediction sets have the coverage that was asked for?

    make honesty

Every repeat samples rows of a table, trains on them, and compares the reported metrics with the true ones: those of the
same model on all other rows. A protocol is honest if the mean of reported minus true lies within two standard errors of
zero, or if it reports less than is true.

- `small`: 200 samples of 50, 100, 200 and 400 rows of the breast-cancer table. Protocols: the cohort as `fit` makes it,
  of logistic networks and (on half of the samples) with the default config; one that chooses among configs (on a
  quarter); a single network with separate validation and test rows; one whose test rows validate too, as in the
  documents.
- `preset`: 100 such samples and the default preset: what it reports, by cross-fitting; a second opinion, BBC-CV; and
  what it would report of the rows that chose its weights and its calibrator.
- `large`: samples of 1,000 rows of every larger table.
- `noise`: labels that no feature predicts.
- `sets`: 50 splits of every table, a half (at most 2,000 rows) to train on and the rest to measure on.
- `thresholds`: the same splits of tables of two classes: how often the rest has the rate that was asked for.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from real_tables import part, real_tables
from rich.console import Console
from rich.progress import track
from rich.table import Table as Printed

from tabcohort import (
    CohortSettings,
    Config,
    OutOfFoldPredictions,
    Predictor,
    Schema,
    Split,
    Table,
    build_model,
    fit,
    initialize_weights,
    train,
)
from tabcohort.cohort.build import build_predictor
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.presets import preset_cohort, preset_configs
from tabcohort.cohort.runner import run
from tabcohort.cohort.search import random_configs
from tabcohort.cohort.selection import Ensemble, choose_ensemble, mean_log_proba, out_of_fold, select_and_calibrate
from tabcohort.data.columns import Number
from tabcohort.data.encoder import no_codes
from tabcohort.data.splits import train_validation_test_split
from tabcohort.evaluation.metrics import Scorer, log_probabilities
from tabcohort.model.facts import facts
from tabcohort.randomness import Purpose, make_rng
from tabcohort.training.module import as_double, module_logits

SAMPLE_SIZES = (50, 100, 200, 400)
METRICS = ("accuracy", "log_loss")
DIFFERENCES = ("metric", "reported - true", "standard error", "in standard errors")
DOCUMENTS = Config(model="logistic", learning_rate=0.01)
ASKED = ("sensitivity>=0.9", "specificity>=0.9", "precision>=0.8")
N_TUNED, COVERAGE, LARGE, MAX_TRAIN_ROWS = 8, 0.9, 1_000, 2_000
N_BOOTSTRAPS = 100
Differences = NDArray[np.float64]


def metrics_of(log_proba: NDArray[np.float64], rows: Table | OutOfFoldPredictions) -> Differences:
    """Return accuracy and log loss of predictions for rows."""
    metrics = Scorer(log_proba, rows.y, positive=None).metrics(rows.weight)
    return np.array([metrics[name] for name in METRICS])


def reported_minus_true(predictor: Predictor, others: Table) -> Differences:
    """Return the metrics that a model reports of itself, minus those of rows that were not sampled."""
    reported = np.array([predictor.report.evaluation.metrics[name].value for name in METRICS])
    return reported - metrics_of(predictor.log_proba(others.X), others)


def cohort(sample: Table, others: Table, seed: int) -> Differences:
    """The cohort that `fit` makes by itself, of logistic networks."""
    return reported_minus_true(fit(sample, replace(DOCUMENTS, seed=seed)), others)


def mlp_cohort(sample: Table, others: Table, seed: int) -> Differences:
    """The cohort that `fit` makes by itself, with the default config."""
    return reported_minus_true(fit(sample, Config(seed=seed)), others)


def tuned(sample: Table, others: Table, seed: int) -> Differences:
    """A cohort that chooses among configs, with one seed of folds."""
    configs = random_configs(N_TUNED, Config(seed=seed))
    return reported_minus_true(fit(sample, configs, CohortSettings(seeds=1)), others)


def single(sample: Table, others: Table, seed: int) -> Differences:
    """One network, with separate validation and test rows."""
    split = train_validation_test_split(sample, Config(seed=seed))
    return _one_network(sample, others, split, split.test, seed)


def documents(sample: Table, others: Table, seed: int) -> Differences:
    """One network whose test rows are its validation rows."""
    split = train_validation_test_split(sample, Config(seed=seed))
    same_rows = Split(np.concatenate([split.train, split.validation]), split.test, split.test[:0])
    return _one_network(sample, others, same_rows, split.test, seed)


def _one_network(sample: Table, others: Table, split: Split, test: NDArray[np.int64], seed: int) -> Differences:
    config = replace(DOCUMENTS, seed=seed)
    module = build_model(config, sample.n_inputs, len(sample.schema.classes))
    initialize_weights(module, seed)
    train(module, sample, config, split=split)
    tested, double = part(sample, test), as_double(module)
    own, true = (log_probabilities(module_logits(double, table.X)) for table in (tested, others))
    return metrics_of(own, tested) - metrics_of(true, others)


Protocol = Callable[[Table, Table, int], Differences]
PROTOCOLS: dict[str, Protocol] = {
    "cohort, logistic": cohort,
    "cohort, default config": mlp_cohort,
    f"cohort that chooses among {N_TUNED} configs": tuned,
    "one network, separate validation and test rows": single,
    "one network, the same rows validate and test": documents,
}


def sample_rows(table: Table, n: int, repeat: int) -> tuple[Table, Table]:
    """Return n rows of a table, at least three of every class among them, and the rest."""
    for attempt in range(100):
        order = make_rng(repeat, Purpose.SAMPLE, attempt, n).permutation(len(table.y))
        counts = np.bincount(table.y[order[:n]], minlength=len(table.schema.classes))
        if counts[counts > 0].min() >= 3:
            break
    return part(table, order[:n]), part(table, order[n:])


def add(printed: Printed, cells: tuple[str, ...], values: Differences) -> None:
    """Add a row for each metric: mean difference, its standard error, and how many of these it is."""
    for metric, label in enumerate(METRICS):
        mean, error = values[:, metric].mean(), values[:, metric].std(ddof=1) / np.sqrt(len(values))
        printed.add_row(*cells, label, f"{mean:+.4f}", f"{error:.4f}", f"{mean / error:+.1f}")


def small(repeats: int) -> Iterator[Printed]:
    """Samples of the breast-cancer table."""
    table = next(table for name, table in real_tables() if name == "breast-cancer")
    for n in SAMPLE_SIZES:
        printed = Printed("n", "protocol", *DIFFERENCES, box=None)
        for name, protocol in PROTOCOLS.items():
            if CHOSEN_PROTOCOLS and not any(word in name for word in CHOSEN_PROTOCOLS):
                continue
            title = f"n = {n}, {name}"
            n_repeats = repeats // {mlp_cohort: 2, tuned: 4}.get(protocol, 1)  # these take long
            repeated = [protocol(*sample_rows(table, n, repeat), repeat) for repeat in track(range(n_repeats), title)]
            add(printed, (str(n), name), np.array(repeated))
        yield printed


def preset(repeats: int) -> Iterator[Printed]:
    """Three estimates of what the default preset does on rows that were not sampled."""
    table = next(table for name, table in real_tables() if name == "breast-cancer")
    for n in SAMPLE_SIZES:
        estimates: dict[str, list[Differences]] = {}
        for repeat in track(range(repeats), f"n = {n}, default preset"):
            for name, difference in _three_estimates(*sample_rows(table, n, repeat), repeat).items():
                estimates.setdefault(name, []).append(difference)
        printed = Printed("n", "estimate", *DIFFERENCES, box=None)
        for name, differences in estimates.items():
            add(printed, (str(n), name), np.array(differences))
        yield printed


def _three_estimates(sample: Table, others: Table, seed: int) -> dict[str, Differences]:
    """Return estimated minus true metrics of the default preset, by the name of the estimate."""
    plan = make_plan(sample, *preset_cohort(sample, Config(seed=seed), CohortSettings()))
    result = run(plan)
    predictions = out_of_fold(plan, result)
    selection = select_and_calibrate(plan, result, predictions)
    predictor = build_predictor(plan, result, predictions, selection)
    true = metrics_of(predictor.log_proba(others.X), others)
    candidates = list(predictions.values())
    return {
        "cross-fitted, as reported": reported_minus_true(predictor, others),
        "BBC-CV": _bias_corrected(candidates, seed) - true,
        "the rows that chose": _metrics_at(candidates, choose_ensemble(candidates), candidates[0].y >= 0) - true,
    }


def _bias_corrected(candidates: list[OutOfFoldPredictions], seed: int) -> Differences:
    """Return metrics by BBC-CV (Tsamardinos et al. 2018): chosen on a bootstrap of the rows, measured on those left."""
    n, rng = len(candidates[0].y), make_rng(seed, Purpose.BOOTSTRAP, 0)
    metrics = []
    for _ in range(N_BOOTSTRAPS):
        rows = rng.integers(n, size=n)
        is_left = np.bincount(rows, minlength=n) == 0
        ensemble = choose_ensemble([candidate.take(np.sort(rows)) for candidate in candidates])
        metrics.append(_metrics_at(candidates, ensemble, is_left))
    return np.mean(metrics, axis=0)


def _metrics_at(candidates: list[OutOfFoldPredictions], ensemble: Ensemble, inside: NDArray[np.bool_]) -> Differences:
    """Return the metrics of an ensemble of candidates at some of their rows."""
    some = [candidate.take(np.flatnonzero(inside)) for candidate in candidates]
    return metrics_of(ensemble.calibrator.apply(mean_log_proba(some, ensemble.weights)), some[0])


CHOSEN: set[str] = set()  # names of tables; all when empty
CHOSEN_PROTOCOLS: set[str] = set()  # words of their names; all when empty


def chosen_tables() -> Iterator[tuple[str, Table]]:
    """Yield the tables that were chosen."""
    yield from ((name, table) for name, table in real_tables() if not CHOSEN or name in CHOSEN)


def larger_tables() -> Iterator[tuple[str, Table]]:
    """Yield the tables that have many more rows than a sample."""
    yield from ((name, table) for name, table in chosen_tables() if len(table.y) > 3 * LARGE)


def large(repeats: int) -> Iterator[Printed]:
    """Samples of 1,000 rows of every larger table."""
    printed = Printed("table", *DIFFERENCES, box=None)
    for name, table in larger_tables():
        repeated = [mlp_cohort(*sample_rows(table, LARGE, repeat), repeat) for repeat in track(range(repeats), name)]
        add(printed, (name,), np.array(repeated))
    yield printed


def noise(repeats: int) -> Iterator[Printed]:
    """Labels that no feature predicts: what is reported, and what chance gives."""
    printed = Printed("n", "protocol", "reported accuracy", "standard error", "log loss (0.693 by chance)", box=None)
    for n in (100, 400):
        for name in ("cohort", f"cohort that chooses among {N_TUNED} configs", "default preset"):
            repeated = []
            for repeat in track(range(repeats), f"noise, n = {n}"):
                rng = make_rng(repeat, Purpose.SAMPLE, n)
                y = rng.permutation(np.arange(n) % 2)
                table = Table(rng.normal(size=(n, 10)), no_codes(n), y, np.ones(n), NOISE_SCHEMA)
                base = Config(seed=repeat)
                configs = preset_configs("default", base, n_rows=n) if "preset" in name else random_configs(
                    1 if name == "cohort" else N_TUNED, base
                )  # fmt: skip
                metrics = fit(table, configs, CohortSettings(seeds=1)).report.evaluation.metrics
                repeated.append([metrics[name].value for name in METRICS])
            accuracy, loss = np.array(repeated).T
            error = accuracy.std(ddof=1) / np.sqrt(repeats)
            printed.add_row(str(n), name, f"{accuracy.mean():.4f}", f"{error:.4f}", f"{loss.mean():.4f}")
    yield printed


def sets(repeats: int) -> Iterator[Printed]:
    """How often a prediction set holds the true class, on rows that were not sampled."""
    title = f"coverage asked for: {COVERAGE:.0%}"
    printed = Printed("table", title, "lowest of a class", "one class", "several", "none", box=None)
    settings = CohortSettings(coverage=COVERAGE)
    for name, table in chosen_tables():
        shares, of_class = [], []
        for repeat in track(range(repeats), name):
            sample, others = sample_rows(table, min(len(table.y) // 2, MAX_TRAIN_ROWS), repeat)
            predictor = fit(sample, Config(seed=repeat), settings)
            in_set = predictor.predict_set(others.X)
            covered, sizes = in_set[np.arange(len(others.y)), others.y], in_set.sum(axis=1)
            shares.append([covered.mean(), (sizes == 1).mean(), (sizes > 1).mean(), (sizes == 0).mean()])
            counts = np.bincount(others.y, minlength=in_set.shape[1])
            hits = np.bincount(others.y, covered, in_set.shape[1])
            of_class.append(np.divide(hits, counts, out=np.full(len(counts), np.nan), where=counts > 0))
        mean = np.mean(shares, axis=0)
        lowest = np.nanmin(np.nanmean(of_class, axis=0))
        printed.add_row(name, *(f"{share:.1%}" for share in (mean[0], lowest, *mean[1:])))
    yield printed


def thresholds(repeats: int) -> Iterator[Printed]:
    """How often rows that were not sampled have the sensitivity, specificity or precision that was asked for."""
    titles = ("cross-fitted figure holds", "other rows hold", "their mean", "promised")
    printed = Printed("table", "asked for", *titles, box=None)
    for name, table in chosen_tables():
        if len(table.schema.classes) != 2:
            continue
        outcomes: dict[str, list[list[float]]] = {objective: [] for objective in ASKED}
        for repeat in track(range(repeats), name):
            sample, others = sample_rows(table, min(len(table.y) // 2, MAX_TRAIN_ROWS), repeat)
            predictor = fit(sample, Config(seed=repeat))
            for objective, rows in outcomes.items():
                decided = predictor.with_decision_rule(objective)
                said = facts(decided)["threshold"]
                true = decided.evaluate(others).metrics[said["metric"]].value
                rows.append([said["holds"], true >= said["asked"], true, said["is_promised"]])
        for objective, rows in outcomes.items():
            holds, are_true, mean, promised = np.nanmean(np.array(rows, dtype=np.float64), axis=0)
            printed.add_row(name, objective, f"{holds:.0%}", f"{are_true:.0%}", f"{mean:.4f}", f"{promised:.0%}")
    yield printed


NOISE_SCHEMA = Schema(tuple(Number(f"x{i}") for i in range(10)), "y", ("0", "1"), positive=1)
PARTS: dict[str, tuple[Callable[[int], Iterator[Printed]], int]] = {
    "small": (small, 200), "preset": (preset, 100), "large": (large, 60), "noise": (noise, 50), "sets": (sets, 50),
    "thresholds": (thresholds, 50),
}  # fmt: skip


def main() -> None:
    """Print the tables of the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all when omitted")
    parser.add_argument("--tables", nargs="+", help="only these, for 'large' and 'sets'")
    parser.add_argument("--protocols", nargs="+", help="only those whose name has one of these words, for 'small'")
    parser.add_argument("--repeats", type=int, help="instead of each part's own number")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    CHOSEN.update(options.tables or ())
    CHOSEN_PROTOCOLS.update(options.protocols or ())
    for name in options.parts or PARTS:
        measure, repeats = PARTS[name]
        for printed in measure(options.repeats or repeats):
            Console(width=140).print(printed, "")


if __name__ == "__main__":
    main()
