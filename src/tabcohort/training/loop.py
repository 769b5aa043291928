"""The training loop, the same for every engine: rate, run, measure, remember, stop.

`train_network` is the loop. It reads no rows itself: an engine runs the steps of an epoch.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from tabcohort.engines.layers import LayerStatistics
from tabcohort.engines.protocol import Engine, State
from tabcohort.engines.validation import EpochResult, ValidationSet
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.settings import Config
from tabcohort.training.schedule import Plateau, Schedule


class EpochRecord(NamedTuple):
    """One epoch of the history.

    Attributes:
        epoch: counted from 1.
        learning_rate: of this epoch's steps.
        train_loss: mean over the rows of the epoch, as they were trained on (mixed, smoothed, with dropout).
        val_loss: log loss of the validation rows after the epoch.
        val_accuracy: accuracy on the validation rows after the epoch.
        score: the monitored metric of the validation rows; `val_loss` unless another one is monitored.
        seconds: since training began.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    score: float
    seconds: float


@dataclass(frozen=True)
class TrainingState:
    """A member's training so far; with the engine's state, it is enough to resume to the same bits.

    Args:
        history: one record per epoch.
        best_epoch: the epoch of the best score; of several, the earliest. 0 before the first epoch.
        best_state: the engine's state after the best epoch; nothing writes to it.
        plateau: what the plateau schedule remembers.
        stop_reason: "patience", "max_epochs", "interrupted" or what a callback returned; None while training goes on.
        engine_state: the engine's state where a callback stopped training, to continue from; otherwise empty.
        layers: figures about each parameter array after the last epoch, where an observer asked for them; otherwise
            empty.
    """

    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    best_state: State = field(default_factory=dict)
    plateau: Plateau = field(default_factory=Plateau)
    stop_reason: str | None = None
    engine_state: State = field(default_factory=dict)
    layers: tuple[LayerStatistics, ...] = ()

    @property
    def n_epochs(self) -> int:
        """Number of epochs so far."""
        return len(self.history)

    @property
    def is_finished(self) -> bool:
        """Whether training ended by itself."""
        return self.stop_reason in ("patience", "max_epochs")


EpochCallback = Callable[[TrainingState], str | None]


def train_network(
    engine: Engine,
    validation: ValidationSet,
    config: Config,
    callback: EpochCallback = lambda state: None,
    resume_from: TrainingState | None = None,
) -> TrainingState:
    """Train one network until its patience or its epochs are over, and leave its best weights in the engine.

    Ctrl-C ends training with the best weights of the epochs that are done; before the first it is raised.

    Args:
        engine: has the network and its rows.
        validation: the validation rows.
        config: `max_epochs`, `patience`, `monitor` and the schedule are used.
        callback: called after every epoch with the training so far, and before the first one where training resumes.
            A reason that it returns stops training, which can be resumed then.
        resume_from: where an earlier call for the same network stopped.

    Raises:
        TrainingError: a loss stopped being finite; the message names epoch and step.
    """
    state, schedule = resume_from or TrainingState(), Schedule(config)
    engine.restore(state.engine_state)
    began = time.perf_counter() - (state.history[-1].seconds if state.history else 0.0)
    try:
        if state.history and state.stop_reason is None:  # where it resumes may be where it is to pause
            state = replace(state, stop_reason=callback(state))
        while state.stop_reason is None:
            epoch, rates = state.n_epochs + 1, schedule.rates(state.plateau)
            result = engine.run_epoch(epoch, rates)
            if not result.is_finite:
                raise TrainingError(not_finite_message(result, epoch))
            score, seconds = validation.score(result, config.monitor), time.perf_counter() - began
            record = EpochRecord(epoch, rates[epoch - 1], *result[2:], score, seconds)
            state = after_epoch(state, record, engine.snapshot, config)
            if (reason := callback(state)) is not None and state.stop_reason is None:
                state = replace(state, stop_reason=reason, engine_state=engine.snapshot())
    except KeyboardInterrupt:
        if not state.history:
            raise
        state = replace(state, stop_reason="interrupted")
        kept = f"those of epoch {state.best_epoch} of {state.n_epochs}"
        warnings.warn(f"interrupted: the best weights so far are kept, {kept}", TabcohortWarning, stacklevel=2)
    engine.restore(state.best_state)
    return state


def after_epoch(
    state: TrainingState, record: EpochRecord, snapshot: Callable[[], State], config: Config
) -> TrainingState:
    """Return the training after one more epoch: whether it is the best one, what the schedule does, whether to stop.

    Args:
        state: before the epoch.
        record: of the epoch.
        snapshot: returns the engine's state after the epoch; called only if it is the best one.
        config: `max_epochs`, `patience`, `monitor` and the schedule are used.
    """
    best_epoch, best_state = state.best_epoch, state.best_state
    if not best_epoch or is_better(record.score, state.history[best_epoch - 1].score, config):
        best_epoch, best_state = record.epoch, snapshot()
    stop_reason = reason_to_stop(record.epoch, best_epoch, config)
    plateau = state.plateau.after(record.score, config) if config.schedule == "plateau" else state.plateau
    return TrainingState((*state.history, record), best_epoch, best_state, plateau, stop_reason)


def reason_to_stop(n_epochs: int, best_epoch: int, config: Config) -> str | None:
    """Return why a training ends by itself after some epochs: "patience" or "max_epochs"; None if it goes on."""
    if config.patience is not None and n_epochs - best_epoch >= config.patience:
        return "patience"
    return "max_epochs" if n_epochs >= config.max_epochs else None


def is_better(score: float, best: float, config: Config) -> bool:
    """Return whether a score beats the best one so far; an equal score does not, so the earliest epoch is kept."""
    return score < best if config.lower_is_better else score > best


def not_finite_message(result: EpochResult, epoch: int) -> str:
    """Return the message that a step's loss, or a validation row's logit, is not finite."""
    n_steps = len(result.step_losses)
    not_finite = np.flatnonzero(~np.isfinite(result.step_losses))
    if len(not_finite):
        step, what = int(not_finite[0]) + 1, "the loss"
    else:
        step, what = n_steps, "the output for the validation rows"
    return (
        f"{what} stopped being finite at epoch {epoch}, step {step} of {n_steps}; a smaller learning_rate or a "
        "clip_norm of 1.0 usually fixes this"
    )
