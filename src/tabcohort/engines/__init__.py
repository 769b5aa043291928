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


@dataclass(frozen=True)
class MemberData:
    """What a member's engine sees of the table.

    Args:
        train_inputs, stop_inputs: shape `(n_rows, n_features)`, float32.
        train_mass: the weight of each class in each training row's target, `(n_rows, n_classes)`, float32: the row's
            weight on its class, or spread by label smoothing. Losses and mixup are linear in it.
    """

    train_inputs: NDArray[np.float32]
    train_mass: NDArray[np.float32]
    stop_inputs: NDArray[np.float32]


class Engine(Protocol):
    """Runs the epochs of one member.

    Args:
        name, device_name: what runs them, and where, for people.
        state: everything that training changes (parameters, buffers, the optimiser's moments), as arrays by name.
            The loop may copy them, and may write other values into them between epochs.
        has_batch_norm: whether a step of a single row is impossible.
    """

    name: str
    device_name: str
    state: dict[str, NDArray[np.generic]]
    has_batch_norm: bool

    def run_epoch(self, plan: EpochPlan, learning_rate: float) -> EpochOutcome:
        """Run every step of the plan at this rate, then pass the stopping rows through the network once."""
        ...

    def release(self) -> None:
        """Leave the state's parameters and buffers in the module, and the module by itself, in evaluation mode."""
        ...
