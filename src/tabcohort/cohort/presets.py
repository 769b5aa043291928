"""Presets: the configs that are tried where a person names no network, and the reason for each of them.

No network suits every table: numbers that are skewed or act in steps are learned far better in bins, smooth ones worse.
So a preset is a small portfolio of unlike networks, trained on the same folds, of which greedy selection takes what is
best together (`tabcohort.cohort.selection`). The candidates were chosen by forward selection on out-of-fold log loss;
`benchmarks/ablations.md` has each of them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from tabcohort.errors import SettingsError, nearest
from tabcohort.settings import CohortSettings, Config

# Settings that say nothing of the network: a preset leaves them as they are.
KEPT = frozenset(
    ("class_weight", "monitor", "validation_fraction", "test_fraction", "positive", "seed", "engine", "device")
)


@dataclass(frozen=True)
class Candidate:
    """A config of a preset.

    Args:
        changes: of the default config.
        reason: why it is there.
    """

    changes: Mapping[str, Any]
    reason: str


_MIXUP = {"mixup_alpha": 0.3, "mixup_probability": 1.0}
_IN_BINS = {"bins": 16, "dropout": 0.3, "weight_decay": 0.1, **_MIXUP}

MIXED = Candidate(
    _IN_BINS, "the best single network: numbers in bins, and as the first layer is then wide, mixup, dropout and decay"
)
SMOOTH = Candidate({"weight_decay": 0.1, "dropout": 0.3}, "smooth measurements, which bins would cut into steps")
RESIDUAL = Candidate(
    {"model": "residual", **_IN_BINS},
    "alone worse than most, but batch normalisation makes unlike errors: beside MIXED it adds more than any other",
)
FAST_RATE = Candidate(
    {"bins": 16, "learning_rate": 3e-3, "schedule": "cosine", "max_epochs": 60},
    "a high rate that falls to zero: sharp steps in few columns",
)
LOGISTIC = Candidate(
    {"model": "logistic", "learning_rate": 0.01}, "few rows, or effects that are linear; it costs next to nothing"
)
SMALL = Candidate(
    {**_IN_BINS, "hidden": (64,), "dropout": 0.2}, "one narrow layer: close to MIXED for a fifth of its time"
)
GELU = Candidate({**_IN_BINS, "activation": "gelu"}, "MIXED with a smooth activation: as good, with other errors")
UNMIXED = Candidate(
    {"bins": 16, "hidden": (64,), "dropout": 0.2, "weight_decay": 0.03}, "SMALL without mixup: rules that mixing blurs"
)
FINE_BINS = Candidate({"bins": 48, "weight_decay": 0.03}, "numbers with many narrow steps, such as counts and money")

PRESETS: Mapping[str, tuple[Candidate, ...]] = MappingProxyType(
    {
        "fast": (SMALL, LOGISTIC),
        "default": (MIXED, SMOOTH, RESIDUAL, FAST_RATE, LOGISTIC, SMALL),
        "best": (MIXED, SMOOTH, RESIDUAL, FAST_RATE, LOGISTIC, SMALL, GELU, UNMIXED, FINE_BINS),
    }
)
SEEDS = {"best": 2}  # of presets that train all folds more often than rows and configs ask for


def preset_configs(preset: str, base: Config | None = None) -> list[Config]:
    """Return the configs of a preset.

    Args:
        preset: "fast", "default" or "best".
        base: its seed, engine, device, positive class, class weights, monitored metric and shares of rows are kept.

    Raises:
        SettingsError: there is no such preset.

    Example:
        >>> [config.model for config in preset_configs("fast")]
        ['mlp', 'logistic']
    """
    if preset not in PRESETS:
        raise SettingsError(f"there is no preset {preset!r}{nearest(preset, PRESETS)}; they are {', '.join(PRESETS)}")
    base = Config() if base is None else base
    kept = {name: getattr(base, name) for name in KEPT}
    return [Config(**kept, **candidate.changes) for candidate in PRESETS[preset]]


def preset_cohort(base: Config, settings: CohortSettings) -> tuple[list[Config], CohortSettings]:
    """Return the configs and settings of the preset that the settings name; `base` alone where they name none.

    No config of a preset is dropped on the way: unlike ones help each other.

    Args:
        base: see `preset_configs`.
        settings: of the cohort.
    """
    if settings.preset is None:
        return [base], settings
    seeds = SEEDS.get(settings.preset) if settings.seeds is None else settings.seeds
    return preset_configs(settings.preset, base), replace(settings, halving=False, seeds=seeds)


def describes_network(config: Config) -> bool:
    """Return whether a config has a setting of a network, rather than of a run, that is not the default."""
    return any(getattr(config, field.name) != field.default for field in fields(Config) if field.name not in KEPT)
