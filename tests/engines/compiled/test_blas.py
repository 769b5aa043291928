"""BLAS runs on one thread while members train, and on as many as before when the last one is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tabcohort.engines.compiled.blas import _libraries, one_blas_thread


def n_threads() -> list[int]:
    return [library["num_threads"] for library in _libraries().info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """BLAS with two threads, also on a machine of one core."""
    with _libraries().limit(limits=2, user_api="blas"):
        yield


def test_within_it_blas_has_one_thread_and_then_as_many_as_before() -> None:
    before = n_threads()
    assert before
    assert set(before) == {2}
    with one_blas_thread():
        assert set(n_threads()) == {1}
    assert n_threads() == before


def test_the_last_to_leave_restores_the_number_of_blas_threads() -> None:
    before, first, second = n_threads(), one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(n_threads()) == {1}
    second.__exit__(None, None, None)
    assert n_threads() == before


def test_an_error_within_it_restores_them_too() -> None:
    before = n_threads()
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        1 / 0  # noqa: B018
    assert n_threads() == before


def test_members_in_threads_keep_the_limit_of_the_thread_that_runs_them() -> None:
    before, are_inside = n_threads(), threading.Barrier(3)
    within: list[list[int]] = []

    def train() -> None:
        with one_blas_thread():
            are_inside.wait(10)
            within.append(n_threads())

    members = [threading.Thread(target=train) for _ in range(2)]
    with one_blas_thread():
        for member in members:
            member.start()
        are_inside.wait(10)
        for member in members:
            member.join()
        assert set(n_threads()) == {1}
    assert [set(threads) for threads in within] == [{1}, {1}]
    assert n_threads() == before


def test_another_thread_than_the_first_may_be_the_last_to_leave() -> None:
    """Two models are fitted at a time, and the thread that began first ends first and lives on."""
    before = n_threads()
    has_entered, may_leave, has_left, may_end = (threading.Event() for _ in range(4))

    def fit() -> None:
        with one_blas_thread():
            has_entered.set()
            may_leave.wait(10)
        has_left.set()
        may_end.wait(10)

    other = threading.Thread(target=fit)
    other.start()
    assert has_entered.wait(10)
    with one_blas_thread():
        may_leave.set()
        assert has_left.wait(10)
        assert set(n_threads()) == {1}
    assert n_threads() == before
    may_end.set()
    other.join()
