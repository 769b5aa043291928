"""The learning rate of each epoch, constant within it, as PyTorch's schedulers give when stepped once per epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tabcohort.engines.regularization import flat_cosine
from tabcohort.settings import Config


@dataclass(frozen=True)
class Plateau:
    """What the plateau schedule remembers.

    Args:
        factor: of the base rate, so far.
        best: the score that new ones are compared with; None before the first.
        n_waited: epochs since a better one.
    """

    factor: float = 1.0
    best: float | None = None
    n_waited: int = 0

    def after(self, score: float, config: Config) -> Plateau:
        """Return the memory after one more epoch; better means by more than 0.01 % of the best, as in PyTorch."""
        if self.best is None:
            return Plateau(self.factor, score)
        margin = 1e-4 * abs(self.best)
        is_better = score < self.best - margin if config.lower_is_better else score > self.best + margin
        if is_better:
            return Plateau(self.factor, score)
        if self.n_waited + 1 > config.schedule_patience:
            return Plateau(self.factor * config.schedule_factor, self.best)
        return Plateau(self.factor, self.best, self.n_waited + 1)


class Schedule:
    """The learning rates of a training.

    Args:
        config: its schedule and base rate are used.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._rates: Sequence[float] = ()
        self._factor: float | None = None

    def rates(self, plateau: Plateau) -> Sequence[float]:
        """Return the rate of every epoch, `(max_epochs,)`, as far as it is known now: a plateau may change it later."""
        if self._factor != plateau.factor:
            self._factor = plateau.factor
            self._rates = [learning_rate(epoch, self.config, plateau) for epoch in range(1, self.config.max_epochs + 1)]
        return self._rates


def learning_rate(epoch: int, config: Config, plateau: Plateau) -> float:
    """Return the learning rate of an epoch, counted from 1, under a config's schedule."""
    n_done, base = epoch - 1, config.learning_rate
    match config.schedule:
        case "plateau":
            return base * plateau.factor
        case "step":
            return base * config.schedule_factor ** (n_done // config.schedule_every)
        case "exponential":
            return base * config.schedule_factor**n_done
        case "cosine":
            return _along_cosine(base, 0.0, n_done / config.max_epochs)
        case "one_cycle":
            return _one_cycle(base, n_done, config.max_epochs)
        case "coslog4":  # in the middle of the epoch, as it begins at 0
            return base * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * (n_done + 0.5) / config.max_epochs))) / 2
        case "flat_cosine":
            return base * flat_cosine(n_done / config.max_epochs)
        case _:
            return base


def _one_cycle(peak: float, n_done: int, n_epochs: int) -> float:
    """From peak / 25 to the peak in the first 30 % of the epochs, then to peak / 250,000 (Smith & Topin 2018)."""
    top, last = 0.3 * n_epochs - 1, n_epochs - 1
    if top > 0 and n_done <= top:
        return _along_cosine(peak / 25, peak, n_done / top)
    top = max(top, 0.0)
    return _along_cosine(peak, peak / 250_000, (n_done - top) / (last - top) if last > top else 0.0)


def _along_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
