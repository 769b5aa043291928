"""What the labels of a target tell before training: counts, few rows, spellings, and words for missing cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tabcohort.data.labels import label_findings, many_whole_numbers, same_but_for_spelling, spelling_findings


def messages_of(classes: list[str], n_rows: int = 10) -> list[str]:
    """Return the findings on classes of as many rows each."""
    return [str(finding) for finding in label_findings("y", classes, np.full(len(classes), n_rows))]


def test_labels_as_they_should_be_have_no_findings() -> None:
    assert messages_of(["ill", "well"]) == []
    assert messages_of([str(number) for number in range(20)]) == []
    assert messages_of([f"species {number}" for number in range(100)]) == []


def test_more_whole_numbers_than_classes_look_like_counts() -> None:
    assert messages_of([str(number) for number in range(-3, 18)], 2) == [
        "'y' has 21 different whole numbers, which look like counts or measurements: a classifier ignores their order; "
        "divide them into bins, unless each of them is a class"
    ]


def test_many_classes_of_few_rows_are_too_few_rows_to_learn_from() -> None:
    (message,) = messages_of([f"species {number}" for number in range(30)], 2)
    assert message.startswith("'y' has 30 classes with 2.0 rows each on average: these are too few to learn from")


def test_spellings_and_words_for_a_missing_cell_are_named_with_examples() -> None:
    pairs = [label for i in range(5) for label in (f"level {i}", f"Level  {i}")]
    assert messages_of([*pairs, "?", "n/a"]) == [
        "'y' has levels that differ only in case, space or Unicode form ('level 0' and 'Level  0'; 'level 1' and "
        "'Level  1'; 'level 2' and 'Level  2' and 2 more): spell them the same if they mean the same",
        "'y' has classes that may stand for a missing target ('?' in 10 rows, 'n/a' in 10 rows): if so, leave these "
        "cells empty",
    ]
    assert spelling_findings("city", ["Oslo", "Rome"]) == []
    assert same_but_for_spelling(["\ufb01n", "Fin", "fan"]) == [["\ufb01n", "Fin"]]


@pytest.mark.parametrize(
    ("classes", "are_numbers"),
    [
        (np.arange(21), True),
        (np.arange(20), False),
        (np.arange(21) + 0.5, False),
        ([str(number) for number in range(21)], True),
        ([*map(str, range(21)), "many"], False),
        ([*map(str, range(21)), "inf"], False),
        ([None] * 21, False),
    ],
)
def test_many_whole_numbers_are_told_from_classes(classes: Any, are_numbers: bool) -> None:
    numbers = many_whole_numbers(classes)
    assert (numbers is not None) == are_numbers
    if numbers is not None:
        np.testing.assert_array_equal(numbers, np.arange(21.0))
