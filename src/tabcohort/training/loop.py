"""The epochs, the same for every engine: run, measure the stopping rows, remember the best, set the rate, stop.

`fit_member` is the training loop. It reads no rows itself: an engine runs the steps, a plan holds the randomness.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tabcohort.engines.batches import EpochPlan, Epochs, MemberPlan
from tabcohort.engines.protocol import Engine, EpochOutcome, Outcomes, State
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.evaluation.metrics import Scorer, log_probabilities
from tabcohort.settings import Settings
from tabcohort.training.schedule import Plateau, learning_rate_of
from tabcohort.types import FloatArray, IntArray


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
        best_state: the engine's state after the best epoch; nothing writes to it.
        plateau: what the plateau schedule remembers.
        stop_reason: "patience", "max_epochs", "interrupted" or what a watcher said; None while training goes on.
        state: the engine's state where a watcher ended training, to go on from; empty where nothing is to come.
    """

    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    best_state: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    plateau: Plateau = field(default_factory=Plateau)
    stop_reason: str | None = None
    state: dict[str, NDArray[np.generic]] = field(default_factory=dict)


ENDINGS = ("patience", "max_epochs")  # what a training ends for by itself
Watcher = Callable[[Progress], str | None]


@dataclass(frozen=True)
class StoppingRows:
    """The rows that stop: class codes and weights, each `(n_stop,)`, and the code of the positive class, if any."""

    y: IntArray
    weight: FloatArray
    positive: int | None

    @functools.cached_property
    def total_weight(self) -> float:
        """The weight of all rows."""
        return float(self.weight.sum())

    @functools.cached_property
    def is_second(self) -> NDArray[np.bool_]:
        """Which rows are of the second class."""
        return self.y == 1

    @functools.cached_property
    def sign(self) -> FloatArray:
        """-1 for rows of the second class, 1 for the others: what makes a logit speak against a row's class."""
        return np.where(self.is_second, -1.0, 1.0)

    def measure(
        self, plans: Epochs, rates: Sequence[float], outcomes: Outcomes, monitor: str, seconds: float
    ) -> Iterator[EpochRecord]:
        """Yield the records of epochs that were run in one call.

        Raises:
            TrainingError: these rows cannot tell the monitored metric, or a loss stopped being finite.
        """
        logits = outcomes.stop_logits
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told of in words
            train_losses = (outcomes.step_losses.sum(axis=1) / plans.orders.shape[1]).tolist()
            is_finite = (np.isfinite(train_losses) & np.isfinite(logits).all(axis=(1, 2))).tolist()
            if logits.shape[2] == 1:  # straight, as small tables have thousands of epochs in a second
                losses = np.logaddexp(0.0, logits[:, :, 0] * self.sign)
                is_right = (logits[:, :, 0] > 0) == self.is_second
            else:
                log_proba = log_probabilities(logits.reshape(-1, logits.shape[2])).reshape(logits.shape)
                losses = np.ascontiguousarray(-log_proba[:, np.arange(len(self.y)), self.y])
                is_right = log_proba.argmax(axis=2) == self.y
            # Not by BLAS, whose order of summation depends on how many epochs there are.
            stop_losses = ((losses * self.weight).sum(axis=1) / self.total_weight).tolist()
            accuracies = ((is_right * self.weight).sum(axis=1) / self.total_weight).tolist()
        scores = {"log_loss": stop_losses, "accuracy": accuracies}.get(monitor)
        for i in range(len(plans)):
            if not is_finite[i]:
                check_finite(plans[i], outcomes[i])
            score = scores[i] if scores else self._metric(monitor, outcomes[i].stop_logits)
            yield EpochRecord(
                plans.first + i, rates[i], train_losses[i], stop_losses[i], accuracies[i], score, seconds
            )  # fmt: skip

    def _metric(self, name: str, logits: NDArray[np.floating]) -> float:
        value = Scorer(log_probabilities(logits), self.y, self.positive).metrics(self.weight).get(name, math.nan)
        if math.isnan(value):
            raise TrainingError(
                f"the stopping rows cannot tell {name!r} (a class is missing among them, or no class is named "
                "positive); monitor 'log_loss' instead"
            )
        return value


