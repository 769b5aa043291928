"""Ctrl-C and SIGTERM: at moments when stopping at once would lose what was trained, they wait."""

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

_was_pressed = False  # since training was over


def raise_interrupt(number: int, frame: Any) -> None:
    """Handle SIGTERM as Python handles Ctrl-C.

    Raises:
        KeyboardInterrupt: always.
    """
    raise KeyboardInterrupt


HANDLERS: dict[int, Callable[[int, Any], Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: raise_interrupt,
}  # of the signals that end a training; a handler of somebody else is left alone


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does; only in the main thread, and if nobody else handles it."""
    is_default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, raise_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def training_is_over(was_interrupted: bool = False) -> None:
    """Let the functions that finish a model be interrupted only the second time that Ctrl-C is pressed.

    Args:
        was_interrupted: whether it was pressed a first time while members trained.
    """
    global _was_pressed
    _was_pressed = was_interrupted


def finishes_on_interrupt(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function finish when Ctrl-C is pressed the first time since training was over, with a warning."""

    @functools.wraps(function)
    def finishing(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        if _was_pressed:
            return function(*arguments, **keywords)
        with _handling_interrupts(_warn):
            return function(*arguments, **keywords)

    return finishing


def _warn(number: int, frame: Any) -> None:
    global _was_pressed
    _was_pressed = True
    _raise_the_next(_warn)
    message = "interrupted when training was over: the model is being finished; press again to end without one"
    warnings.warn(message, TabcohortWarning, stacklevel=2)


@contextmanager
def first_interrupt(note: Callable[[], None]) -> Iterator[None]:
    """Call a function the first time that Ctrl-C is pressed, which interrupts nothing; the second time it is raised.

    Raised in the middle of a call of `concurrent.futures`, it could leave locks behind that others wait for.
    """

    def handler(number: int, frame: Any) -> None:
        _raise_the_next(handler)
        note()

    with _handling_interrupts(handler):
        yield


def _raise_the_next(handler: Callable[[int, Any], Any]) -> None:
    """Let the signals that a function handles raise `KeyboardInterrupt` from now on."""
    for number, default in HANDLERS.items():
        if signal.getsignal(number) is handler:
            signal.signal(number, default)


@contextmanager
def starting_processes() -> Iterator[None]:
    """Let processes start that ignore Ctrl-C, which a terminal sends to all; here it is raised when they have started.

    This process stops the others. If it were interrupted while it starts one, it would not know of that one.
    """
    pressed: list[int] = []
    can_block = hasattr(signal, "pthread_sigmask")  # a new process inherits the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    with _handling_interrupts(lambda number, frame: pressed.append(number)):
        try:
            yield
        finally:
            if can_block:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def _handling_interrupts(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Handle signals by a function; only in the main thread, where Python delivers them, and if nobody else does."""
    handled = {number: before for number, before in HANDLERS.items() if signal.getsignal(number) is before}
    if threading.current_thread() is not threading.main_thread():
        handled = {}
    for number in handled:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in handled.items():
            signal.signal(number, before)
