"""What each candidate of the presets gives alone, and which are best together: out-of-fold log loss.

    make ablations

At most 4,000 rows of each table, five folds, one seed. Every candidate is trained on the same folds; "together" is
greedy selection, its weights for a fold chosen on the other folds. Forward selection adds at each step the candidate
that lowers the mean over tables most. What was measured is kept in `build/ablations`, so that a run that was stopped
goes on. Writes `ablations.md` beside this file, but for its section on ingredients (see `ingredients.py`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from real_tables import RealTable, usable_rows, whole_tables

from tabcohort import CohortSettings, Config, OutOfFoldPredictions, Table
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.presets import PRESETS, preset_configs
from tabcohort.cohort.runner import run
from tabcohort.cohort.selection import greedy_weights, mean_log_proba, out_of_fold
from tabcohort.evaluation.metrics import log_loss

MAX_ROWS, MIN_ROWS_OF_CLASS = 4_000, 12
SETTINGS = CohortSettings(folds=5, seeds=1, halving=False)
KEPT = Path(__file__).parents[1] / "build" / "ablations"
INGREDIENTS = "# What ingredients of networks give alone"  # where the section begins that `ingredients.py` writes
MIXUP = {"mixup_alpha": 0.3, "mixup_probability": 1.0}
MIXED = {"bins": 16, "dropout": 0.3, "weight_decay": 0.1, **MIXUP}
NARROW = {**MIXED, "hidden": (64,), "dropout": 0.2}
BATCHES = {"batch_size": 128, "learning_rate": 2e-3}
COSINE = {"learning_rate": 3e-3, "schedule": "cosine"}
SMOOTH = {"dropout": 0.3, "weight_decay": 0.1, **BATCHES, "activation": "silu", "hidden": (128, 64)}
NORMED = {**MIXED, **BATCHES, "hidden": (128, 64), "batch_norm": True}
TREES = {"model": "trees", "max_leaf_nodes": 15, "l2_regularization": 1.0, "max_features": 0.5}
CONFIGS: Mapping[str, Config] = {
    "mlp (before)": Config(),
    "16 bins": Config(bins=16),
    "16 bins, dropout 0.3": Config(bins=16, dropout=0.3),
    "16 bins, decay 0.1": Config(bins=16, weight_decay=0.1),
    "16 bins, gelu": Config(bins=16, activation="gelu"),
    "16 bins, cosine": Config(bins=16, **COSINE, max_epochs=60),
    "16 bins, 64": Config(bins=16, hidden=(64,), dropout=0.2, weight_decay=0.03),
    "16 bins, 64, cosine": Config(bins=16, hidden=(64,), dropout=0.2, weight_decay=0.1, **COSINE, max_epochs=40),
    "16 bins, 64, cosine, 20 epochs": Config(
        bins=16, hidden=(64,), dropout=0.2, weight_decay=0.1, **COSINE, max_epochs=20
    ),
    "16 bins, residual": Config(model="residual", bins=16, dropout=0.3),
    "48 bins, decay 0.03": Config(bins=48, weight_decay=0.03),
    "dropout, decay": Config(weight_decay=0.1, dropout=0.3),
    "dropout, decay, 128-64": Config(hidden=(128, 64), dropout=0.3, weight_decay=0.1),
    "dropout, decay, silu, batches of 128": Config(dropout=0.3, weight_decay=0.1, **BATCHES, activation="silu"),
    "dropout, decay, silu, 128-64, batches of 128": Config(**SMOOTH),
    "logistic": Config(model="logistic", learning_rate=0.01),
    "logistic, batches of 128": Config(model="logistic", learning_rate=0.02, batch_size=128),
    "logistic, batches of 128, patience 8": Config(model="logistic", learning_rate=0.02, batch_size=128, patience=8),
    "logistic, 16 bins": Config(model="logistic", learning_rate=0.01, bins=16),
    "mixup, 16 bins": Config(**MIXED),
    "mixup, 16 bins, gelu": Config(**MIXED, activation="gelu"),
    "mixup, 16 bins, cosine": Config(**MIXED, **COSINE, max_epochs=60),
    "mixup, 16 bins, 64": Config(**NARROW),
    "mixup, 16 bins, 64, batches of 128": Config(**NARROW, **BATCHES),
    "mixup, 16 bins, 128-64": Config(**MIXED, hidden=(128, 64)),
    "mixup, 16 bins, 128-64, batches of 128": Config(**MIXED, hidden=(128, 64), **BATCHES),
    "mixup, 32 bins, 128-64, batches of 128": Config(**{**MIXED, "bins": 32}, hidden=(128, 64), **BATCHES),
    "mixup, 16 bins, 128-64, batch norm": Config(**MIXED, hidden=(128, 64), batch_norm=True),
    "mixup, 16 bins, 128-64, batch norm, batches of 128": Config(**NORMED),
    "mixup, 16 bins, residual": Config(**MIXED, model="residual"),
    "mixup, 16 bins, residual 64-64": Config(**{**NARROW, "hidden": (64, 64)}, model="residual"),
    "mixup, 16 bins, residual 64-64, batches of 128": Config(
        **{**NARROW, "hidden": (64, 64)}, model="residual", **BATCHES
    ),
    "mixup": Config(**{**MIXED, "bins": 0}),
    "mixup, 64-64": Config(**{**NARROW, "bins": 0, "hidden": (64, 64)}),
    "mixup, periodic": Config(**{**MIXED, "bins": 0}, periodic=8),
    "dropout, decay, silu, 128-64, batches of 128, periodic": Config(**SMOOTH, periodic=8),
    "dropout, decay, silu, 128-64, batches of 128, 16 periodic": Config(**SMOOTH, periodic=16),
    "dropout, decay, silu, 128-64, batches of 128, periodic, mixup": Config(**SMOOTH, **MIXUP, periodic=8),
    "dropout, decay, silu, 128-64, batches of 128, learned scale, rates of RealMLP": Config(
        **SMOOTH, input_scale=True, bias_rate_factor=0.1, scale_rate_factor=6.0
    ),
    "dropout, decay, silu, 128-64, batches of 128, weights by fan-in": Config(**SMOOTH, weight_init="lecun_normal"),
    "dropout, decay, silu, 64, cosine, 20 epochs, periodic": Config(
        hidden=(64,), dropout=0.2, weight_decay=0.1, **COSINE, max_epochs=20, activation="silu", periodic=8
    ),
    "mixup, 16 bins, 128-64, batch norm, batches of 128, periodic": Config(**NORMED, periodic=8),
    "mixup, 16 bins, 128-64, batch norm, batches of 128, learned scale": Config(**NORMED, input_scale=True),
    "mixup, 16 bins, 128-64, batch norm, batches of 128, normal scores": Config(**NORMED, scaling="quantile"),
    "mixup, 128-64, batch norm, batches of 128, periodic": Config(**{**NORMED, "bins": 0}, periodic=8),
    "trees": Config(model="trees"),
    "trees, l2 1": Config(model="trees", l2_regularization=1.0),
    "trees, l2 10": Config(model="trees", l2_regularization=10.0),
    "trees, 15 leaves": Config(model="trees", max_leaf_nodes=15),
    "trees, half of the columns": Config(model="trees", max_features=0.5),
    "trees, shrinkage 0.05": Config(model="trees", shrinkage=0.05),
    "trees, 5 rows": Config(model="trees", min_samples_leaf=5),
    "trees, 15 leaves, l2 1, half of the columns": Config(**TREES),
    "trees, 8 leaves, l2 1, half of the columns": Config(**TREES | {"max_leaf_nodes": 8}),
    "trees, 15 leaves, l2 5, 5 rows, half of the columns": Config(
        **TREES | {"l2_regularization": 5.0, "min_samples_leaf": 5}
    ),
    "trees, 15 leaves, l2 1, half of the columns, shrinkage 0.05": Config(**TREES, shrinkage=0.05),
    "trees, 31 leaves, l2 1, half of the columns, shrinkage 0.05": Config(
        **TREES | {"max_leaf_nodes": 31}, shrinkage=0.05
    ),
    "trees, 15 leaves, l2 1, half of the columns, shrinkage 0.2": Config(
        **TREES, shrinkage=0.2, patience=8, max_epochs=100
    ),
}
# Ingredients in place of the same network without them, in the default preset.
IN_PRESET = {
    "dropout, decay, silu, 128-64, batches of 128": (
        ", periodic",
        ", periodic, mixup",
        ", learned scale, rates of RealMLP",
        ", weights by fan-in",
    ),
    "mixup, 16 bins, 128-64, batch norm, batches of 128": (", periodic", ", learned scale", ", normal scores"),
}
Predictions = Mapping[str, OutOfFoldPredictions]


def predictions_of(table: RealTable) -> Predictions:
    """Return the out-of-fold predictions of each config on a table, from the folder where they are kept if there."""
    path = KEPT / f"{table.name}.npz"
    kept = dict(np.load(path)) if path.is_file() else {}
    missing = [name for name in CONFIGS if name not in kept]
    if missing:
        frame = usable_rows(table, MIN_ROWS_OF_CLASS)
        frame = frame.sample(MAX_ROWS, seed=0) if len(frame) > MAX_ROWS else frame
        plan = make_plan(
            Table.from_frame(frame, table.target, positive=table.positive),
            [CONFIGS[name] for name in missing],
            SETTINGS,
        )
        for number, own in out_of_fold(plan, run(plan)).items():
            kept |= {missing[number]: own.log_proba, "y": own.y, "weight": own.weight, "fold_ids": own.fold_ids}
        KEPT.mkdir(parents=True, exist_ok=True)
        np.savez(path, **kept)
    rows = np.arange(len(kept["y"]))
    rest = kept["y"], kept["weight"], kept["fold_ids"], rows
    return {name: OutOfFoldPredictions(rows, kept[name], *rest) for name in CONFIGS if name in kept}


def loss_together(predictions: Predictions, names: Sequence[str], n_bags: int | None = None) -> float:
    """Return the log loss of some configs together; see `together`."""
    own = together(predictions, names, n_bags)
    return log_loss(own.log_proba, own.y, own.weight)


def together(predictions: Predictions, names: Sequence[str], n_bags: int | None = None) -> OutOfFoldPredictions:
    """Return the predictions of some configs together: each fold by weights that were chosen on the others.

    Args:
        predictions: of each config.
        names: of the configs.
        n_bags: as in `greedy_weights`.
    """
    candidates = [predictions[name] for name in names]
    first = candidates[0]
    log_proba = np.empty(first.log_proba.shape)
    for inside, outside in first.folds():
        rows, others = np.flatnonzero(inside), np.flatnonzero(outside)
        weights = greedy_weights([candidate.take(others) for candidate in candidates], n_bags)
        log_proba[rows] = mean_log_proba([candidate.take(rows) for candidate in candidates], weights)
    return replace(first, log_proba=log_proba)


def forward_selection(
    tables: Mapping[str, Predictions], before: Mapping[str, float], n_steps: int
) -> list[tuple[str, float]]:
    """Return configs in the order in which forward selection adds them, and the mean ratio of losses after each."""
    chosen: list[tuple[str, float]] = []
    for _ in range(n_steps):
        names = [name for name, _ in chosen]
        ratios = {
            name: ratio_of_means(
                [loss_together(own, [*names, name], n_bags=1) / before[key] for key, own in tables.items()]
            )
            for name in CONFIGS
            if name not in names
        }
        best = min(ratios, key=ratios.__getitem__)
        chosen.append((best, ratios[best]))
    return chosen


def names_of(preset: str, predictions: Predictions) -> list[str]:
    """Return the names of the configs of a preset for a table."""
    n_rows, n_classes = predictions["mlp (before)"].log_proba.shape
    by_config = {str(config): name for name, config in CONFIGS.items()}
    return [by_config[str(config)] for config in preset_configs(preset, n_rows=n_rows, n_classes=n_classes)]


def ratio_of_means(ratios: Sequence[float]) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.mean(np.log(ratios))))


def main() -> None:
    """Measure all tables, or those that are named, and write what was found."""
    warnings.simplefilter("ignore")
    tables: dict[str, Predictions] = {}
    for table in whole_tables():
        if not sys.argv[1:] or table.name in sys.argv[1:]:
            tables[table.name] = predictions_of(table)
            print(table.name, flush=True)
    alone = {
        key: {name: log_loss(own[name].log_proba, own[name].y, own[name].weight) for name in CONFIGS}
        for key, own in tables.items()
    }
    before = {key: losses["mlp (before)"] for key, losses in alone.items()}
    means = {name: ratio_of_means([alone[key][name] / before[key] for key in tables]) for name in CONFIGS}
    order = sorted(CONFIGS, key=means.__getitem__)
    lines = [
        "| config, alone | mean ratio to before |",
        "|---|---:|",
        *(f"| {name} | {means[name]:.3f} |" for name in order),
    ]
    lines += ["", "| added | mean ratio together |", "|---|---:|"]
    lines += [f"| {name} | {ratio:.4f} |" for name, ratio in forward_selection(tables, before, 8)]
    lines += ["", "| preset | mean ratio together |", "|---|---:|"]
    for preset in PRESETS:
        ratios = [loss_together(own, names_of(preset, own)) / before[key] for key, own in tables.items()]
        lines.append(f"| {preset} | {ratio_of_means(ratios):.4f} |")
    lines += [
        "",
        "| default preset with this network in place of the same without it | mean ratio | lower, higher |",
        "|---|---:|---:|",
    ]
    default = {key: loss_together(own, names_of("default", own)) for key, own in tables.items()}
    for base, added in ((base, added) for base, ingredients in IN_PRESET.items() for added in ingredients):
        ratios = []
        for key, own in tables.items():
            names = names_of("default", own)
            if base in names:
                names = [base + added if name == base else name for name in names]
                ratios.append(loss_together(own, names) / default[key])
        n_lower, n_higher = sum(ratio < 0.9995 for ratio in ratios), sum(ratio > 1.0005 for ratio in ratios)
        lines.append(f"| {base + added} | {ratio_of_means(ratios):.4f} | {n_lower}, {n_higher} |")
    lines += ["", f"| table | {' | '.join(order)} |", f"|---|{'---:|' * len(order)}"]
    lines += [f"| {key} | {' | '.join(f'{alone[key][name]:.4f}' for name in order)} |" for key in tables]
    title = (
        f"# Out-of-fold log loss of candidates, {len(tables)} tables of at most {MAX_ROWS:,} rows (`make ablations`)"
    )
    text = "\n".join([title, "", *lines, ""])
    print(text)
    path = Path(__file__).with_suffix(".md")
    _, heading, rest = path.read_text(encoding="utf-8").partition(INGREDIENTS)
    path.write_text(f"{text}\n{heading}{rest}" if heading else text, encoding="utf-8")


if __name__ == "__main__":
    main()
