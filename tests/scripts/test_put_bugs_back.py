"""The bugs that `make bugs` puts back: each changes a text that there is, and names tests that there are."""

from __future__ import annotations

import pytest
from forked_tests import ROOT
from put_bugs_back import BUGS, Bug, main, with_bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_changes_what_is_there_and_names_tests_that_there_are(bug: Bug) -> None:
    compile(with_bug(bug), bug.file, "exec")
    for test in bug.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_bugs_have_names_of_their_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS)


def test_a_word_that_no_bug_has_is_an_error_and_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no such bug"])
    assert "no bug has a name with 'no such bug'" in capsys.readouterr().err
