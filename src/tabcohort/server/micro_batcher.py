"""Single requests, batched into one forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from tabcohort.server.problems import overloaded
from tabcohort.types import FloatArray

Answer = TypeVar("Answer")


class MicroBatcher(Generic[Answer]):
    """Answers all requests of one turn of the event loop in one forward pass.

    Requests that arrive during a forward pass are batched into the next one; no timer is involved.

    Args:
        answer: from inputs, `(n_rows, n_inputs)`, to an answer for each row; it runs in the event loop's thread.
        max_queued_records: rows that may wait; more are refused.
    """

    def __init__(self, answer: Callable[[FloatArray], Sequence[Answer]], max_queued_records: int) -> None:
        self._answer, self._max_waiting = answer, max_queued_records
        self._waiting: list[tuple[FloatArray, asyncio.Future[Sequence[Answer]]]] = []
        self._n_waiting = 0

    async def __call__(self, X: FloatArray) -> Sequence[Answer]:
        """Return an answer for each row.

        Args:
            X: inputs, `(n_rows, n_inputs)`.

        Raises:
            Problem: 503, too many rows wait.
        """
        if self._waiting and self._n_waiting + len(X) > self._max_waiting:
            raise overloaded(f"{self._n_waiting:,} records wait for an answer already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[Answer]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._answer_all)
        self._waiting.append((X, future))
        self._n_waiting += len(X)
        return await future

    def _answer_all(self) -> None:
        waiting, self._waiting, self._n_waiting = self._waiting, [], 0
        inputs = [X for X, _ in waiting]
        try:
            answers = self._answer(np.concatenate(inputs) if len(inputs) > 1 else inputs[0])
        except Exception as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for X, future in waiting:
            if not future.done():  # the client has gone
                future.set_result(answers[start : start + len(X)])
            start += len(X)
