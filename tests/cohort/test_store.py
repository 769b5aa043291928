"""Engine states of paused members in files: the same bits when they are taken back, and no file left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_training import record_of

from tabcohort.cohort.plan import Member
from tabcohort.cohort.store import PAUSED, StateStore
from tabcohort.training.loop import TrainingState
from tabcohort.training.schedule import Plateau

MEMBER = Member(3, 1, 2, 5, 1.0)


def paused_state(shift: float = 0.0) -> TrainingState:
    """Return a training that paused after two epochs, the first one being the best."""
    rng = np.random.default_rng(0)
    now = {
        "parameters": rng.normal(size=7).astype(np.float32) + np.float32(shift),
        "moment.1": np.asfortranarray(rng.normal(size=(3, 4))),
        "transposed": rng.normal(size=(3, 4)).T,
        "step": np.array(2),
        "none": np.empty(0),
    }
    best = {name: array[::-1] if array.ndim else array - 1 for name, array in now.items()}
    return TrainingState((record_of(1, 0.5), record_of(2, 0.6)), 1, best, Plateau(), PAUSED, now)


def test_a_paused_training_is_taken_back_with_the_same_bits_and_ready_to_resume(tmp_path: Path) -> None:
    store, state = StateStore(tmp_path), paused_state()
    kept = store.put(MEMBER, state)
    assert (kept.engine_state, kept.best_state) == ({}, {})
    assert (kept.history, kept.best_epoch, kept.stop_reason) == (state.history, 1, PAUSED)
    taken = store.take(MEMBER, kept)
    assert taken.stop_reason is None
    assert (taken.history, taken.best_epoch, taken.plateau) == (state.history, 1, state.plateau)
    for before, after in ((state.engine_state, taken.engine_state), (state.best_state, taken.best_state)):
        assert after.keys() == before.keys()
        for name, array in before.items():
            assert (after[name].dtype, after[name].shape) == (array.dtype, array.shape)
            assert after[name].tobytes() == array.tobytes(), name


def test_no_file_is_left_when_a_training_was_taken_back(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    kept = store.put(MEMBER, paused_state())
    assert len(list(tmp_path.iterdir())) == 1
    store.take(MEMBER, kept)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reason", ["patience", "max_epochs", "interrupted", "budget"])
def test_a_training_that_did_not_pause_has_no_file(reason: str, tmp_path: Path) -> None:
    state = replace(paused_state(), stop_reason=reason)
    kept = StateStore(tmp_path).put(MEMBER, state)
    assert (kept.engine_state, kept.best_state, kept.stop_reason) == ({}, {}, reason)
    assert not list(tmp_path.iterdir())


def test_members_of_other_configs_and_numbers_have_files_of_their_own(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    members = [Member(1, 0, 0, 11, 1.0), Member(11, 0, 0, 1, 1.0), Member(1, 0, 1, 1, 1.0)]
    kept = [store.put(member, paused_state(shift)) for shift, member in enumerate(members)]
    for shift, (member, state) in reversed(list(enumerate(zip(members, kept, strict=True)))):
        taken = store.take(member, state).engine_state["parameters"]
        assert taken.tobytes() == paused_state(shift).engine_state["parameters"].tobytes()


def test_a_file_can_be_removed_and_one_that_is_not_there_too(tmp_path: Path) -> None:
    store = StateStore(str(tmp_path))
    store.remove(MEMBER)
    store.put(MEMBER, paused_state())
    store.remove(MEMBER)
    assert not list(tmp_path.iterdir())
