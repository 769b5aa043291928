"""Successive halving (Jamieson & Talwalkar 2016): which configs go on after their first epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

FIRST_RUNG, RUNG_FACTOR = 20, 3  # the first rung is a 20th of the epochs, each next one three times as many
MIN_FIRST_EPOCHS = 5
KEPT_SHARE, MIN_CONFIGS = 1 / 3, 4  # this many go on after a rung: fewer would leave no ensemble
N_RESERVES = 16  # rank up to which configs that do not go on may still be in the ensemble, with the weights they have


@dataclass(frozen=True)
class HalvingPolicy:
    """When configs are compared, and which go on.

    Args:
        n_configs: number of configs.
        max_epochs: the highest limit of epochs.
        drops: whether configs are dropped.
        pauses: whether all pause after their first epochs anyway, because a budget needs all to have begun.
    """

    n_configs: int
    max_epochs: int
    drops: bool
    pauses: bool

    def rungs(self) -> list[int]:
        """Return the epochs after which all members pause; the last one is the end."""
        drops = self.drops and self.n_configs > MIN_CONFIGS
        if not drops and not self.pauses:
            return [self.max_epochs]
        n_configs, rungs = self.n_configs, [max(MIN_FIRST_EPOCHS, self.max_epochs // FIRST_RUNG)]
        while drops and n_kept(n_configs) > MIN_CONFIGS:
            rungs.append(rungs[-1] * RUNG_FACTOR)
            n_configs = n_kept(n_configs)
        return [rung for rung in rungs if rung < self.max_epochs] + [self.max_epochs]

    def select(self, losses: Mapping[int, float]) -> Selected:
        """Return which configs go on, given the mean validation loss of each; of equal ones the first."""
        ranked = sorted(losses, key=lambda config: (losses[config], config))
        n_on = n_kept(len(ranked)) if self.drops else len(ranked)
        return Selected(ranked[:n_on], ranked[n_on:], ranked[max(n_on, N_RESERVES) :])


@dataclass(frozen=True)
class Selected:
    """The outcome of a rung, best configs first.

    Args:
        kept: configs that go on.
        dropped: configs that do not.
        without_weights: those of the dropped ones that are too bad to be in the ensemble.
    """

    kept: list[int]
    dropped: list[int]
    without_weights: list[int]


def n_kept(n_configs: int) -> int:
    """Return how many of this many configs go on after a rung."""
    return max(MIN_CONFIGS, math.ceil(n_configs * KEPT_SHARE))
