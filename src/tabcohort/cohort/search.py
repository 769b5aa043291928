"""Search: configs to try, every combination of a grid or random ones from a space that suits most tables."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tabcohort.errors import SettingsError, TabcohortWarning
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config, read_toml, rules, unknown_message, without_unused

MAX_CONFIGS = 10_000
WIDTHS = ((64,), (128, 64), (256, 128), (256, 256), (512, 128), (128, 128, 64))


def grid_from_toml(path: str | Path, base: Config) -> list[Config]:
    """Return every combination of the values in a TOML file, the last name varying fastest.

    A name has one value or a list of values, `dropout = [0.1, 0.3]`; widths are lists already, so several of them are a
    list of lists, `hidden = [[256, 128], [64]]`. Everything else is as in `base`.

    Raises:
        SettingsError: the file is missing or is not TOML; a name is unknown, has no value, or one out of range.
    """
    return grid(read_toml(path, "grid"), base)


def grid(values: Mapping[str, Any], base: Config) -> list[Config]:
    """Return every combination of lists of values by name, the last name varying fastest.

    Settings that a config does not use have their default values, and of configs that are then equal there is one.

    Raises:
        SettingsError: a name is unknown, has no value, or one out of range, or there are too many combinations.

    Warns:
        TabcohortWarning: combinations are the same.

    Examples:
        >>> configs = grid({"dropout": [0.0, 0.2], "hidden": [[8], [16]]}, Config())
        >>> [(config.dropout, config.hidden) for config in configs]
        [(0.0, (8,)), (0.0, (16,)), (0.2, (8,)), (0.2, (16,))]
    """
    lists = {}
    for name, value in values.items():
        if name not in rules():
            raise SettingsError(unknown_message(name, rules()))
        is_single = not isinstance(value, list) or (name == "hidden" and not any(isinstance(v, list) for v in value))
        lists[name] = [value] if is_single else value
        if not lists[name]:
            raise SettingsError(f"the grid has no value for {name!r}; give one, or leave the name out")
    n_configs = math.prod(len(values) for values in lists.values())
    if n_configs > MAX_CONFIGS:
        raise SettingsError(f"the grid has {n_configs:,} combinations, and at most {MAX_CONFIGS:,} can be tried")
    combinations = itertools.product(*lists.values())
    common = base.to_dict()
    return _distinct([Config.from_dict({**common, **dict(zip(lists, values, strict=True))}) for values in combinations])


def random_configs(n_configs: int, base: Config, fixed: Collection[str] = ()) -> list[Config]:
    """Return `base` and random changes of it: the model and most hyperparameters of it (see `docs/guide/tuning.md`).

    Rates and decays are drawn from a log-uniform distribution. Config i is the same however many there are. Settings
    that a config does not use have their default values, and of configs that are then equal there is one.

    Args:
        n_configs: number of configs.
        base: the first config, and what all have in common.
        fixed: names that are not drawn.

    Raises:
        SettingsError: the number is less than 1 or too large.

    Warns:
        TabcohortWarning: configs are the same, as too many names are fixed.
    """
    if not 1 <= n_configs <= MAX_CONFIGS:
        raise SettingsError(f"the number of configs must be from 1 to {MAX_CONFIGS:,}; it is {n_configs}")
    return _distinct([base, *(_random_config(base, number, fixed) for number in range(1, n_configs))])


def _distinct(configs: Sequence[Config]) -> list[Config]:
    """Return the different configs in their order, each with default values for what it does not use."""
    distinct = list({str(config): config for config in map(without_unused, configs)}.values())
    n_same = len(configs) - len(distinct)
    if n_same:
        warnings.warn(
            "left out, as they differ from another config only in settings that their networks do not use: "
            f"{n_same:,} of {len(configs):,} configs",
            TabcohortWarning,
            stacklevel=3,
        )
    return distinct


def _random_config(base: Config, number: int, fixed: Collection[str]) -> Config:
    rng = make_rng(base.seed, Purpose.CONFIGS, number)

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    def between(low: float, high: float) -> float:
        return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.2g}")

    drawn = one_of("mlp", "mlp", "residual", "logistic", "trees")
    model = base.model if "model" in fixed else drawn
    changes = {
        "model": model,
        "hidden": one_of(*WIDTHS),
        "activation": one_of("relu", "gelu", "silu"),
        "dropout": one_of(0.0, 0.1, 0.2, 0.3, 0.5),
        "batch_norm": one_of(False, True),
        "learning_rate": between(3e-4, 1e-2) if model != "logistic" else between(1e-3, 1e-1),
        "weight_decay": between(1e-6, 1e-1),
        "batch_size": one_of("auto", 32, 128, 256),
        "mixup_alpha": one_of(0.0, 0.0, 0.2, 0.4),
        "schedule": one_of("constant", "plateau", "cosine"),
        "bins": one_of(0, 0, 16, 16, 32),
        "max_leaf_nodes": one_of(7, 15, 31, 63),
        "min_samples_leaf": one_of(5, 10, 20, 40),
        "max_features": one_of(0.3, 0.5, 1.0),
        "l2_regularization": between(1e-2, 10),
        "shrinkage": between(0.03, 0.2),
    }
    return replace(base, **{name: value for name, value in changes.items() if name not in fixed})
