"""Settings to try: every combination of a grid, or random ones from a space that suits most tables."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tabcohort.errors import SettingsError, nearest
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Settings, read_toml, rules

MOST_SETTINGS = 10_000
WIDTHS = ((64,), (128, 64), (256, 128), (256, 256), (512, 128), (128, 128, 64))


def grid_from_toml(path: str | Path, base: Settings) -> list[Settings]:
    """Return every combination of the values in a TOML file, the last name varying fastest.

    A name has one value or a list of values, `dropout = [0.1, 0.3]`; widths are lists already, so several of them are a
    list of lists, `hidden = [[256, 128], [64]]`. What the file does not name is as in `base`.

    Raises:
        SettingsError: the file is missing or is not TOML; a name is unknown, has no value, or one out of range.
    """
    return grid(read_toml(path, "grid"), base)


def grid(values: Mapping[str, Any], base: Settings) -> list[Settings]:
    """Return every combination of lists of values by name.

    Raises:
        SettingsError: a name is unknown, has no value, or one out of range, or there are too many combinations.

    Example:
        >>> [(each.dropout, each.hidden) for each in grid({"dropout": [0.0, 0.2], "hidden": [[8], [16]]}, Settings())]
        [(0.0, (8,)), (0.0, (16,)), (0.2, (8,)), (0.2, (16,))]
    """
    lists = {}
    for name, value in values.items():
        if name not in rules():
            raise SettingsError(f"there is no setting {name!r}{nearest(name, rules())}; the README lists them all")
        one = not isinstance(value, list) or (name == "hidden" and not any(isinstance(each, list) for each in value))
        lists[name] = [value] if one else value
        if not lists[name]:
            raise SettingsError(f"the grid gives no value for {name!r}; give one, or leave the name out")
    n_settings = int(np.prod([float(len(each)) for each in lists.values()]))
    if n_settings > MOST_SETTINGS:
        raise SettingsError(f"the grid has {n_settings:,} combinations, and at most {MOST_SETTINGS:,} can be tried")
    whole = base.to_dict()
    return [
        Settings.from_dict({**whole, **dict(zip(lists, each, strict=True))})
        for each in itertools.product(*lists.values())
    ]


def random_settings(n_settings: int, base: Settings, fixed: Collection[str] = ()) -> list[Settings]:
    """Return `base` and random changes of it: network, rate, decay, dropout, batches, mixup and schedule.

    Rates and decays are drawn evenly on a logarithmic scale. Settings i are the same however many there are.

    Args:
        n_settings: how many.
        base: the first of them, and what all have in common that is not drawn.
        fixed: names that are not drawn.

    Raises:
        SettingsError: there are to be none.
    """
    if not 1 <= n_settings <= MOST_SETTINGS:
        raise SettingsError(f"the number of settings must be from 1 to {MOST_SETTINGS:,}; it is {n_settings}")
    return [base, *(_draw(base, number, fixed) for number in range(1, n_settings))]


def _draw(base: Settings, number: int, fixed: Collection[str]) -> Settings:
    draw = make_rng(base.seed, Purpose.CONFIGS, number)

    def one_of(*values: Any) -> Any:
        return values[int(draw.integers(len(values)))]

    def between(low: float, high: float) -> float:
        return float(f"{np.exp(draw.uniform(np.log(low), np.log(high))):.2g}")

    drawn = one_of("mlp", "mlp", "residual", "logistic")
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
    }
    return replace(base, **{name: value for name, value in changes.items() if name not in fixed})
