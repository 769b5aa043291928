"""Intervals against closed forms, published values and simulation."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn import metrics as sk
from test_metrics import rows

from tabcohort.evaluation.evaluate import Evaluation, evaluate
from tabcohort.evaluation.intervals import Z95, Estimate, newcombe_auc, standard_error_of_mean, wilson
from tabcohort.evaluation.metrics import Scorer, log_probabilities
from tabcohort.types import FloatArray, IntArray


def evaluated(logits: FloatArray, y: IntArray, positive: int | None = 1) -> Evaluation:
    return evaluate(logits, y, np.ones(len(y)), positive)


def test_the_confusion_has_the_truth_on_its_first_axis() -> None:
    logits, y, weight = rows(50, 3, 0)
    found = evaluate(logits, y, weight, None)
    np.testing.assert_allclose(
        found.confusion, sk.confusion_matrix(y, logits.argmax(axis=1), sample_weight=weight), rtol=1e-12
    )
    assert found.n_rows == 50


@pytest.mark.parametrize("seed", range(3))
def test_naming_the_other_class_swaps_sensitivity_with_specificity(seed: int) -> None:
    logits, y, _ = rows(60, 2, seed)
    logits += 0.05  # no row is undecided
    one, other = evaluated(logits, y, positive=1).metrics, evaluated(logits, y, positive=0).metrics
    swapped_labels = evaluated(-logits, 1 - y, positive=1).metrics
    assert one["sensitivity"] != one["specificity"]
    for found in (other, swapped_labels):
        assert found["sensitivity"] == one["specificity"]
        assert found["specificity"] == one["sensitivity"]
        assert found["roc_auc"].value == pytest.approx(one["roc_auc"].value, abs=1e-12)


def test_sensitivity_is_of_the_named_class() -> None:
    y = np.array([0] * 6 + [1] * 4)
    logits = np.array([-1.0] * 6 + [1.0] + [-1.0] * 3)[:, None]  # every 0 is found, and one 1 of four
    assert evaluated(logits, y, positive=1).metrics["sensitivity"].value == 0.25
    assert evaluated(logits, y, positive=0).metrics["sensitivity"].value == 1.0


def test_a_metric_that_the_rows_cannot_tell_is_nan_with_a_nan_interval() -> None:
    found = evaluated(np.array([[-1.0], [-2.0], [1.0]]), np.zeros(3, dtype=np.int64)).metrics
    for name in ("balanced_accuracy", "roc_auc", "pr_auc", "sensitivity"):
        assert math.isnan(found[name].value), name
        assert math.isnan(found[name].low), name
        assert math.isnan(found[name].high), name
    assert found["accuracy"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_only_the_ratios_of_weights_matter(n_classes: int) -> None:
    logits, y, weight = rows(40, n_classes, 1)
    one, other = evaluate(logits, y, weight, None).metrics, evaluate(logits, y, 64 * weight, None).metrics
    assert one == other


# Interval by interval


def test_wilson_gives_the_published_interval() -> None:
    # 10 of 100: Wilson's score interval as tabulated in many places, e.g. by statsmodels' proportion_confint.
    assert wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=5e-5)
    # Newcombe (1998), Statistics in Medicine 17, Table I, method 3: 81/263, 15/148, 0/20, 1/29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 1000), st.floats(0, 1))
@hypothesis_settings(max_examples=60, deadline=None)
def test_wilson_limits_are_where_the_score_test_just_rejects(trials: int, share: float) -> None:
    successes = round(share * trials)
    for limit in wilson(successes, trials):
        if 1e-9 < limit < 1 - 1e-9:
            distance = abs(successes / trials - limit) / math.sqrt(limit * (1 - limit) / trials)
            assert distance == pytest.approx(Z95, rel=1e-6)


def test_wilson_without_trials_is_nan() -> None:
    assert all(math.isnan(limit) for limit in wilson(0, 0))


@given(st.floats(0, 1), st.integers(1, 500), st.integers(1, 500))
@hypothesis_settings(max_examples=60, deadline=None)
def test_newcombes_interval_contains_the_value_and_is_where_its_standard_error_says(auc: float, m: int, n: int) -> None:
    low, high = newcombe_auc(auc, m, n)
    assert 0 <= low <= auc <= high <= 1
    for limit in (low, high):
        if 1e-9 < limit < 1 - 1e-9:
            half = (m + n) / 2 - 1
            variance = 1 + half * (1 - limit) / (2 - limit) + half * limit / (1 + limit)
            error = math.sqrt(limit * (1 - limit) * variance / (m * n))
            assert abs(auc - limit) == pytest.approx(Z95 * error, rel=1e-6, abs=1e-9)


def test_newcombes_interval_of_a_perfect_ranking_does_not_collapse() -> None:
    low, high = newcombe_auc(1.0, 20, 20)
    assert 0.8 < low < 0.98
    assert high == 1.0
    assert all(math.isnan(limit) for limit in newcombe_auc(math.nan, 5, 0))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_every_interval_contains_its_value_and_possible_values_only(n_classes: int, seed: int) -> None:
    for name, found in evaluate(*rows(30, n_classes, seed), positive=1).metrics.items():
        assert 0 <= found.low <= found.value <= found.high, name
        assert found.high <= 1 or name in ("log_loss", "brier"), name


def test_the_interval_of_a_tiny_calibration_error_contains_it() -> None:
    confidence = np.repeat(np.arange(0.55, 1, 0.1), 20)
    right = np.tile(np.arange(20) / 20, 5) < confidence  # in every bin as many are right as was promised
    found = evaluated(np.log(confidence / (1 - confidence))[:, None], right.astype(np.int64)).metrics["ece"]
    assert found.value < 1e-12
    assert 0 <= found.low <= found.value <= found.high


def test_a_perfect_small_sample_keeps_wide_intervals() -> None:
    y = np.arange(20) % 2
    found = evaluated(np.where(y == 1, 5.0, -5.0)[:, None], y).metrics
    for name in ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "roc_auc"):
        assert found[name].value == found[name].high == 1, name
        assert found[name].low < 0.9, name


def test_the_bootstrap_depends_on_its_seed_alone() -> None:
    logits, y, weight = rows(40, 2, 0)
    one, again, other = (evaluate(logits, y, weight, 1, seed).metrics["log_loss"] for seed in (0, 0, 1))
    assert one == again
    assert (one.low, one.high) != (other.low, other.high)


def test_evaluation_warns_of_nothing_when_a_class_is_rare() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluated(np.linspace(-1, 1, 25)[:, None], np.array([0] * 24 + [1]))
    assert 0 < found.metrics["pr_auc"].low <= found.metrics["pr_auc"].high <= 1


def sample(rng: np.random.Generator, n_rows: int = 100) -> tuple[FloatArray, IntArray]:
    """Logits and classes of x ~ N(+-1, 1), scored by their true log odds 2 x, for which truths have closed forms."""
    y = rng.integers(2, size=n_rows)
    return 2 * rng.normal(2 * y - 1, 1)[:, None], y


def test_closed_form_intervals_cover_the_truth_about_95_times_of_100() -> None:
    rng = np.random.default_rng(11)
    n_runs, accuracy, roc_auc = 1_500, 0, 0
    for _ in range(n_runs):
        logits, y = sample(rng)
        found = Scorer(log_probabilities(logits), y, 1).metrics(np.ones(len(y)))
        low, high = wilson(found["accuracy"] * len(y), len(y))
        accuracy += low <= stats.norm.cdf(1) <= high
        low, high = newcombe_auc(found["roc_auc"], (y == 0).sum(), (y == 1).sum())
        roc_auc += low <= stats.norm.cdf(math.sqrt(2)) <= high
    assert 0.92 <= accuracy / n_runs <= 0.99
    assert 0.92 <= roc_auc / n_runs <= 0.99


def test_the_bootstrap_covers_the_true_log_loss_about_95_times_of_100() -> None:
    truth = integrate.quad(lambda x: np.logaddexp(0, -2 * x) * stats.norm.pdf(x - 1), -10, 12)[0]
    rng = np.random.default_rng(5)
    n_runs, covered = 60, 0
    for run in range(n_runs):
        logits, y = sample(rng)
        found = evaluate(logits, y, np.ones(len(y)), 1, seed=run).metrics["log_loss"]
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / n_runs <= 0.99


def test_specificity_without_a_negative_row_is_nan_also_with_fractional_weights() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):  # a difference of sums would leave a tiny number, and often a ratio of two
        found = Scorer(log_probabilities(rng.normal(size=(20, 3))), np.full(20, 1), 1).metrics(rng.uniform(0.1, 1, 20))
        assert math.isnan(found["specificity"])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_intervals_of_a_perfect_ranking_do_not_collapse(n_classes: int) -> None:
    y = np.arange(24) % n_classes
    logits = np.where(y == 1, 5.0, -5.0)[:, None] if n_classes == 2 else 10.0 * np.eye(3)[y]
    found = evaluated(logits, y, positive=1 if n_classes == 2 else None).metrics
    for name in ("roc_auc", "pr_auc"):
        assert found[name].value == pytest.approx(1, abs=1e-12), name
        assert found[name].high == pytest.approx(1, abs=1e-12), name
        assert 0.5 < found[name].low < 0.95, name


def test_the_intervals_of_the_areas_are_closed_forms_or_means_of_them() -> None:
    logits, y, _ = rows(60, 2, 0)
    found = evaluated(logits, y).metrics
    n_positive = int((y == 1).sum())
    expected = wilson(found["pr_auc"].value * n_positive, n_positive)
    assert (found["pr_auc"].low, found["pr_auc"].high) == pytest.approx(expected, rel=1e-12)
    logits, y, _ = rows(60, 3, 0)
    found = evaluated(logits, y, None).metrics
    score, counts = log_probabilities(logits), np.bincount(y)
    roc = [newcombe_auc(sk.roc_auc_score(y == k, score[:, k]), counts[k], 60 - counts[k]) for k in range(3)]
    pr = [wilson(sk.average_precision_score(y == k, score[:, k]) * counts[k], counts[k]) for k in range(3)]
    for name, limits in (("roc_auc", roc), ("pr_auc", pr)):
        assert (found[name].low, found[name].high) == pytest.approx(np.mean(limits, axis=0), rel=1e-9), name


# Rows that are called something else than the most probable class


def test_an_evaluation_and_its_intervals_are_of_the_calls() -> None:
    logits, y, weight = rows(80, 3, 2)
    called = np.random.default_rng(0).integers(3, size=80)
    evaluation = evaluate(logits, y, weight, 0, called=called)
    cells = sk.confusion_matrix(y, called, sample_weight=weight)
    np.testing.assert_allclose(evaluation.confusion / evaluation.confusion.sum(), cells / cells.sum())
    accuracy = evaluation.metrics["accuracy"]
    assert accuracy.value == pytest.approx(np.average(called == y, weights=weight))
    assert accuracy.low < accuracy.value < accuracy.high < evaluate(logits, y, weight, 0).metrics["accuracy"].value


def test_calling_the_most_probable_class_changes_nothing() -> None:
    logits, y, weight = rows(60, 3, 4)
    called = log_probabilities(logits).argmax(axis=1)
    assert repr(evaluate(logits, y, weight, 1, called=called)) == repr(evaluate(logits, y, weight, 1))


# Rows that come in connected_groups


def connected_groups(n_families: int, n_rows: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray, IntArray]:
    """Logits, classes and connected_groups of rows that are distributed as those of `sample`, but alike inside a family."""
    family = np.repeat(np.arange(n_families), n_rows)
    y = rng.integers(2, size=n_families)[family]
    own, shared = rng.normal(size=len(family)), rng.normal(size=n_families)[family]
    return 2 * (2 * y - 1 + np.sqrt(0.7) * shared + np.sqrt(0.3) * own)[:, None], y, family


def test_intervals_cover_the_truth_about_95_times_of_100_also_where_rows_of_a_family_are_alike() -> None:
    truth = stats.norm.cdf(1)
    rng = np.random.default_rng(1)
    n_runs, covered, covered_as_if_independent = 60, 0, 0
    for run in range(n_runs):
        logits, y, family = connected_groups(40, 5, rng)
        found = evaluate(logits, y, np.ones(200), 1, run, family=family).metrics["accuracy"]
        low, high = wilson(found.value * 200, 200)
        covered += found.low <= truth <= found.high
        covered_as_if_independent += low <= truth <= high
    assert 0.88 <= covered / n_runs <= 0.99
    assert covered_as_if_independent / n_runs <= 0.85


def test_rows_that_are_there_four_times_say_as_much_as_once() -> None:
    rng = np.random.default_rng(0)
    logits, y = sample(rng, 300)
    family = np.tile(np.arange(300), 4)
    once = evaluated(logits, y)
    tied = evaluate(np.tile(logits, (4, 1)), np.tile(y, 4), np.ones(1200), 1, family=family)
    free = evaluate(np.tile(logits, (4, 1)), np.tile(y, 4), np.ones(1200), 1)
    assert (once.n_groups, tied.n_rows, tied.n_groups, free.n_groups) == (300, 1200, 300, 1200)
    for name, one in once.metrics.items():
        of_tied, of_free = tied.metrics[name], free.metrics[name]
        assert of_tied.value == pytest.approx(one.value), name
        assert of_tied.high - of_tied.low == pytest.approx(one.high - one.low, rel=0.15, abs=0.003), name
        assert of_free.high - of_free.low < 0.7 * (of_tied.high - of_tied.low), name


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_where_no_row_is_wrong_rows_of_a_family_count_as_one(seed: int | None) -> None:
    y = np.repeat([0, 1], 40)
    logits, family = 8.0 * (2.0 * y - 1)[:, None], np.arange(80) // 4
    weight = np.ones(80) if seed is None else np.repeat(np.random.default_rng(seed).uniform(0.5, 2, 20), 4)
    found = evaluate(logits, y, weight, 1, family=family).metrics
    of_family = np.bincount(family, weight)
    n_families = of_family.sum() ** 2 / np.square(of_family).sum() / (stats.t.ppf(0.975, 19) / Z95) ** 2
    for name, part in (("accuracy", 1), ("pr_auc", weight[y == 1].sum() / weight.sum())):
        low = wilson(n_families * part, n_families * part)[0]
        assert found[name] == Estimate(pytest.approx(1), pytest.approx(low, rel=1e-9), pytest.approx(1)), name


def test_an_error_makes_an_interval_no_better() -> None:
    y, family = np.arange(1_000) % 2, np.arange(1_000) // 25
    lows = []
    for n_errors in range(6):
        called = np.where(np.arange(1_000) % 25 + 40 * (np.arange(1_000) // 25 >= n_errors) == 7, 1 - y, y)
        assert (called != y).sum() == n_errors
        found = evaluate(3.0 * (2.0 * called - 1)[:, None], y, np.ones(1_000), 1, family=family)
        lows.append(found.metrics["accuracy"].low)
    assert lows[0] < 0.92
    assert lows[1] < lows[0]


@given(st.integers(0, 10_000))
@hypothesis_settings(max_examples=30, deadline=None)
def test_a_perfect_ranking_of_uneven_weights_has_areas_of_1_and_intervals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, weight = rng.permutation(np.arange(40) % 2), rng.uniform(0.01, 3, 40)
    found = evaluate(3.0 * (2.0 * y - 1)[:, None] + rng.uniform(-1, 1, (40, 1)), y, weight, 1).metrics
    for name in ("roc_auc", "pr_auc"):
        assert found[name].value == pytest.approx(1)
        assert 0.5 < found[name].low < found[name].value <= found[name].high <= 1


def test_a_single_family_says_next_to_nothing() -> None:
    logits, y, _ = rows(60, 2, 0)
    found = evaluate(logits, y, np.ones(60), 1, family=np.zeros(60, dtype=np.int64))
    assert found.n_groups == 1
    assert found.metrics["accuracy"].low < 0.05
    assert found.metrics["accuracy"].high > 0.95
    assert found.metrics["brier"].high == 1


def test_families_of_one_row_each_change_nothing() -> None:
    logits, y, weight = rows(60, 3, 0)
    alone = np.random.default_rng(0).permutation(60)
    assert repr(evaluate(logits, y, weight, None, family=alone)) == repr(evaluate(logits, y, weight, None))


def test_only_which_rows_share_a_family_matters() -> None:
    logits, y, weight = rows(60, 3, 0)
    family = np.arange(60) // 5
    one = evaluate(logits, y, weight, None, family=family)
    assert repr(evaluate(logits, y, weight, None, family=7 * family[::-1] + 100)) != repr(one)
    assert repr(evaluate(logits, y, weight, None, family=7 * family + 100)) == repr(one)


def test_the_standard_error_of_a_mean_takes_a_family_as_one() -> None:
    rng = np.random.default_rng(0)
    values, weight, family = rng.normal(size=50), rng.uniform(0.5, 2, 50), np.sort(rng.integers(9, size=50))
    alone = standard_error_of_mean(values, weight)
    assert alone == pytest.approx(standard_error_of_mean(values, weight, rng.permutation(50)), rel=1e-12)
    share = weight / weight.sum()
    assert alone == pytest.approx(math.hypot(*(share * (values - share @ values))), rel=1e-12)
    repeated = standard_error_of_mean(np.repeat(values, 3), np.repeat(weight, 3), np.repeat(np.arange(50), 3))
    assert alone < repeated < 1.1 * alone
    values += rng.normal(size=9)[family]
    of_family = np.bincount(family, share * (values - share @ values))
    least = math.hypot(*of_family) * math.sqrt(9 / 8) * stats.t.ppf(0.975, 8) / Z95
    assert least <= standard_error_of_mean(values, weight, family) < 2 * least
    assert standard_error_of_mean(values, weight, 0 * family) > 5 * standard_error_of_mean(values, weight)
