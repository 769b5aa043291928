"""Which processes train together, by the environment, and which rows are whose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabcohort.engines.ranks import Ranks, launched
from tabcohort.errors import EngineError


def start(monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)


@given(st.integers(0, 100), st.integers(1, 9))
def test_shares_are_parts_of_the_rows_of_nearly_one_size(n_rows: int, size: int) -> None:
    shares = [Ranks(rank, size).share(n_rows) for rank in range(size)]
    assert [row for share in shares for row in range(n_rows)[share]] == list(range(n_rows))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("names", [{}, {"WORLD_SIZE": "4"}, {"RANK": "3"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch, names: dict[str, str]) -> None:
    start(monkeypatch, **names)
    assert launched() == (0, 1)


def test_torchrun_says_who_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, RANK="2", WORLD_SIZE="3", MASTER_ADDR="localhost", MASTER_PORT="29500")
    assert launched() == (2, 3)


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("a", "2"), ("0", "two")])
def test_an_environment_that_is_not_torchruns_is_refused(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    start(monkeypatch, RANK=rank, WORLD_SIZE=size, MASTER_ADDR="localhost", MASTER_PORT="29500")
    with pytest.raises(EngineError, match=r"^RANK and WORLD_SIZE must be .* start the processes with torchrun"):
        launched()


def test_an_address_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, RANK="0", WORLD_SIZE="2", MASTER_ADDR="localhost")
    with pytest.raises(EngineError, match="ask for 2 processes, and MASTER_PORT is not set: start them with torchrun"):
        launched()
