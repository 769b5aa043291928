"""The epochs, the same for every engine: run, measure the stopping rows, remember the best, set the rate, stop.

`fit_member` is the training loop. It reads no rows itself: an engine runs the steps, a plan holds the randomness.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tabcohort.engines import Engine, EpochOutcome
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.evaluate import Scorer, log_loss, log_probabilities
from tabcohort.plan import EpochPlan, MemberPlan
from tabcohort.prepare import FloatArray, IntArray
from tabcohort.schedule import Plateau, learning_rate_of
from tabcohort.settings import Settings


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history.

    Args:
        epoch: counted from 1.
        learning_rate: of this epoch's steps.
        train_loss: mean over the rows of the epoch, as they were trained on (mixed, smoothed, with dropout).
        stop_loss: log loss of the stopping rows after the epoch.
        stop_accuracy: accuracy on the stopping rows after the epoch.
        score: the monitored metric of the stopping rows; `stop_loss` unless another one is monitored.
        seconds: since training began.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    stop_loss: float
    stop_accuracy: float
    score: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """A member's training so far; with the engine's state, all that it takes to go on to the same bits.

    Args:
        history: one record per epoch.
        best_epoch: the epoch of the best score; of several, the earliest. 0 before the first epoch.
        best_state: the engine's state after the best epoch: a copy that nothing else writes to.
        plateau: what the plateau schedule remembers.
        stop_reason: "patience", "max_epochs" or "interrupted"; None while training goes on.
    """

    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    best_state: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    plateau: Plateau = field(default_factory=Plateau)
    stop_reason: str | None = None


Watcher = Callable[[Progress], None]


@dataclass(frozen=True)
class StoppingRows:
    """The rows that stop: class codes and weights, each `(n_stop,)`, and the code of the positive class, if any."""

    y: IntArray
    weight: FloatArray
    positive: int | None

    def measure(self, epoch: EpochPlan, learning_rate: float, outcome: EpochOutcome, monitor: str) -> EpochRecord:
        """Return the record of an epoch, without its time.

        Raises:
            TrainingError: these rows cannot tell the monitored metric.
        """
        log_proba = log_probabilities(outcome.stop_logits)
        stop_loss = log_loss(log_proba, self.y, self.weight)
        stop_accuracy = float(self.weight[log_proba.argmax(axis=1) == self.y].sum() / self.weight.sum())
        score = {"log_loss": stop_loss, "accuracy": stop_accuracy}.get(monitor)
        if score is None:
            score = Scorer(log_proba, self.y, self.positive).metrics(self.weight).get(monitor, math.nan)
        if math.isnan(score):
            raise TrainingError(
                f"the stopping rows cannot tell {monitor!r} (a class is missing among them, or no class is named "
                "positive); monitor 'log_loss' instead"
            )
        train_loss = float(outcome.step_losses.sum() / len(epoch.order))
        return EpochRecord(epoch.epoch, learning_rate, train_loss, stop_loss, stop_accuracy, score, math.nan)


def fit_member(
    engine: Engine,
    plan: MemberPlan,
    stopping: StoppingRows,
    settings: Settings,
    watch: Watcher = lambda progress: None,
    resume_from: Progress | None = None,
) -> Progress:
    """Train one member until its patience or its epochs are over, and leave its best weights in the engine.

    Ctrl-C ends training with the best weights of the epochs that are done; before the first is done it is raised on.

    Args:
        engine: holds the member's network and rows.
        plan: what each epoch will see.
        stopping: the rows that stop.
        settings: `max_epochs`, `patience`, `monitor` and the schedule are used.
        watch: called after every epoch with all that was done so far (to show it, to write a checkpoint).
        resume_from: where an earlier run of the same member stopped; the engine's state must be that of then.

    Raises:
        TrainingError: a loss stopped being finite; the sentence names member, epoch and step.
    """
    progress = resume_from or Progress()
    began = time.perf_counter() - (progress.history[-1].seconds if progress.history else 0.0)
    try:
        while progress.stop_reason is None:
            epoch = plan.epoch(len(progress.history) + 1)
            learning_rate = learning_rate_of(epoch.epoch, settings, progress.plateau)
            outcome = engine.run_epoch(epoch, learning_rate)
            check_finite(epoch, outcome)
            record = stopping.measure(epoch, learning_rate, outcome, settings.monitor)
            progress = after_epoch(progress, replace(record, seconds=time.perf_counter() - began), engine, settings)
            watch(progress)
    except KeyboardInterrupt:
        if not progress.history:
            raise
        progress = replace(progress, stop_reason="interrupted")
        epoch_kept = f"those of epoch {progress.best_epoch} of {len(progress.history)}"
        warnings.warn(f"interrupted: the best weights so far are kept, {epoch_kept}", TabcohortWarning, stacklevel=2)
    for name, array in progress.best_state.items():
        engine.state[name][...] = array
    return progress


def after_epoch(progress: Progress, record: EpochRecord, engine: Engine, settings: Settings) -> Progress:
    """Return the progress after one more epoch: is it the best one, what rate comes next, is it time to stop?"""
    best_epoch, best_state = progress.best_epoch, progress.best_state
    if not best_epoch or is_better(record.score, progress.history[best_epoch - 1].score, settings):
        best_epoch = record.epoch
        best_state = {name: array.copy() for name, array in engine.state.items()}
    stop_reason = None
    if record.epoch == settings.max_epochs:
        stop_reason = "max_epochs"
    if settings.patience is not None and record.epoch - best_epoch >= settings.patience:
        stop_reason = "patience"
    plateau = progress.plateau.after(record.score, settings)
    return Progress((*progress.history, record), best_epoch, best_state, plateau, stop_reason)


def is_better(score: float, best: float, settings: Settings) -> bool:
    """Return whether a score beats the best one so far; an equal score does not, so the earliest epoch is kept."""
    return score < best if settings.lower_is_better else score > best


def check_finite(epoch: EpochPlan, outcome: EpochOutcome) -> None:
    """Raise `TrainingError` with member, epoch and step if a step's loss, or a stopping row's logit, is not finite."""
    bad = np.flatnonzero(~np.isfinite(outcome.step_losses))
    if len(bad):
        step, what = int(bad[0]) + 1, "the loss"
    elif not np.isfinite(outcome.stop_logits).all():
        step, what = epoch.n_steps, "the output for the stopping rows"
    else:
        return
    raise TrainingError(
        f"{what} of member {epoch.member} stopped being finite at epoch {epoch.epoch}, step {step} of {epoch.n_steps}; "
        "a smaller learning_rate or a clip_norm of 1.0 usually mends this"
    )