def fit_member(
    engine: Engine,
    plan: MemberPlan,
    stopping: StoppingRows,
    settings: Settings,
    watch: Watcher = lambda progress: None,
    resume_from: Progress | None = None,
    run_ahead: bool = True,
) -> Progress:
    """Train one member until its patience or its epochs are over, and leave its best weights in the engine.

    Ctrl-C ends training with the best weights of the epochs that are done; before the first is done it is raised on.

    Args:
        engine: holds the member's network and rows.
        plan: what each epoch will see.
        stopping: the rows that stop.
        settings: `max_epochs`, `patience`, `monitor` and the schedule are used.
        watch: called after every epoch with all that was done so far (to show it, to write a checkpoint), and before
            the first one where there is an earlier run. A reason that it returns ends training, which can then be gone
            on with.
        resume_from: where an earlier run of the same member stopped, with the state of then.
        run_ahead: whether a call may run many short epochs, so that the engine's state is ahead of what `watch` sees.

    Raises:
        TrainingError: a loss stopped being finite; the sentence names member, epoch and step.
    """
    progress = resume_from or Progress()
    _write_state(engine, progress.state)
    began = time.perf_counter() - (progress.history[-1].seconds if progress.history else 0.0)
    at_a_time = engine.epochs_at_a_time if run_ahead else 1
    calls = plan.blocks(len(progress.history) + 1, at_a_time)
    try:
        if progress.history and progress.stop_reason is None:  # where it left off may be where it is to pause
            progress = replace(progress, stop_reason=watch(progress))
        while progress.stop_reason is None:
            plans = next(calls).part(0, settings.max_epochs - len(progress.history))
            rates = [learning_rate_of(epoch, settings, progress.plateau) for epoch in plans.numbers]
            outcomes = engine.run_epochs(plans, rates)
            seconds = time.perf_counter() - began
            for i, record in enumerate(stopping.measure(plans, rates, outcomes, settings.monitor, seconds)):
                progress = after_epoch(progress, record, functools.partial(engine.state_after, i), settings)
                asked = watch(progress)
                if asked is not None and progress.stop_reason is None:
                    progress = replace(progress, stop_reason=asked, state=engine.state_after(i))
                if i + 1 == len(rates):
                    break
                next_rate = learning_rate_of(record.epoch + 1, settings, progress.plateau)
                if progress.stop_reason is not None or rates[i + 1] != next_rate:  # the engine ran too far: go back
                    _write_state(engine, engine.state_after(i))
                    calls = plan.blocks(record.epoch + 1, at_a_time)
                    break
    except KeyboardInterrupt:
        if not progress.history:
            raise
        progress = replace(progress, stop_reason="interrupted")
        epoch_kept = f"those of epoch {progress.best_epoch} of {len(progress.history)}"
        warnings.warn(f"interrupted: the best weights so far are kept, {epoch_kept}", TabcohortWarning, stacklevel=2)
    _write_state(engine, progress.best_state)
    return progress


def _write_state(engine: Engine, state: State) -> None:
    for name, array in state.items():
        engine.state[name][...] = array


def after_epoch(
    progress: Progress, record: EpochRecord, state_after: Callable[[], State], settings: Settings
) -> Progress:
    """Return the progress after one more epoch: is it the best one, what rate comes next, is it time to stop?"""
    best_epoch, best_state = progress.best_epoch, progress.best_state
    if not best_epoch or is_better(record.score, progress.history[best_epoch - 1].score, settings):
        best_epoch = record.epoch
        best_state = state_after()
    stop_reason = None
    if record.epoch == settings.max_epochs:
        stop_reason = "max_epochs"
    if settings.patience is not None and record.epoch - best_epoch >= settings.patience:
        stop_reason = "patience"
    plateau = progress.plateau.after(record.score, settings) if settings.schedule == "plateau" else progress.plateau
    return Progress((*progress.history, record), best_epoch, best_state, plateau, stop_reason)


def is_better(score: float, best: float, settings: Settings) -> bool:
    """Return whether a score beats the best one so far; an equal score does not, so the earliest epoch is kept."""
    return score < best if settings.lower_is_better else score > best


def check_finite(plan: EpochPlan, outcome: EpochOutcome) -> None:
    """Raise `TrainingError` with member, epoch and step if a step's loss, or a stopping row's logit, is not finite."""
    bad = np.flatnonzero(~np.isfinite(outcome.step_losses))
    if len(bad):
        step, what = int(bad[0]) + 1, "the loss"
    elif not np.isfinite(outcome.stop_logits).all():
        step, what = plan.n_steps, "the output for the stopping rows"
    else:
        return
    raise TrainingError(
        f"{what} of member {plan.member} stopped being finite at epoch {plan.epoch}, step {step} of {plan.n_steps}; "
        "a smaller learning_rate or a clip_norm of 1.0 usually mends this"
    )
