"""Random streams: functions of their arguments and nothing else, and shuffles that are fair."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare, kstest

from tabcohort.randomness import Purpose, make_rng, shuffle
from tabcohort.types import IntArray

SEEDS = st.integers(0, 2**63 - 1)
FEW = hypothesis_settings(max_examples=40, deadline=None)

# Streams


@given(SEEDS, st.sampled_from(Purpose), st.integers(0, 10_000), st.integers(0, 2**40))
@FEW
def test_a_stream_is_a_function_of_its_arguments(seed: int, purpose: Purpose, member: int, place: int) -> None:
    expected = make_rng(seed, purpose, member, place).integers(2**63, size=20)
    make_rng(seed, purpose, member, place + 1).random(1_000)  # whatever ran before
    np.random.default_rng(0).random(10)
    np.testing.assert_array_equal(make_rng(seed, purpose, member, place).integers(2**63, size=20), expected)


def test_a_stream_is_the_same_on_any_thread() -> None:
    streams: dict[int, NDArray[np.float64]] = {}

    def fill(number: int) -> None:
        streams[number] = make_rng(1, Purpose.SHUFFLE, number % 2).random(1_000)

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, values in streams.items():
        np.testing.assert_array_equal(values, make_rng(1, Purpose.SHUFFLE, number % 2).random(1_000))


def test_every_argument_selects_another_stream() -> None:
    arguments = [
        (seed, purpose, member, place)
        for seed, purpose, member, place in itertools.product((0, 1, 2**63 - 1), Purpose, (0, 1, 7), (0, 1, 2**32))
    ]
    first = [tuple(make_rng(*which).integers(2**63, size=2).tolist()) for which in arguments]
    assert len(set(first)) == len(arguments)


def test_the_numbers_of_a_stream_are_those_that_they_always_were() -> None:
    """A model is reproduced from its seed by a later version only if these stay."""
    assert make_rng(0, Purpose.INITIAL_WEIGHTS).integers(2**32, size=3).tolist() == [3103266502, 1469663869, 579547176]
    assert make_rng(5, Purpose.SHUFFLE, 2, 9).integers(2**32, size=3).tolist() == [2132849960, 3860805890, 1954687678]


def test_places_beside_each_other_do_not_overlap() -> None:
    """A stream has 2**128 numbers before it reaches the next place; a million of them are far from that."""
    values = np.concatenate([make_rng(3, Purpose.MIX, 0, place).integers(2**63, size=100_000) for place in range(4)])
    assert len(np.unique(values)) == len(values)


@pytest.mark.parametrize("purpose", Purpose)
def test_streams_are_uniform_and_independent_of_those_beside_them(purpose: Purpose) -> None:
    one, other = make_rng(0, purpose, 0, 0).random(20_000), make_rng(0, purpose, 0, 1).random(20_000)
    assert kstest(one, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


def test_every_purpose_has_a_number_of_its_own() -> None:
    assert len({int(purpose) for purpose in Purpose.__members__.values()}) == len(Purpose.__members__)


# Shuffles


def fisher_yates(rows: list[list[int]], words: list[list[int]]) -> list[list[int]]:
    """Return each row shuffled: plain integers, no overflow, one swap after another from the end."""
    shuffled = [list(row) for row in rows]
    for row, row_words in zip(shuffled, words, strict=True):
        for i in range(len(row) - 1, 0, -1):
            j = row_words[i] * (i + 1) >> 32
            row[i], row[j] = row[j], row[i]
    return shuffled


@given(SEEDS, st.integers(0, 5), st.integers(0, 60))
@FEW
def test_a_shuffle_is_fisher_yates_with_the_words_of_the_stream(seed: int, n_rows: int, width: int) -> None:
    rows = np.arange(n_rows * width, dtype=np.int64).reshape(n_rows, width)
    words = make_rng(seed, Purpose.SHUFFLE).integers(2**32, size=rows.shape, dtype=np.uint32)
    expected = fisher_yates(rows.tolist(), words.tolist())
    shuffle(rows, make_rng(seed, Purpose.SHUFFLE))
    assert rows.tolist() == expected


def test_a_shuffled_row_has_the_numbers_it_had() -> None:
    rows = np.random.default_rng(0).integers(10, size=(20, 50))
    before = rows.copy()
    shuffle(rows, make_rng(0, Purpose.SHUFFLE))
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.sort(before, axis=1))
    assert (rows != before).any(axis=1).all()


def test_part_of_a_matrix_is_shuffled_in_place() -> None:
    matrix = np.tile(np.arange(30), (6, 1))
    alone = np.tile(np.arange(20), (3, 1)) + 5
    shuffle(matrix[::2, 5:25], make_rng(4, Purpose.SHUFFLE))
    shuffle(alone, make_rng(4, Purpose.SHUFFLE))
    np.testing.assert_array_equal(matrix[::2, 5:25], alone)
    np.testing.assert_array_equal(matrix[1::2], np.tile(np.arange(30), (3, 1)))
    np.testing.assert_array_equal(matrix[:, :5], np.tile(np.arange(5), (6, 1)))


def test_every_order_is_as_likely_as_any_other() -> None:
    rows: IntArray = np.tile(np.arange(4, dtype=np.int64), (48_000, 1))
    shuffle(rows, make_rng(1, Purpose.SHUFFLE))
    _, counts = np.unique(rows @ [1, 4, 16, 64], return_counts=True)
    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-4


def test_every_number_is_as_likely_at_every_place() -> None:
    rows: IntArray = np.tile(np.arange(9, dtype=np.int64), (20_000, 1))
    shuffle(rows, make_rng(2, Purpose.SHUFFLE))
    for place in range(9):
        assert chisquare(np.bincount(rows[:, place], minlength=9)).pvalue > 1e-5
