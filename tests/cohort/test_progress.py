"""How far a cohort is, of members whose epochs and losses are known; `test_running.py` has whole runs."""

import math

import numpy as np
import pytest
from helpers import Clock

from tabcohort.cohort.plan import Member
from tabcohort.cohort.progress import ProgressTracker
from tabcohort.training.loop import EpochRecord, TrainingState

MEMBERS = [Member(setting, 0, fold, fold, cost=1.0 + setting) for setting in range(2) for fold in range(2)]


def after(losses: list[float], stop_reason: str | None = None) -> TrainingState:
    """Return the progress of a member with these stopping losses."""
    history = tuple(EpochRecord(i + 1, 0.1, loss, loss, 0.5, loss, 0.0) for i, loss in enumerate(losses))
    state = {"weight": np.zeros(3)}
    return TrainingState(history, 1 + int(np.argmin(losses)), state, stop_reason=stop_reason, state=state)


def test_before_the_first_epoch_nothing_is_known(clock: Clock) -> None:
    found = ProgressTracker(MEMBERS, None).progress(MEMBERS)
    assert (found.n_members, found.n_done, found.n_settings, found.epochs, found.best_setting) == (4, 0, 2, 0, -1)
    assert math.isnan(found.best_loss)
    assert math.isnan(found.seconds_left)


def test_the_settings_that_are_ahead_have_the_lowest_mean_of_their_members_best_losses(clock: Clock) -> None:
    found = ProgressTracker(MEMBERS, None)
    for member, losses in zip(MEMBERS, ([3.0, 1.0, 2.0], [5.0], [2.0, 2.5], [3.0]), strict=True):
        found.note(member, after(losses))
    assert (found.progress(MEMBERS).best_setting, found.progress(MEMBERS).best_loss) == (1, 2.5)
    assert (found.progress(MEMBERS[:2]).best_setting, found.progress(MEMBERS[:2]).best_loss) == (0, 3.0)
    assert found.progress(MEMBERS).epochs == 7


def test_the_time_left_is_that_of_the_epochs_that_members_which_ended_had(clock: Clock) -> None:
    found = ProgressTracker(MEMBERS, None)
    for n_epochs in range(1, 11):
        found.note(MEMBERS[0], after([1.0] * n_epochs, "patience" if n_epochs == 10 else None))
    found.note(MEMBERS[2], after([1.0]))
    clock.now += 24.0  # ten epochs of cost 1 and one of cost 2: two seconds per unit
    # The second member has ten epochs to go, the third nine and the fourth ten, of cost 2.
    assert found.progress(MEMBERS).seconds_left == pytest.approx(2 * (10 + 18 + 20))
    assert found.progress(MEMBERS).n_done == 1
    assert found.seconds_saved({1: 5}) == pytest.approx(2 * (2 * 5 * 2))
    limited = ProgressTracker(MEMBERS, 30.0)
    limited.latest, limited.n_before = found.latest, found.n_before
    clock.now += 24.0
    assert limited.progress(MEMBERS).seconds_left == pytest.approx(6.0)


def test_no_states_are_kept(clock: Clock) -> None:
    found = ProgressTracker(MEMBERS, None)
    found.note(MEMBERS[0], after([1.0]))
    assert (found.latest[MEMBERS[0]].state, found.latest[MEMBERS[0]].best_state) == ({}, {})
