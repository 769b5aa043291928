"""Schedules: the trace of rates is that of PyTorch's schedulers, stepped once per epoch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from tabcohort.settings import Config
from tabcohort.training.schedule import Plateau, Schedule, learning_rate

BASE = 0.03


def optimizer() -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE, momentum=0.9)


def torch_trace(make: Callable[[Optimizer], LRScheduler], n_epochs: int) -> list[float]:
    sgd = optimizer()
    scheduler = make(sgd)
    rates = []
    for epoch in range(n_epochs):
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        if epoch + 1 < n_epochs:
            scheduler.step()
    return rates


def trace(config: Config) -> list[float]:
    return [learning_rate(epoch, config, Plateau()) for epoch in range(1, config.max_epochs + 1)]


def assert_same_rates(actual: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-15)


def test_constant_is_constant() -> None:
    assert trace(Config(learning_rate=BASE, max_epochs=5)) == [BASE] * 5


@pytest.mark.parametrize(("every", "factor"), [(1, 0.5), (3, 0.1), (20, 0.9)])
def test_step_is_that_of_pytorch(every: int, factor: float) -> None:
    config = Config(
        schedule="step", schedule_every=every, schedule_factor=factor, learning_rate=BASE, max_epochs=45
    )  # fmt: skip
    assert_same_rates(trace(config), torch_trace(lambda sgd: StepLR(sgd, every, factor), 45))


def test_exponential_is_that_of_pytorch() -> None:
    config = Config(schedule="exponential", schedule_factor=0.93, learning_rate=BASE, max_epochs=30)
    assert_same_rates(trace(config), torch_trace(lambda sgd: ExponentialLR(sgd, 0.93), 30))


@pytest.mark.parametrize("n_epochs", [1, 2, 7, 60])
def test_cosine_is_that_of_pytorch(n_epochs: int) -> None:
    config = Config(schedule="cosine", learning_rate=BASE, max_epochs=n_epochs)
    assert_same_rates(trace(config), torch_trace(lambda sgd: CosineAnnealingLR(sgd, n_epochs), n_epochs))


@pytest.mark.parametrize("n_epochs", [4, 5, 10, 33, 100])
def test_one_cycle_is_that_of_pytorch(n_epochs: int) -> None:
    config = Config(schedule="one_cycle", learning_rate=BASE, max_epochs=n_epochs)
    expected = torch_trace(
        lambda sgd: OneCycleLR(sgd, BASE, total_steps=n_epochs, cycle_momentum=False), n_epochs
    )  # fmt: skip
    assert_same_rates(trace(config), expected)


@pytest.mark.parametrize("n_epochs", [1, 2, 3])
def test_a_cycle_too_short_to_go_up_begins_at_the_peak(n_epochs: int) -> None:
    rates = trace(Config(schedule="one_cycle", learning_rate=BASE, max_epochs=n_epochs))
    assert rates[0] == pytest.approx(BASE)
    assert rates == sorted(rates, reverse=True)


def test_coslog4_goes_up_and_down_four_times_as_in_realmlp() -> None:
    """1/2 (1 - cos(2 pi log2(1 + 15 t))): 0 where 1 + 15 t is a power of two (Holzmüller et al. 2024)."""
    n_epochs = 3000
    rates = np.array(trace(Config(schedule="coslog4", learning_rate=BASE, max_epochs=n_epochs)))
    t = (np.arange(n_epochs) + 0.5) / n_epochs
    np.testing.assert_allclose(rates, BASE * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t))) / 2, atol=1e-12)
    lows = np.flatnonzero((np.diff(rates[:-1]) < 0) & (np.diff(rates[1:]) > 0)) + 1
    np.testing.assert_allclose(t[lows], [1 / 15, 3 / 15, 7 / 15], atol=1e-3)
    assert rates[[0, *lows, -1]].max() < 1e-3 * BASE
    assert rates.max() == pytest.approx(BASE, rel=1e-4)


def test_flat_cosine_is_constant_and_then_a_cosine() -> None:
    rates = trace(Config(schedule="flat_cosine", learning_rate=BASE, max_epochs=20))
    assert rates[:10] == [BASE] * 10
    assert_same_rates(rates[10:], torch_trace(lambda sgd: CosineAnnealingLR(sgd, 10), 10))


def plateau_trace(scores: list[float], config: Config) -> list[float]:
    plateau, rates = Plateau(), []
    for epoch, score in enumerate(scores, start=1):
        rates.append(learning_rate(epoch, config, plateau))
        plateau = plateau.after(score, config)
    return rates


@given(
    st.lists(st.integers(1, 40).map(lambda hundredths: hundredths / 100), min_size=1, max_size=60),
    st.sampled_from(["log_loss", "accuracy"]),
    st.integers(0, 4),
    st.sampled_from([0.1, 0.5, 0.9]),
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_plateau_is_that_of_pytorch(scores: list[float], monitor: str, patience: int, factor: float) -> None:
    config = Config(
        schedule="plateau",
        schedule_patience=patience,
        schedule_factor=factor,
        learning_rate=BASE,
        monitor=monitor,
    )
    sgd = optimizer()
    mode = "min" if config.lower_is_better else "max"
    scheduler = ReduceLROnPlateau(sgd, mode, factor, patience, eps=0)
    expected = []
    for score in scores:
        expected.append(sgd.param_groups[0]["lr"])
        scheduler.step(score)
    assert_same_rates(plateau_trace(scores, config), expected)


def test_a_gain_of_less_than_a_ten_thousandth_is_no_gain() -> None:
    config = Config(schedule="plateau", schedule_patience=0, schedule_factor=0.5, learning_rate=1.0)
    assert plateau_trace([1.0, 0.99995, 0.99985], config) == [1.0, 1.0, 0.5]
    assert plateau_trace([1.0, 0.9998, 0.9996], config) == [1.0, 1.0, 1.0]


# The rates that an engine may run ahead at


@pytest.mark.parametrize("schedule", ["constant", "step", "exponential", "cosine", "one_cycle", "plateau", "coslog4"])
def test_the_rates_of_all_epochs_are_known_from_the_first_on(schedule: str) -> None:
    config = Config(schedule=schedule, learning_rate=BASE, max_epochs=13)
    assert list(Schedule(config).rates(Plateau())) == trace(config)


def test_a_plateau_changes_every_rate_and_leaves_the_rates_before_as_they_were() -> None:
    schedule = Schedule(Config(schedule="plateau", learning_rate=BASE, max_epochs=4))
    before = schedule.rates(Plateau())
    after = schedule.rates(Plateau(factor=0.25, best=1.0, n_waited=2))
    assert list(before) == [BASE] * 4
    assert list(after) == [0.25 * BASE] * 4
    assert list(schedule.rates(Plateau())) == [BASE] * 4


def test_the_rates_are_computed_again_only_when_the_factor_changes() -> None:
    """A training of thousands of epochs asks for them before each one."""
    schedule = Schedule(Config(schedule="plateau", max_epochs=5))
    rates = schedule.rates(Plateau(best=1.0))
    assert schedule.rates(Plateau(best=0.5, n_waited=3)) is rates
    assert schedule.rates(Plateau(factor=0.5)) is not rates
