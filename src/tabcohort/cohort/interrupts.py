"""Ctrl-C after training is over: what was trained must not be lost for it."""

from __future__ import annotations

import functools
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from tabcohort.errors import TabcohortWarning

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def finishes_on_interrupt(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function finish when Ctrl-C is pressed once, with a warning; pressed again, it is interrupted."""

    @functools.wraps(function)
    def finishing(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        with _postponed_interrupt():
            return function(*arguments, **keywords)

    return finishing


@contextmanager
def _postponed_interrupt() -> Iterator[None]:
    # Python delivers Ctrl-C to the main thread; a handler of somebody else's stays in place.
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        message = "interrupted when training was over: the model is being finished; press again to end without one"
        warnings.warn(message, TabcohortWarning, stacklevel=2)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
