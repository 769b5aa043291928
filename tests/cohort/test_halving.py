"""Successive halving: when configs are compared, and which go on."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabcohort.cohort.halving import MIN_CONFIGS, N_RESERVES, HalvingPolicy, Selected, n_kept


@pytest.mark.parametrize(
    ("n_configs", "halving", "has_budget", "max_epochs", "expected"),
    [
        (1, True, False, 200, [200]),
        (4, True, False, 200, [200]),
        (5, True, False, 200, [10, 200]),
        (5, True, False, 219, [10, 219]),
        (12, True, False, 200, [10, 200]),
        (13, True, False, 200, [10, 30, 200]),
        (54, True, False, 200, [10, 30, 90, 200]),
        (54, True, False, 60, [5, 15, 45, 60]),
        (54, True, False, 45, [5, 15, 45]),
        (54, True, False, 6, [5, 6]),
        (54, True, False, 5, [5]),
        (54, False, False, 200, [200]),
        (54, False, True, 200, [10, 200]),
        (1, True, True, 200, [10, 200]),
        (1, True, True, 4, [4]),
    ],
)
def test_members_pause_only_where_configs_are_dropped_or_a_budget_needs_all_to_have_begun(
    n_configs: int, halving: bool, has_budget: bool, max_epochs: int, expected: list[int]
) -> None:
    assert HalvingPolicy(n_configs, max_epochs, drops=halving, pauses=has_budget).rungs() == expected


@given(st.integers(1, 10_000), st.integers(1, 2_000), st.booleans(), st.booleans())
def test_rungs_ascend_and_the_last_one_is_the_end(n_configs: int, max_epochs: int, drops: bool, pauses: bool) -> None:
    rungs = HalvingPolicy(n_configs, max_epochs, drops, pauses).rungs()
    assert rungs == sorted(set(rungs))
    assert rungs[-1] == max_epochs
    assert rungs[0] >= min(5, max_epochs)


@pytest.mark.parametrize("n_configs", range(1, 60))
def test_a_third_is_kept_and_a_few_at_least(n_configs: int) -> None:
    assert n_kept(n_configs) == max(MIN_CONFIGS, math.ceil(n_configs / 3))


def test_the_configs_with_the_lowest_losses_are_kept_the_best_first() -> None:
    losses = dict(enumerate([0.5, 0.1, 0.7, 0.3, 0.2, 0.6, 0.4]))
    selected = HalvingPolicy(7, 100, drops=True, pauses=False).select(losses)
    assert selected == Selected(kept=[1, 4, 3, 6], dropped=[0, 5, 2], without_weights=[])


def test_of_equal_losses_the_first_configs_are_kept() -> None:
    losses = dict.fromkeys(reversed(range(7)), 1.0)
    assert HalvingPolicy(7, 100, drops=True, pauses=False).select(losses).kept == [0, 1, 2, 3]


def test_a_policy_that_drops_nothing_keeps_all() -> None:
    losses = {config: float(-config) for config in range(40)}
    selected = HalvingPolicy(40, 100, drops=False, pauses=True).select(losses)
    assert selected == Selected(list(reversed(range(40))), [], [])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80))
def test_every_config_is_kept_or_dropped_and_only_those_far_behind_lose_their_weights(losses: list[float]) -> None:
    selected = HalvingPolicy(len(losses), 100, drops=True, pauses=False).select(dict(enumerate(losses)))
    ranked = [*selected.kept, *selected.dropped]
    assert sorted(ranked) == list(range(len(losses)))
    assert len(selected.kept) == min(len(losses), n_kept(len(losses)))
    assert [losses[config] for config in ranked] == sorted(losses)
    assert selected.without_weights == ranked[max(len(selected.kept), N_RESERVES) :]
