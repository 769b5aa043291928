"""Ctrl-C after training: a function finishes when it is pressed once, and ends when it is pressed again."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import SMALL, assert_same, config_of, table_of

from tabcohort.cohort import build, selection
from tabcohort.cohort.fit import fit
from tabcohort.cohort.interrupts import (
    finishes_on_interrupt,
    first_interrupt,
    interrupted_by_sigterm,
    starting_processes,
    training_is_over,
)
from tabcohort.errors import TabcohortWarning

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
WARNING = (
    "^interrupted when training was over: the model is being finished; press again to end without one$"
)  # fmt: skip


@pytest.fixture(autouse=True)
def python_handles_ctrl_c() -> Iterator[None]:
    """Ctrl-C raises `KeyboardInterrupt`, however the tests were started, and was not pressed since training."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    training_is_over()
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@finishes_on_interrupt
def pressed_while_it_runs(n_times: int, steps: list[int]) -> str:
    """Do something while Ctrl-C is pressed."""
    for step in range(5):
        steps.append(step)
        if step < n_times:
            press_ctrl_c()
    return "the result"


def test_a_function_that_is_interrupted_once_finishes_with_a_warning() -> None:
    steps: list[int] = []
    try:
        with pytest.warns(TabcohortWarning, match=WARNING) as warned:
            assert pressed_while_it_runs(1, steps) == "the result"
    except KeyboardInterrupt:
        pytest.fail("the function was interrupted")
    assert steps == [0, 1, 2, 3, 4]
    assert len(warned) == 1


def test_a_second_interrupt_ends_it() -> None:
    steps: list[int] = []
    with pytest.warns(TabcohortWarning, match=WARNING), pytest.raises(KeyboardInterrupt):
        pressed_while_it_runs(2, steps)
    assert steps == [0, 1]


def test_a_second_interrupt_ends_a_later_function_too_until_training_was_over_again() -> None:
    with pytest.warns(TabcohortWarning, match=WARNING):
        pressed_while_it_runs(1, [])
    steps: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        pressed_while_it_runs(1, steps)
    assert steps == [0]
    training_is_over()
    with pytest.warns(TabcohortWarning, match=WARNING):
        assert pressed_while_it_runs(1, []) == "the result"


def test_an_interrupt_is_the_second_one_where_training_was_interrupted() -> None:
    training_is_over(was_interrupted=True)
    steps: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        pressed_while_it_runs(1, steps)
    assert steps == [0]


def test_an_interrupt_while_processes_start_is_raised_when_they_have_started() -> None:
    steps: list[str] = []

    @starting_processes()
    def start() -> None:
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), "a new process would get it"
        press_ctrl_c()
        steps.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert steps == ["started"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_first_interrupt_is_noted_and_the_second_raised() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt), first_interrupt(lambda: steps.append("noted")):  # noqa: PT012
        press_ctrl_c()
        steps.append("goes on")
        press_ctrl_c()
        steps.append("not here")
    assert steps == ["noted", "goes on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_does_what_ctrl_c_does_and_its_handler_is_restored() -> None:
    before, steps = signal.getsignal(signal.SIGTERM), []
    with interrupted_by_sigterm(), first_interrupt(lambda: steps.append("noted")):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    with interrupted_by_sigterm(), pytest.warns(TabcohortWarning, match=WARNING), pytest.raises(KeyboardInterrupt):
        terminated_twice(steps)
    assert steps == ["noted", "finishing"]
    assert signal.getsignal(signal.SIGTERM) is before


@finishes_on_interrupt
def terminated_twice(steps: list[str]) -> None:
    """Do something while SIGTERM comes twice."""
    os.kill(os.getpid(), signal.SIGTERM)
    steps.append("finishing")
    os.kill(os.getpid(), signal.SIGTERM)
    steps.append("not here")


def test_a_handler_of_sigterm_that_is_there_is_left_alone() -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        with interrupted_by_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == [signal.SIGTERM]


@pytest.mark.parametrize("n_times", [0, 1, 2])
def test_afterwards_ctrl_c_is_handled_as_before(n_times: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pressed_while_it_runs(n_times, [])
        except KeyboardInterrupt:
            assert n_times == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_an_error_of_the_function_is_raised_and_ctrl_c_is_handled_as_before() -> None:
    @finishes_on_interrupt
    def fails() -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        fails()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("foreign", [signal.SIG_IGN, lambda number, frame: None], ids=["ignored", "handled"])
def test_a_handler_of_somebody_else_is_left_alone(foreign: Any) -> None:
    signal.signal(signal.SIGINT, foreign)
    seen: list[Any] = []

    @finishes_on_interrupt
    def looks() -> None:
        seen.append(signal.getsignal(signal.SIGINT))

    looks()
    assert seen == [foreign]
    assert signal.getsignal(signal.SIGINT) is foreign


def test_a_foreign_handler_gets_the_interrupt() -> None:
    calls: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    assert pressed_while_it_runs(2, []) == "the result"
    assert calls == [signal.SIGINT, signal.SIGINT]


def test_in_another_thread_nothing_is_changed() -> None:
    """Python delivers signals to the main thread, and lets no other thread change how."""
    seen: list[Any] = []

    @finishes_on_interrupt
    def looks() -> None:
        seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=looks)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_the_name_and_arguments_of_a_function_stay() -> None:
    @finishes_on_interrupt
    def divide(numerator: float, denominator: float = 2.0) -> float:
        """Divide."""
        return numerator / denominator

    assert (divide.__name__, divide.__doc__) == ("divide", "Divide.")
    assert (divide(3.0), divide(3.0, denominator=4.0)) == (1.5, 0.75)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (selection, "class_weights"),  # in `select_and_calibrate`
        (selection, "OutOfFoldPredictions"),  # in `out_of_fold`
        (build, "choose_decision_rule"),  # in `build_predictor`
        (build, "Predictor"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.split(".")[-1],
)
def test_ctrl_c_while_the_model_is_built_still_gives_the_model(
    module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, config = table_of(60), config_of(max_epochs=2)
    expected = fit(table, config, SMALL)
    original: Callable[..., Any] = getattr(module, name)

    def pressed(*arguments: Any, **keywords: Any) -> Any:
        monkeypatch.setattr(module, name, original)
        press_ctrl_c()
        return original(*arguments, **keywords)

    monkeypatch.setattr(module, name, pressed)
    try:
        with pytest.warns(TabcohortWarning, match=WARNING):
            predictor = fit(table, config, SMALL)
    except KeyboardInterrupt:
        pytest.fail("all that was trained is lost")
    assert predictor.report.stop_reason is None
    assert_same(predictor, expected)


def test_ctrl_c_twice_while_the_model_is_built_ends_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*arguments: Any) -> None:
        press_ctrl_c()
        press_ctrl_c()

    monkeypatch.setattr(build, "choose_decision_rule", pressed)
    with pytest.warns(TabcohortWarning, match=WARNING), pytest.raises(KeyboardInterrupt):
        fit(table_of(60), config_of(max_epochs=2), SMALL)
