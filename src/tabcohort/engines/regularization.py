"""How strong weight decay and dropout are in each epoch."""

from __future__ import annotations

import math

from tabcohort.settings import Config


def schedule_factor(schedule: str, epoch: int, config: Config) -> float:
    """Return what weight decay or dropout is multiplied by in an epoch, counted from 1.

    Args:
        schedule: "constant" or "flat_cosine".
        epoch: the epoch.
        config: `max_epochs` is used.
    """
    return 1.0 if schedule == "constant" else flat_cosine((epoch - 1) / config.max_epochs)


def flat_cosine(fraction: float) -> float:
    """Return 1 in the first half of a training, and then half a cosine to 0 at its end (Holzmüller et al. 2024)."""
    return 1.0 if fraction < 0.5 else (1 + math.cos(math.pi * (2 * fraction - 1))) / 2
