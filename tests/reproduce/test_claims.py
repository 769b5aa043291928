"""Verdicts follow from the figures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from scipy.stats import ttest_1samp

from tabcohort.reproduce.claims import (
    CANNOT,
    FAILS,
    HOLDS,
    IN_DIRECTION,
    UNDECIDED,
    Compared,
    Measured,
    computed_claim,
    counted_claim,
    machine_time,
    order_claim,
    quantile,
    value_claim,
)
from tabcohort.reproduce.findings import spread


@pytest.mark.parametrize(
    ("claimed", "verdict"), [(2.0, HOLDS), (6.9, HOLDS), (7.1, FAILS), (-2.9, HOLDS), (-3.1, FAILS)]
)
def test_a_figure_holds_where_95_percent_of_single_runs_lie(claimed: float, verdict: str) -> None:
    claim = value_claim("x", "y", claimed, Measured("m", spread([1, 2, 3])))  # 2 ± 4.303 x 1 x sqrt(4 / 3) = 4.97
    assert claim.verdict == verdict
    assert claim.reason == "95% of single runs are within 4.968 of the mean"


def test_one_seed_decides_nothing() -> None:
    assert value_claim("x", "y", 1.0, Measured("m", spread([1]))).verdict == UNDECIDED
    sides = Compared("a", 1.0, {0: 1.0}), Compared("b", 2.0, {0: 2.0})
    assert order_claim("x", "y", *sides).verdict == UNDECIDED
    empty = order_claim("x", "y", Compared("a", 1.0, {}), Compared("b", 2.0, {0: 2.0}))
    assert (empty.verdict, empty.reason, empty.measured) == (UNDECIDED, "not measured", ())


def compared(differences: list[float], claimed: float) -> str:
    first = {seed: 10.0 * seed for seed in range(len(differences))}  # the seeds differ by more than the sides
    second = {seed: first[seed] + difference for seed, difference in enumerate(differences)}
    return order_claim("x", "y", Compared("a", 1.0, first), Compared("b", 1.0 + claimed, second)).verdict


def test_a_comparison_is_judged_by_the_differences_of_equal_seeds() -> None:
    assert compared([0.9, 1.0, 1.1], 1.0) == HOLDS
    assert compared([0.9, 1.0, 1.1], 2.0) == IN_DIRECTION
    assert compared([0.9, 1.0, 1.1], -1.0) == FAILS
    assert compared([-1.0, 0.1, 1.1], 1.0) == UNDECIDED
    assert compared([-1.0, 0.1, 1.1], 5.0) == FAILS
    assert compared([0.0, 0.0, 0.0], 1.0) == FAILS


@pytest.mark.parametrize("shift", [0.20, 0.23, 0.26, 0.30])
def test_a_difference_is_beyond_chance_where_a_paired_t_test_says_so(shift: float) -> None:
    differences = [shift - 0.1, shift, shift + 0.12, shift - 0.15, shift + 0.2]
    is_significant = ttest_1samp(differences, 0).pvalue < 0.05
    assert (compared(differences, 1e-9) in (HOLDS, IN_DIRECTION)) == is_significant


def test_only_seeds_of_both_sides_are_compared_and_without_figures_the_second_is_the_lower() -> None:
    first, second = (
        Compared("a", None, {0: 5.0, 1: 6.0, 2: 7.0, 3: 99.0}),
        Compared("b", None, {0: 1.0, 1: 2.1, 2: 3.0}),
    )
    claim = order_claim("x", "y", first, second)
    assert claim.verdict == HOLDS
    assert claim.claimed == ""
    assert [own.value.n for own in claim.measured] == [3, 3, 3]
    assert claim.measured[0].value.mean == 6.0
    assert order_claim("x", "y", second, first).verdict == FAILS


def test_the_interval_of_a_mean_is_students() -> None:
    assert quantile(2) == pytest.approx(12.706, abs=1e-3)
    assert quantile(1_000) == pytest.approx(1.962, abs=1e-3)


def test_a_claim_is_plain_json_and_its_verdict_can_be_replaced() -> None:
    claim = value_claim("x", "y", 0.5, Measured("m", spread([0.5, 0.7]), ".1%"))
    claim = replace(claim, verdict=CANNOT, reason="no such rows")
    assert json.loads(json.dumps(claim.to_dict(), allow_nan=False)) == {
        "text": "x",
        "where": "y",
        "claimed": "50.0%",
        "measured": [
            {"name": "m", "mean": 0.6, "standard_deviation": pytest.approx(0.1414, abs=1e-4), "seeds": 2,
             "text": "60.0% ± 14.1%"}
        ],
        "verdict": CANNOT,
        "reason": "no such rows",
        "agreement": "1 of 2 runs are at or below the document's figure",
    }  # fmt: skip


def test_figures_agree_if_they_are_printed_alike() -> None:
    assert computed_claim("x", "y", (0.92,), (0.9206,), ".2f").verdict == "holds"
    claim = computed_claim("x", "y", (0.92, 1.0), (0.93, 1.0), ".2f", "it is 0.93")
    assert (claim.verdict, claim.reason, claim.claimed) == ("does not hold", "it is 0.93", "0.92, 1.00")
    assert [measured.text for measured in claim.measured] == ["0.93", "1.00"]


def test_a_count_can_only_be_right_or_not() -> None:
    right, wrong = counted_claim("x", "y", 1_000, 1_000), counted_claim("x", "y", 1_000, 1_001)
    assert (right.verdict, right.reason, right.claimed) == (HOLDS, "", "1,000")
    assert (wrong.verdict, wrong.reason) == (CANNOT, "there are 1,001, whatever is trained")
    assert counted_claim("x", "y", 1, 2, "so it is").reason == "so it is"


def test_seconds_of_another_machine_are_not_judged() -> None:
    claim = machine_time("x", "y", 35, Measured("seconds", spread([0.5, 0.5])))
    assert (claim.verdict, claim.claimed) == (CANNOT, "35 s")
    assert claim.reason == "seconds depend on the machine; here it takes 0.5 s, 70 times less"
    slower = machine_time("x", "y", 0.5, Measured("seconds", spread([2.0, 2.0])))
    assert slower.reason.endswith("here it takes 2 s, 4.0 times as long")


def test_agreement_counts_runs() -> None:
    assert value_claim("x", "y", 2.0, Measured("m", spread([1, 2, 3]))).agreement.startswith(
        "2 of 3 runs are at or below"
    )
    first, second = Compared("a", None, {0: 5.0, 1: 6.0, 2: 7.0}), Compared("b", None, {0: 1.0, 1: 7.0, 2: 3.0})
    assert order_claim("x", "y", first, second).agreement == "2 of 3 pairs of runs agree"
