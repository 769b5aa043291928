"""Presets: the portfolios of configs that are tried where no config is given, with the reason for each.

No model suits every table: trees suit steps and interactions of a few columns, networks suit smooth effects, and
networks with binned numbers lie between. So a preset is a portfolio of different candidates, trained on the same
folds, of which greedy selection takes what is best together (`tabcohort.cohort.selection`). They were chosen by forward
selection on out-of-fold log loss; `benchmarks/ablations.md` has each of them alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from tabcohort.data.table import Table
from tabcohort.errors import SettingsError, nearest
from tabcohort.settings import CohortSettings, Config

# Settings of the run rather than of the network: a preset leaves them as they are.
RUN_SETTINGS = frozenset(
    (
        "class_weight",
        "monitor",
        "validation_fraction",
        "test_fraction",
        "positive",
        "seed",
        "engine",
        "device",
        "precision",
    )
)


# Inputs. A thousand rows of 10,000 take a tree's or a wide layer's epoch a second, and bins sixteen times as long.
MOST_BINNED_INPUTS, MOST_INPUTS = 2_000, 20_000


@dataclass(frozen=True)
class Candidate:
    """A config of a preset.

    Args:
        changes: of the default config.
        reason: why it is there.
        suits: whether a table of this many rows and classes is to try it.
        max_inputs: the widest table that is to try it.
    """

    changes: Mapping[str, Any]
    reason: str
    suits: Callable[[int, int], bool] = lambda n_rows, n_classes: True
    max_inputs: float = MOST_INPUTS


FEW_ROWS, MANY_ROWS = 1_000, 5_000
FEW_CLASSES, MOST_CLASSES = 5, 20
_BATCHES: Mapping[str, Any] = {"batch_size": 128, "learning_rate": 2e-3}
_MIXUP: Mapping[str, Any] = {"mixup_alpha": 0.3, "mixup_probability": 1.0}
_SMOOTH: Mapping[str, Any] = {**_BATCHES, "dropout": 0.3, "weight_decay": 0.1, "activation": "silu"}
_TREES: Mapping[str, Any] = {
    "model": "trees", "max_leaf_nodes": 15, "l2_regularization": 1.0, "max_features": 0.5
}  # fmt: skip
_COSINE: Mapping[str, Any] = {"learning_rate": 3e-3, "schedule": "cosine"}

LOGISTIC = Candidate(
    {**_BATCHES, "model": "logistic", "learning_rate": 0.02, "patience": 8},
    "few rows, or linear effects; it costs next to nothing",
    max_inputs=math.inf,
)
FAST_TREES = Candidate(
    {**_TREES, "shrinkage": 0.2, "patience": 8, "max_epochs": 100},
    "boosted trees: the best kind alone; with many classes they take too long, as each has trees of its own",
    lambda n_rows, n_classes: n_classes <= MOST_CLASSES,
)
COARSE_TREES = replace(
    FAST_TREES,
    reason="FAST_TREES: few rows have many members, whose mean makes up for coarse steps, and many classes take long",
    suits=lambda n_rows, n_classes: (n_rows <= FEW_ROWS or n_classes > FEW_CLASSES) and n_classes <= MOST_CLASSES,
)
TREES = Candidate(
    {**_TREES, "shrinkage": 0.05},
    "trees of more and smaller steps",
    lambda n_rows, n_classes: FEW_ROWS < n_rows <= MANY_ROWS and n_classes <= FEW_CLASSES,
)
LARGE_TREES = Candidate(
    {**_TREES, "shrinkage": 0.05, "max_leaf_nodes": 31},
    "TREES with more leaves, as more rows bear them",
    lambda n_rows, n_classes: n_rows > MANY_ROWS and n_classes <= FEW_CLASSES,
)
SMOOTH = Candidate(
    {**_SMOOTH, "hidden": (128, 64)},
    "smooth measurements, which trees and bins would cut into steps",
    lambda n_rows, n_classes: n_classes <= 10,
)
WIDE = Candidate({**_SMOOTH, "hidden": (256, 128)}, "SMOOTH for many classes", lambda n_rows, n_classes: n_classes > 10)
BINS = Candidate(
    {**_BATCHES, **_MIXUP, "bins": 16, "hidden": (128, 64), "dropout": 0.3, "weight_decay": 0.1, "batch_norm": True},
    "numbers in bins; with mixup, dropout and decay, as the first layer is wide then: it makes other errors than trees",
    max_inputs=MOST_BINNED_INPUTS,
)
SHORT = Candidate(
    {**_COSINE, "bins": 16, "hidden": (64,), "dropout": 0.2, "weight_decay": 0.1, "max_epochs": 20},
    "one narrow layer and at most 20 epochs: the best network for its time",
    max_inputs=MOST_BINNED_INPUTS,
)
PLAIN_TREES = Candidate(
    {"model": "trees", "max_leaf_nodes": 15},
    "all columns are considered at each split: for tables where few columns matter",
    lambda n_rows, n_classes: n_classes <= MOST_CLASSES,
)
COSINE = Candidate(
    {**_COSINE, "bins": 16, "max_epochs": 60}, "a wide network that ends at rate zero", max_inputs=MOST_BINNED_INPUTS
)
SMOOTH_MIXED = Candidate(
    {**_MIXUP, "hidden": (64, 64), "dropout": 0.2, "weight_decay": 0.1}, "SMOOTH with mixup: few rows with noise"
)

PRESETS: Mapping[str, tuple[Candidate, ...]] = MappingProxyType(
    {
        # The first one is trained to its end where there is a budget, so it is the cheapest.
        "fast": (LOGISTIC, FAST_TREES, SHORT),
        "default": (LOGISTIC, COARSE_TREES, TREES, LARGE_TREES, SMOOTH, WIDE, BINS),
        "best": (LOGISTIC, COARSE_TREES, TREES, LARGE_TREES, SMOOTH, WIDE, BINS, PLAIN_TREES, COSINE, SMOOTH_MIXED),
    }
)
# Of configs, by `CohortSettings.kinds`.
MODELS = {
    "all": ("logistic", "mlp", "residual", "trees"),
    "networks": ("logistic", "mlp", "residual"),
    "linear": ("logistic",),
}
# Of presets that have other folds, or train them more or less often, than the numbers of rows and configs ask for.
FOLDS, SEEDS = {"fast": 4}, {"fast": 1, "best": 2}


def preset_configs(
    preset: str,
    base: Config | None = None,
    kinds: str = "all",
    n_rows: int = 1_000,
    n_classes: int = 2,
    n_inputs: int = 1,
) -> list[Config]:
    """Return the configs of a preset.

    Args:
        preset: "fast", "default" or "best".
        base: its seed, engine, device, positive class, class weights, monitored metric and shares of rows are kept.
        kinds: as in `CohortSettings`.
        n_rows, n_classes, n_inputs: of the table.

    Raises:
        SettingsError: there is no such preset.

    Examples:
        >>> [config.model for config in preset_configs("fast")]
        ['logistic', 'trees', 'mlp']
    """
    if preset not in PRESETS:
        raise SettingsError(f"there is no preset {preset!r}{nearest(preset, PRESETS)}; they are {', '.join(PRESETS)}")
    base = Config() if base is None else base
    of_run = {name: getattr(base, name) for name in RUN_SETTINGS}
    configs = [
        Config(**of_run, **candidate.changes)
        for candidate in PRESETS[preset]
        if candidate.suits(n_rows, n_classes) and n_inputs <= candidate.max_inputs
    ]
    return [config for config in configs if config.model in MODELS[kinds]]


def configs_for(table: Table, preset: str, base: Config | None = None, kinds: str = "all") -> list[Config]:
    """Return the configs of a preset that suit a table; see `preset_configs`."""
    return preset_configs(preset, base, kinds, len(table.y), len(table.schema.classes), table.n_inputs)


def preset_cohort(table: Table, base: Config, settings: CohortSettings) -> tuple[list[Config], CohortSettings]:
    """Return the configs of the preset that the settings name, for a table, and the settings of their cohort.

    No config of a preset is dropped in training: different ones help each other.

    Args:
        table: the rows.
        base: see `preset_configs`.
        settings: of the cohort.

    Returns:
        The configs, `base` alone where no preset is named, and the settings without halving.
    """
    if settings.preset is None:
        return [base], settings
    folds = FOLDS.get(settings.preset) if settings.folds is None else settings.folds
    seeds = SEEDS.get(settings.preset) if settings.seeds is None else settings.seeds
    configs = configs_for(table, settings.preset, base, settings.kinds)
    return configs, replace(settings, halving=False, folds=folds, seeds=seeds)
