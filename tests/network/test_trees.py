"""Arrays become trees only if no node leads out of its tree or asks for what there is not: kernels check no bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tabcohort.network.trees import MISSING_LEFT, MISSING_RIGHT, N_GROUPS, Trees, blank_trees, trees_of_arrays

N_NUMBERS, N_CODES, N_OUTPUTS = 2, (4, 3), 3


def valid_arrays() -> dict[str, Any]:
    """Return two trees: one splits a number and then a category, the other is a leaf."""
    return {
        "baseline": np.array([0.5, 0.0, -0.5]),
        "roots": np.array([0, 5], np.int32),
        "outputs": np.array([0, 2], np.int32),
        "right": np.array([4, 3, 0, 0, 0, 0], np.int32),
        "feature": np.array([1, 2, 0, 0, 0, 0], np.int32),
        "number": np.array([0.25, 0.0, 1.0, 2.0, 3.0, 4.0]),
        "split": np.array([MISSING_LEFT, 0, 0, 0, 0, 0], np.int32),
        "levels": np.arange(N_GROUPS)[None] % 2 == 0,
        "group": np.array([0, 1, 2, 255, 0, 1, 255], np.uint8),
        "center": np.zeros(2),
        "scale": np.ones(2),
    }


def trees_of(**changes: Any) -> Trees:
    """Return the trees of the valid arrays with changes: an array, or an element by its place."""
    arrays = valid_arrays()
    for name, change in changes.items():
        if isinstance(change, tuple):
            place, value = change
            arrays[name][place] = value
        else:
            arrays[name] = change
    return trees_of_arrays(arrays, N_NUMBERS, N_CODES, N_OUTPUTS)


def test_trees_are_their_named_arrays() -> None:
    trees = trees_of()
    assert trees.named().keys() == valid_arrays().keys()
    for name, array in valid_arrays().items():
        np.testing.assert_array_equal(trees.named()[name], array)
    assert (trees.n_inputs, trees.n_outputs, trees.n_parameters) == (4, 3, 6)
    assert trees.code_starts.tolist() == [0, 4, 7]


def test_a_model_without_trees_is_valid() -> None:
    blank = blank_trees(N_NUMBERS, N_CODES, N_OUTPUTS)
    assert trees_of_arrays(blank.named(), N_NUMBERS, N_CODES, N_OUTPUTS).n_parameters == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"right": (1, 2)}, "right child is outside its tree or not after it"),
        ({"right": (1, 1)}, "right child is outside its tree or not after it"),
        ({"right": (0, -1)}, "right child is outside its tree or not after it"),
        ({"right": (0, 5)}, "right child is outside its tree or not after it"),
        ({"right": (0, 2**31 - 1)}, "right child is outside its tree or not after it"),
        ({"right": (5, 7)}, "right child is outside its tree or not after it"),
        ({"feature": (0, -1)}, "that does not exist"),
        ({"feature": (0, 2)}, "that does not exist"),
        ({"feature": (1, 1)}, "that does not exist"),
        ({"feature": (1, 4)}, "that does not exist"),
        ({"split": (0, -3)}, "that does not exist"),
        ({"split": (0, 0)}, "that does not exist"),
        ({"split": (1, 1)}, "that does not exist"),
        ({"split": (1, MISSING_RIGHT)}, "that does not exist"),
        ({"outputs": (1, 3)}, "a logit that does not exist"),
        ({"outputs": (1, -1)}, "a logit that does not exist"),
        ({"roots": (0, 1)}, "do not follow one another"),
        ({"roots": (1, 0)}, "do not follow one another"),
        ({"roots": (1, 6)}, "do not follow one another"),
        ({"roots": np.empty(0, np.int32), "outputs": np.empty(0, np.int32)}, "do not follow one another"),
        ({"number": (2, np.nan)}, "'number' of its trees is not finite"),
        ({"number": (0, np.inf)}, "'number' of its trees is not finite"),
        ({"baseline": (0, np.nan)}, "'baseline' of its trees is not finite"),
        ({"baseline": np.zeros(2)}, "'baseline' of its trees cannot be of float64 and shape"),
        ({"right": np.zeros(6, np.int64)}, "'right' of its trees cannot be of int64"),
        ({"levels": np.zeros((1, 255), bool)}, "'levels' of its trees cannot be of bool and shape"),
        ({"group": np.zeros(8, np.uint8)}, "'group' of its trees cannot be of uint8 and shape"),
        ({"split": np.zeros(5, np.int32)}, "'split' of its trees cannot be of int32 and shape"),
        ({"scale": np.zeros(3)}, "'scale' of its trees cannot be of float64 and shape"),
        ({"more": np.zeros(1)}, "not those of boosted trees"),
    ],
)
def test_impossible_trees_are_refused(changes: dict[str, Any], message: str) -> None:
    trees_of()
    with pytest.raises(ValueError, match=message):
        trees_of(**changes)


def test_missing_arrays_are_refused() -> None:
    arrays = valid_arrays()
    del arrays["levels"]
    with pytest.raises(ValueError, match="not those of boosted trees"):
        trees_of_arrays(arrays, N_NUMBERS, N_CODES, N_OUTPUTS)
