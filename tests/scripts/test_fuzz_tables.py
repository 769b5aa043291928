"""A short run of what `make fuzz` does to readers of tables, in a child process, and what counts as a failure."""

from __future__ import annotations

import sys
from pathlib import Path

import fuzz_tables
import pytest
from fuzz_tables import FINE, REFUSED, Outcome, check_file, outcomes, report
from hostile_tables import MAKERS, hostile_table

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_a_number_is_the_same_file_on_every_machine() -> None:
    kinds = {hostile_table(0, number).kind for number in range(200)}
    assert len(kinds) >= len(MAKERS) - 2
    assert [hostile_table(0, number).data for number in range(5)] == [hostile_table(0, n).data for n in range(5)]


@ON_LINUX
def test_files_that_are_almost_tables_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    seen = list(outcomes(seed=7, numbers=range(60), folder=tmp_path))
    assert [outcome.number for outcome in seen] == list(range(60))
    assert [outcome for outcome in seen if outcome.is_failure] == []
    assert {FINE, REFUSED} == {outcome.status for outcome in seen}


def test_what_is_not_an_error_of_ours_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_source(path: Path) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("tabcohort.data.sources.read_source", read_source)
    status, message = check_file(tmp_path / "t.csv", None)
    assert status.startswith("ZeroDivisionError in test_fuzz_tables.py:")
    assert message == "a defect"
    assert Outcome(0, "csv", status).is_failure


def test_failures_are_counted_and_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [Outcome(0, "csv", FINE), Outcome(1, "csv", REFUSED, "no"), Outcome(2, "csv", "the child ended (-6)", "oh")]
    monkeypatch.setattr(fuzz_tables, "outcomes", lambda *arguments: (outcome for outcome in seen))
    assert report(0, range(3), Path(), 60.0) == 1
    shown = capsys.readouterr().out
    assert "2 csv: the child ended (-6): 'oh'" in shown
    assert "1 read, 1 refused, 1 failed" in shown
