"""Checkpoints that this process writes for workers that cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import SMALL, assert_same, config_of, table_of

from tabcohort import TabcohortWarning, fit
from tabcohort.cohort.executors import ThreadExecutor
from tabcohort.cohort.progress import RunProgress


class Elsewhere(ThreadExecutor):
    """Threads that stand for workers on other machines."""

    shares_files = False


def test_members_elsewhere_are_resumed_from_what_this_process_wrote(tmp_path: Path) -> None:
    """Ctrl-C comes in the middle, with all three at work; threads with files of their own go on from there."""
    table, config = table_of(60), config_of(max_epochs=1_500)

    def interrupt(progress: RunProgress) -> None:
        if 3 < progress.n_epochs < 2_500:
            raise KeyboardInterrupt

    with pytest.warns(TabcohortWarning, match="^interrupted: 3 of 3 members have weights"):
        first = fit(table, config, SMALL, interrupt, tmp_path / "kept", Elsewhere(3))
    assert len(list((tmp_path / "kept").glob("*.checkpoint"))) == 3
    with pytest.warns(TabcohortWarning, match="it holds 3 members"):
        second = fit(table, config, SMALL, checkpoint=tmp_path / "kept")
    assert sum(len(member.history) for member in first.report.members) < 4_500
    assert_same(second, fit(table, config, SMALL))
    with pytest.warns(TabcohortWarning, match="it holds 3 members"):
        assert_same(fit(table, config, SMALL, checkpoint=tmp_path / "kept", executor=Elsewhere(2)), second)


def test_a_config_that_is_dropped_and_one_that_pauses_are_kept(tmp_path: Path) -> None:
    rates = (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)
    table, configs = table_of(60), [config_of(learning_rate=rate, max_epochs=9) for rate in rates]
    expected = fit(table, configs, SMALL)
    assert_same(fit(table, configs, SMALL, checkpoint=tmp_path / "kept", executor=Elsewhere(2)), expected)
    with pytest.warns(TabcohortWarning, match="it holds 18 members"):
        assert_same(fit(table, configs, SMALL, checkpoint=tmp_path / "kept"), expected)
    assert replace(expected.report, members=()).stop_reason is None
