"""Requests of one turn are answered together, each with its own rows."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from tabcohort.server.micro_batcher import MicroBatcher
from tabcohort.server.problems import Problem


def rows(*values: float) -> Any:
    """Return inputs of one column."""
    return np.array(values)[:, None]


def test_requests_of_one_turn_are_one_call_and_each_gets_its_own_rows() -> None:
    calls: list[int] = []

    def answer(X: Any) -> list[float]:
        calls.append(len(X))
        return [float(value) * 10 for value in X[:, 0]]

    async def ask() -> list[Any]:
        batcher = MicroBatcher(answer, 100)
        first = await asyncio.gather(batcher(rows(1)), batcher(rows(2, 3)), batcher(rows(4)))
        return [*first, await batcher(rows(5))]

    assert asyncio.run(ask()) == [[10.0], [20.0, 30.0], [40.0], [50.0]]
    assert calls == [4, 1]


def test_more_rows_than_may_wait_are_refused_and_the_others_answered() -> None:
    async def ask() -> list[Any]:
        batcher = MicroBatcher(lambda X: list(X[:, 0]), 3)
        return await asyncio.gather(*(batcher(rows(value, value)) for value in range(3)), return_exceptions=True)

    answers = asyncio.run(ask())
    assert answers[0] == [0.0, 0.0]
    for refused in answers[1:]:
        assert isinstance(refused, Problem)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")


def test_one_request_may_have_more_rows_than_may_wait() -> None:
    async def ask() -> Any:
        return await MicroBatcher(lambda X: list(X[:, 0]), 3)(rows(*range(9)))

    assert len(asyncio.run(ask())) == 9


def test_an_error_reaches_every_request_of_the_turn_and_not_the_next() -> None:
    def answer(X: Any) -> list[float]:
        if X[0, 0] == 1:
            raise RuntimeError("no")
        return list(X[:, 0])

    async def ask() -> list[Any]:
        batcher = MicroBatcher(answer, 100)
        failed = await asyncio.gather(batcher(rows(1)), batcher(rows(2)), return_exceptions=True)
        return [*map(str, failed), await batcher(rows(2))]

    assert asyncio.run(ask()) == ["no", "no", [2.0]]


def test_a_client_that_has_gone_does_not_disturb_the_others() -> None:
    async def ask() -> Any:
        batcher = MicroBatcher(lambda X: list(X[:, 0]), 100)
        gone, stays = asyncio.ensure_future(batcher(rows(1))), asyncio.ensure_future(batcher(rows(2)))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert asyncio.run(ask()) == [2.0]
