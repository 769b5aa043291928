"""The learning rate of each epoch: constant within an epoch, as PyTorch's schedulers give stepped once per epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tabcohort.settings import Settings


@dataclass(frozen=True)
class Plateau:
    """What the plateau schedule remembers.

    Args:
        factor: of the base rate, so far.
        best: the score that new ones are compared with; None before the first.
        waited: epochs since a better one.
    """

    factor: float = 1.0
    best: float | None = None
    waited: int = 0

    def after(self, score: float, settings: Settings) -> Plateau:
        """Return the memory after one more epoch; better means by more than 0.01 % of the best, as in PyTorch."""
        if self.best is None:
            return Plateau(self.factor, score)
        margin = 1e-4 * abs(self.best)
        better = score < self.best - margin if settings.lower_is_better else score > self.best + margin
        if better:
            return Plateau(self.factor, score)
        if self.waited + 1 > settings.schedule_patience:
            return Plateau(self.factor * settings.schedule_factor, self.best)
        return Plateau(self.factor, self.best, self.waited + 1)


def learning_rate_of(epoch: int, settings: Settings, plateau: Plateau) -> float:
    """Return the learning rate of an epoch, counted from 1, under the settings' schedule."""
    done, base = epoch - 1, settings.learning_rate
    match settings.schedule:
        case "plateau":
            return base * plateau.factor
        case "step":
            return base * settings.schedule_factor ** (done // settings.schedule_every)
        case "exponential":
            return base * settings.schedule_factor**done
        case "cosine":
            return _along_cosine(base, 0.0, done / settings.max_epochs)
        case "one_cycle":
            return _one_cycle(base, done, settings.max_epochs)
        case _:
            return base


def _one_cycle(peak: float, done: int, n_epochs: int) -> float:
    """From peak / 25 to the peak in the first 30 % of the epochs, then to peak / 250,000 (Smith & Topin 2018)."""
    top, last = 0.3 * n_epochs - 1, n_epochs - 1
    if top > 0 and done <= top:
        return _along_cosine(peak / 25, peak, done / top)
    top = max(top, 0.0)
    return _along_cosine(peak, peak / 250_000, (done - top) / (last - top) if last > top else 0.0)


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
