"""Connecting to the other processes of a training, or to none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch.distributed

from tabcohort.engines.process_group import ranks
from tabcohort.errors import EngineError


@pytest.fixture(autouse=True)
def forget_processes() -> Iterator[None]:
    ranks.cache_clear()
    yield
    ranks.cache_clear()


def test_a_process_alone_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (ranks().rank, ranks().size) == (0, 1)
    assert ranks() is ranks()
    assert ranks().bytes_of_first(b"content") == b"content"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("started")
def test_a_pytorch_without_gloo_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    with pytest.raises(EngineError, match=r"^2 processes need PyTorch's backend gloo, .*: train with one process"):
        ranks()


@pytest.mark.usefixtures("started")
def test_processes_that_do_not_connect_are_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **names: object) -> None:
        raise torch.distributed.DistNetworkError("no answer\nat all")

    monkeypatch.setattr(torch.distributed, "init_process_group", fail)
    with pytest.raises(EngineError, match=r"^the 2 processes cannot be connected: no answer$"):
        ranks()
