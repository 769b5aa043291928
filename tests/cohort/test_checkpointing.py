"""Checkpoints that this process writes for workers that cannot."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from helpers import SMALL, assert_same, config_of, table_of

from tabcohort import TabcohortWarning, fit
from tabcohort.cohort.executors import OnEpoch, Submit, ThreadExecutor, TrainMember
from tabcohort.cohort.plan import Member
from tabcohort.training.loop import TrainingState


class Elsewhere(ThreadExecutor):
    """Threads that stand for workers on other machines; they stop members after some epochs, if that is said."""

    shares_files = False

    def __init__(self, n_workers: int, stop_after: int | None = None) -> None:
        super().__init__(n_workers)
        self.stop_after = stop_after

    def start(self, train: TrainMember, on_epoch: OnEpoch) -> AbstractContextManager[Submit]:
        """Start the threads."""

        def stopping(member: Member, state: TrainingState) -> str | None:
            is_due = self.stop_after is not None and state.n_epochs >= self.stop_after
            return on_epoch(member, state) or ("interrupted" if is_due else None)

        return super().start(train, stopping)


def test_members_elsewhere_are_resumed_from_what_this_process_wrote(tmp_path: Path) -> None:
    """They are stopped in the middle; threads with files of their own go on from there, and then others again."""
    table, config = table_of(60), config_of(max_epochs=20)
    expected = fit(table, config, SMALL)
    first = fit(table, config, SMALL, checkpoint=tmp_path / "kept", executor=Elsewhere(3, stop_after=7))
    assert [len(member.history) for member in first.report.members] == [7, 7, 7]
    assert len(list((tmp_path / "kept").glob("*.checkpoint"))) == 3
    with pytest.warns(TabcohortWarning, match="it holds 3 members"):
        second = fit(table, config, SMALL, checkpoint=tmp_path / "kept", executor=Elsewhere(2, stop_after=12))
    assert [len(member.history) for member in second.report.members] == [12, 12, 12]
    for executor in (None, Elsewhere(2)):  # the second finds finished ones
        with pytest.warns(TabcohortWarning, match="it holds 3 members"):
            assert_same(fit(table, config, SMALL, checkpoint=tmp_path / "kept", executor=executor), expected)


def test_a_config_that_is_dropped_and_one_that_pauses_are_kept(tmp_path: Path) -> None:
    rates = (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)
    table, configs = table_of(60), [config_of(learning_rate=rate, max_epochs=9) for rate in rates]
    expected = fit(table, configs, SMALL)
    assert_same(fit(table, configs, SMALL, checkpoint=tmp_path / "kept", executor=Elsewhere(2)), expected)
    with pytest.warns(TabcohortWarning, match="it holds 18 members"):
        assert_same(fit(table, configs, SMALL, checkpoint=tmp_path / "kept"), expected)
