"""The seam between the training loop and what runs the steps: one method, plain arrays on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tabcohort.engines.batches import EpochPlan, Epochs
from tabcohort.errors import TrainingError
from tabcohort.types import FloatArray, IntArray


@dataclass(frozen=True)
class EpochOutcome:
    """What an epoch tells the loop.

    Args:
        step_losses: the training loss of each step, summed over its rows, shape `(n_steps,)`.
        stop_logits: the logits of the stopping rows after the last step, shape `(n_stop, n_outputs)`.
    """

    step_losses: FloatArray
    stop_logits: NDArray[np.floating]


@dataclass(frozen=True)
class Outcomes:
    """What epochs that were run in one call tell the loop: the arrays of `EpochOutcome`, with a row for each epoch."""

    step_losses: FloatArray
    stop_logits: NDArray[np.floating]

    def __getitem__(self, i: int) -> EpochOutcome:
        """Return the outcome of one epoch, counted from 0."""
        return EpochOutcome(self.step_losses[i], self.stop_logits[i])


@dataclass(frozen=True)
class MemberData:
    """What a member's engine sees of the table: rows that it shares with other members, and how it reads them.

    Args:
        rows: of the whole table, `(n_rows, n_features)`, float32. A row's inputs are `(row - centre) * scale`.
        centre, scale: shape `(n_features,)`, float32, fitted on the training rows.
        train, stop: which rows train and which stop, `(n_train,)` and `(n_stop,)`.
        train_mass: the weight of each class in each training row's target, `(n_train, n_classes)`, float32: the row's
            weight on its class, or spread by label smoothing. Losses and mixup are linear in it.
    """

    rows: NDArray[np.float32]
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    train: IntArray
    stop: IntArray
    train_mass: NDArray[np.float32]

    @classmethod
    def of_inputs(
        cls, train_inputs: NDArray[np.float32], train_mass: NDArray[np.float32], stop_inputs: NDArray[np.float32]
    ) -> MemberData:
        """Return the data of a member whose inputs are these, as they are."""
        n_train, n_features = train_inputs.shape
        rows = np.concatenate([train_inputs, stop_inputs])
        numbers = np.arange(len(rows))
        centre, scale = np.zeros(n_features, np.float32), np.ones(n_features, np.float32)
        return cls(rows, centre, scale, numbers[:n_train], numbers[n_train:], train_mass)

    def inputs(self, which: IntArray) -> NDArray[np.float32]:
        """Return the inputs of some rows, `(len(which), n_features)`, float32."""
        return (self.rows[which] - self.centre) * self.scale


State = dict[str, NDArray[np.generic]]


class Engine(Protocol):
    """Runs the epochs of one member.

    Args:
        name, device_name: what runs them, and where, for people.
        state: everything that training changes (parameters, buffers, the optimiser's moments), as arrays by name.
            The loop may copy them, and may write other values into them between calls.
        epochs_at_a_time: how many epochs are worth a call: more than one where they take microseconds.
    """

    name: str
    device_name: str
    state: State
    epochs_at_a_time: int

    def run_epochs(self, plans: Epochs, rates: Sequence[float]) -> Outcomes:
        """Run these epochs one after another at these rates, each with a pass over the stopping rows at its end."""
        ...

    def state_after(self, number: int) -> State:
        """Return the state after an epoch of the last call, counted from 0, in memory that nothing writes to later."""
        ...

    def release(self) -> None:
        """Leave the state's parameters and buffers in the network that was given, and that by itself."""
        ...


class OneEpochAtATime:
    """What an engine of single epochs needs to be an `Engine`."""

    epochs_at_a_time = 1
    state: State

    def run_epoch(self, plan: EpochPlan, learning_rate: float) -> EpochOutcome:
        """Run every step of the plan at this rate, then pass the stopping rows through the network once."""
        raise NotImplementedError

    def run_epochs(self, plans: Epochs, rates: Sequence[float]) -> Outcomes:
        """Run one epoch."""
        (rate,) = rates
        outcome = self.run_epoch(plans[0], rate)
        return Outcomes(outcome.step_losses[None], outcome.stop_logits[None])

    def state_after(self, number: int) -> State:
        """Return a copy of the state after the last epoch."""
        return {name: array.copy() for name, array in self.state.items()}


def check_shape_of_logits(shape: tuple[int, ...], n_classes: int) -> None:
    """Raise `TrainingError` unless the logits of two rows are `(2, n_classes)`, or `(2, 1)` for two classes."""
    allowed = [(2, n_classes)] + ([(2, 1)] if n_classes == 2 else [])
    if shape not in allowed:
        wanted = " or ".join(f"(n, {width})" for _, width in allowed)
        raise TrainingError(
            f"the module must return logits of shape {wanted} for {n_classes} classes; for 2 rows it returned {shape}"
        )
