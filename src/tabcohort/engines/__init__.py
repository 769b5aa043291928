"""The seam between the training loop and what runs the steps: one method, plain arrays on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tabcohort.plan import EpochPlan
from tabcohort.prepare import FloatArray


@dataclass(frozen=True)
class EpochOutcome:
    """What an epoch tells the loop.

    Args:
        step_losses: the training loss of each step, summed over its rows, shape `(n_steps,)`.
        stop_logits: the logits of the stopping rows after the last step, shape `(n_stop, n_outputs)`.
    """

    step_losses: FloatArray
    stop_logits: NDArray[np.float32]


class Engine(Protocol):
    """Runs the epochs of one member.

    Args:
        state: everything that training changes (parameters, buffers, the optimiser's moments), as arrays by name.
            The loop may copy them, and may write other values into them between epochs.
        has_batch_norm: whether a step of a single row is impossible.
    """

    state: dict[str, NDArray[np.generic]]
    has_batch_norm: bool

    def run_epoch(self, plan: EpochPlan, learning_rate: float) -> EpochOutcome:
        """Run every step of the plan at this rate, then pass the stopping rows through the network once."""
        ...
