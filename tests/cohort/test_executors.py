"""Pieces of work side by side: their order, what they return, and what happens when one fails."""

import threading
import time
from collections.abc import Callable

import pytest

from tabcohort.cohort.executors import run_in_threads


@pytest.mark.parametrize("n_threads", [1, 3, None])
def test_what_jobs_return_comes_in_their_order_whoever_ends_first(n_threads: int | None) -> None:
    def job(number: int) -> Callable[[], int]:
        return lambda: time.sleep(0.001 * (5 - number)) or number

    assert run_in_threads([job(number) for number in range(5)], n_threads) == list(range(5))
    assert run_in_threads([], n_threads) == []


def test_jobs_are_begun_in_their_order_and_so_many_at_a_time() -> None:
    begun, now, most, lock = [], set(), [0], threading.Lock()

    def job(number: int) -> Callable[[], None]:
        def work() -> None:
            with lock:
                begun.append(number)
                now.add(number)
                most[0] = max(most[0], len(now))
            time.sleep(0.002)
            with lock:
                now.remove(number)

        return work

    run_in_threads([job(number) for number in range(8)], 1)
    assert (begun, most) == (list(range(8)), [1])
    run_in_threads([job(number) for number in range(8)], 2)
    assert most == [2]


def test_what_a_job_raises_is_raised_when_those_that_were_begun_have_ended_and_no_others_begin() -> None:
    begun, told, ended = [], threading.Event(), []

    def waits() -> None:
        assert told.wait(10)
        ended.append(True)

    def fails() -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        run_in_threads([waits, fails, lambda: time.sleep(0.05), lambda: begun.append(True)], 2, told.set)
    assert ended == [True]
    assert begun == []


def test_an_interruption_of_a_job_is_told_at_once_and_raised() -> None:
    told = []

    def interrupts() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_threads([interrupts], 1, lambda: told.append(True))
    assert told == [True]
