"""Ways to search for configs, with equal CPU time: random ones with successive halving, and Optuna's sampler.

    make tuning

Each way searches for as long, begins with the configs of the default preset, and hands over the configs with the least
out-of-fold log loss, whose ensemble is then measured on held-out rows. `random` and `random, trees too` train batches
of random configs with successive halving, from the space of `tune` without and with boosted trees. `TPE` asks Optuna's
tree-structured Parzen estimator for batches from the larger space, which are trained to their end. Prints a table.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import optuna
from real_tables import fit_and_held_out_rows, whole_tables
from sklearn.metrics import log_loss

from tabcohort import CohortSettings, Config, Table, fit
from tabcohort.cohort.presets import configs_for, preset_configs
from tabcohort.cohort.search import WIDTHS, random_configs

TABLES = ("german_credit", "vehicle", "titanic", "pima_diabetes", "cylinder_bands", "student_dropout")
SEEDS = (0, 1)
SECONDS = 60.0  # of CPU time, for each search
BATCH, ASKED = 12, 4  # configs of a batch, with halving and without
N_KEPT = 6
SEARCH = CohortSettings(folds=4, seeds=1, preset=None)
Losses = dict[str, tuple[float, Config]]
Way = Callable[[Config, Sequence[Config]], Iterator[tuple[list[Config], bool, Callable[[list[float]], None]]]]


def random_batches(models: Sequence[str]) -> Way:
    """Return a way that trains batches of random configs of some models, with halving."""

    def way(
        base: Config, first: Sequence[Config]
    ) -> Iterator[tuple[list[Config], bool, Callable[[list[float]], None]]]:
        configs = [config for config in random_configs(2_000, base)[1:] if config.model in models]
        yield list(first), False, lambda losses: None
        for start in range(0, len(configs), BATCH):
            yield configs[start : start + BATCH], True, lambda losses: None

    return way


def tpe_batches(
    base: Config, first: Sequence[Config]
) -> Iterator[tuple[list[Config], bool, Callable[[list[float]], None]]]:
    """Yield batches that Optuna's sampler asks for, given the losses so far; see `random_batches`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=base.seed, multivariate=True, group=True))
    yield list(first), False, lambda losses: None
    while True:
        trials = [study.ask() for _ in range(ASKED)]

        def tell(losses: list[float], trials: list[optuna.Trial] = trials) -> None:
            for trial, loss in zip(trials, losses, strict=True):
                study.tell(trial, loss if math.isfinite(loss) else 10.0)

        yield [asked(trial, base) for trial in trials], False, tell


def asked(trial: optuna.Trial, base: Config) -> Config:
    """Return the config of a trial, from the space of `random_configs`."""
    model = trial.suggest_categorical("model", ["mlp", "residual", "logistic", "trees"])
    if model == "trees":
        return replace(
            base, model=model, max_leaf_nodes=trial.suggest_int("leaves", 4, 64, log=True),
            min_samples_leaf=trial.suggest_int("rows", 5, 50, log=True),
            max_features=trial.suggest_float("features", 0.3, 1.0),
            l2_regularization=trial.suggest_float("l2", 1e-2, 10, log=True),
            shrinkage=trial.suggest_float("shrinkage", 0.03, 0.2, log=True),
        )  # fmt: skip
    rates = (1e-3, 1e-1) if model == "logistic" else (3e-4, 1e-2)
    hidden = () if model == "logistic" else WIDTHS[trial.suggest_int("hidden", 0, len(WIDTHS) - 1)]
    return replace(
        base, model=model, hidden=hidden,
        activation=trial.suggest_categorical("activation", ["relu", "gelu", "silu"]),
        dropout=trial.suggest_float("dropout", 0.0, 0.5), batch_norm=trial.suggest_categorical("norm", [False, True]),
        learning_rate=trial.suggest_float(f"rate {model}", *rates, log=True),
        weight_decay=trial.suggest_float("decay", 1e-6, 1e-1, log=True),
        batch_size=trial.suggest_categorical("batch", ["auto", 32, 128, 256]),
        mixup_alpha=trial.suggest_categorical("mixup", [0.0, 0.2, 0.4]),
        schedule=trial.suggest_categorical("schedule", ["constant", "plateau", "cosine"]),
        bins=trial.suggest_categorical("bins", [0, 16, 32]),
    )  # fmt: skip


def search(table: Table, way: Way, seed: int) -> tuple[list[Config], int]:
    """Return the best configs that a way finds in its time, and how many it tried."""
    base = Config(seed=seed)
    first = configs_for(table, "default", base)
    began, found, n_tried = time.process_time(), {}, 0
    for configs, halving, tell in way(base, first):
        report = fit(table, configs, replace(SEARCH, halving=halving)).report
        losses = [
            math.inf if own.dropped_after is not None or own.failed else own.log_loss.value for own in report.configs
        ]
        tell(losses)
        n_tried += len(configs)
        found.update({str(config): (loss, config) for config, loss in zip(configs, losses, strict=True)})
        if time.process_time() - began > SECONDS:
            break
    best = sorted((own for own in found.values() if math.isfinite(own[0])), key=lambda own: own[0])
    return [config for _, config in best[:N_KEPT]], n_tried


def main() -> None:
    """Search every table in every way."""
    warnings.simplefilter("ignore")
    ways: dict[str, Way] = {
        "random": random_batches(("mlp", "residual", "logistic")),
        "random, trees too": random_batches(("mlp", "residual", "logistic", "trees")),
        "TPE": tpe_batches,
    }
    print("| table | preset |", " | ".join(f"{way} | configs" for way in ways), "|")
    print("|---|---:|" + "---:|" * 2 * len(ways), flush=True)
    names = sys.argv[1:] or TABLES
    for table in (own for own in whole_tables() if own.name in names):
        losses: dict[str, list[float]] = {"preset": [], **{way: [] for way in ways}}
        tried: dict[str, list[int]] = {way: [] for way in ways}
        for seed in SEEDS:
            frame, to_fit, held_out = fit_and_held_out_rows(table, seed)
            rows = Table.from_frame(frame[to_fit], table.target, positive=table.positive)
            others = Table.for_schema(frame[held_out], rows.schema)
            chosen = {"preset": preset_configs("default", Config(seed=seed), n_rows=len(rows.y))}
            for name, way in ways.items():
                chosen[name], n_tried = search(rows, way, seed)
                tried[name].append(n_tried)
            for name, configs in chosen.items():
                predictor = fit(rows, configs, CohortSettings(preset=None, halving=False))
                losses[name].append(log_loss(others.y, np.exp(predictor.log_proba_of(others))))
        cells = [f"{np.mean(losses['preset']):.4f}"]
        cells += [cell for way in ways for cell in (f"{np.mean(losses[way]):.4f}", f"{np.mean(tried[way]):.0f}")]
        print(f"| {table.name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
