"""Commands in several processes: which can be shared, and that the others are silent."""

from __future__ import annotations

import pytest

from tabcohort.cli.main import main
from tabcohort.cli.parser import make_parser
from tabcohort.cli.share_command import share_command


def start(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    names = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("info model.tabcohort", "torchrun started 2 processes; only fit and tune share their work"),
        ("fit sample:wine --learning-curve", "--learning-curve trains in one process"),
        ("fit sample:wine --audit shuffled", "--audit trains in one process"),
        ("fit rows.parquet --target y --store rows", "--store is built by one process"),
        ("fit - --target y", "several processes cannot all read standard input"),
    ],
)
def test_what_is_for_one_process_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    start(monkeypatch, rank=0)
    assert main(command.split()) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_process_speaks_and_records(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    start(monkeypatch, rank)
    options = make_parser().parse_args(["fit", "sample:wine", "--record", "run.jsonl", "--live"])
    share_command(options)
    assert (options.quiet, options.record is None, options.live is None) == (rank > 0, rank > 0, rank > 0)


def test_a_single_process_keeps_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    options = make_parser().parse_args(["info", "model.tabcohort"])
    before = dict(vars(options))
    share_command(options)
    assert vars(options) == before
