"""Pieces of work side by side, one per core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from tabcohort.engines.compiled.engine import one_blas_thread
from tabcohort.engines.compiled.jit import n_cores

Job = TypeVar("Job")

SECONDS_TO_WAIT = 0.1  # at a time, as Ctrl-C is seen only where Python's own code runs


def in_threads(
    jobs: Sequence[Callable[[], Job]],
    n_threads: int | None = None,
    on_failure: Callable[[], None] = lambda: None,
) -> list[Job]:
    """Run pieces of work side by side, begun in their order, and return what each returned.

    Members may run so: the compiled engine lets go of Python's lock, and no result depends on the threads. What one
    raises is raised once those that were begun have ended; the others are never begun.

    Args:
        jobs: the work; none may depend on another.
        n_threads: how many at a time; one per core when left out.
        on_failure: called at once when one raises, or on Ctrl-C, so that the others may end sooner.
    """
    with one_blas_thread(), ThreadPoolExecutor(n_threads or n_cores()) as pool:
        futures: list[Future[Job]] = []
        try:
            futures += [pool.submit(job) for job in jobs]
            pending = set(futures)
            while pending:
                done, pending = wait(pending, SECONDS_TO_WAIT, FIRST_EXCEPTION)
                for each in done:
                    each.result()
            return [each.result() for each in futures]
        except BaseException:
            for each in futures:
                each.cancel()
            on_failure()
            raise
