"""Boosted trees as plain arrays: what a member whose config says `model="trees"` consists of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import Statistics
from tabcohort.types import FloatArray, IntArray

MISSING_LEFT, MISSING_RIGHT = -2, -1  # in place of a row of `levels`, at a node that splits a number
N_GROUPS = 256  # of levels, which a node that splits a category sends to the left or to the right
UNKNOWN_GROUP = N_GROUPS - 1  # of levels that no training row of the member had


@dataclass(frozen=True)
class Trees:
    """Boosted trees (Friedman 2001): a logit is its baseline plus the value of a leaf of each of its trees.

    A row goes from the root of a tree to a leaf: at node i to node i + 1, the left one, or to `right[i]`.

    Args:
        n_numbers: inputs that are numbers; they come first.
        n_codes: of each input that is a code.
        baseline: of each logit, `(n_outputs,)`, float64.
        roots: the first node of each tree, in the order of boosting, `(n_trees,)`, int32.
        outputs: the logit that each tree adds to, `(n_trees,)`, int32.
        right: index of the right child, `(n_nodes,)`, int32; 0 at a leaf.
        feature: the input that the node splits on, `(n_nodes,)`, int32.
        number: a leaf's value, or the threshold up to which numbers go left, `(n_nodes,)`, float64; unused at a
            category.
        split: at a category the row of `levels`; at a number whether a missing one goes to the left, `MISSING_LEFT` or
            `MISSING_RIGHT`, `(n_nodes,)`, int32.
        levels: whether each group of levels goes to the left, `(n_category_splits, 256)`, bool.
        group: of each code of each category, one category after another, `(sum of n_codes,)`, uint8.
        center, scale: of the numbers in the training rows, as in `Statistics`, `(n_numbers,)`, float64.
    """

    n_numbers: int
    n_codes: tuple[int, ...]
    baseline: FloatArray
    roots: NDArray[np.int32]
    outputs: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    number: FloatArray
    split: NDArray[np.int32]
    levels: NDArray[np.bool_]
    group: NDArray[np.uint8]
    center: FloatArray
    scale: FloatArray

    @property
    def n_inputs(self) -> int:
        """Inputs of a row."""
        return self.n_numbers + len(self.n_codes)

    @property
    def n_outputs(self) -> int:
        """Logits: for two classes one, that of the second class."""
        return len(self.baseline)

    @property
    def n_parameters(self) -> int:
        """Thresholds, sets of levels and values of leaves: one for each node."""
        return len(self.number)

    @property
    def code_starts(self) -> IntArray:
        """Where the codes of each category begin in `group`, and where the last ones end."""
        return np.cumsum([0, *self.n_codes]).astype(np.int64)

    def statistics(self) -> Statistics:
        """Return the statistics of the numbers in the training rows."""
        return Statistics(self.center, self.scale)

    def named(self) -> dict[str, NDArray[Any]]:
        """Return every array by its name in a model file."""
        return {name: getattr(self, name) for name in ARRAYS}


ARRAYS = tuple(field.name for field in dataclasses.fields(Trees) if field.name not in ("n_numbers", "n_codes"))
_DTYPES = {
    "roots": np.int32, "outputs": np.int32, "right": np.int32, "feature": np.int32, "split": np.int32,
    "levels": np.bool_, "group": np.uint8,
}  # fmt: skip


def blank_trees(n_numbers: int, n_codes: tuple[int, ...], n_outputs: int) -> Trees:
    """Return a model without trees, whose logits are 0."""
    no_nodes, no_numbers = np.empty(0, dtype=np.int32), np.empty(0)
    return Trees(
        n_numbers, n_codes, np.zeros(n_outputs),
        roots=no_nodes, outputs=no_nodes, right=no_nodes, feature=no_nodes, number=no_numbers, split=no_nodes,
        levels=np.empty((0, N_GROUPS), dtype=bool), group=np.zeros(sum(n_codes), dtype=np.uint8),
        center=np.zeros(n_numbers), scale=np.zeros(n_numbers),
    )  # fmt: skip


def trees_of_arrays(
    arrays: Mapping[str, NDArray[Any]], n_numbers: int, n_codes: tuple[int, ...], n_outputs: int
) -> Trees:
    """Return the trees of the arrays that `Trees.named` gives, if they are possible ones: kernels check no bounds.

    Args:
        arrays: by name.
        n_numbers, n_codes: see `Trees`.
        n_outputs: number of logits.

    Raises:
        ValueError: arrays are missing, or do not fit together.
    """
    if arrays.keys() != set(ARRAYS):
        raise ValueError("its arrays are not those of boosted trees")
    trees = Trees(n_numbers, n_codes, **arrays)
    shapes = {
        "baseline": (n_outputs,), "outputs": (trees.roots.size,), "levels": (trees.levels.size // N_GROUPS, N_GROUPS),
        "group": (sum(n_codes),), "center": (n_numbers,), "scale": (n_numbers,), "roots": (trees.roots.size,),
        **dict.fromkeys(("right", "feature", "number", "split"), (trees.right.size,)),
    }  # fmt: skip
    for name, array in arrays.items():
        dtype = _DTYPES.get(name, np.float64)
        if array.shape != shapes[name] or array.dtype != dtype:
            raise ValueError(f"the array {name!r} of its trees cannot be of {array.dtype} and shape {array.shape}")
        if dtype == np.float64 and not np.isfinite(array.astype(np.float64)).all():
            raise ValueError(f"the array {name!r} of its trees is not finite")
    _check_nodes(trees)
    return trees


def _check_nodes(trees: Trees) -> None:
    """Raise `ValueError` unless each node leads to later ones of its tree, and asks for what there is."""
    n_nodes, n_trees = len(trees.right), len(trees.roots)
    ends = np.append(trees.roots, n_nodes)[1:]
    if (n_nodes > 0) != (n_trees > 0) or (n_trees and (trees.roots[0] != 0 or (ends <= trees.roots).any())):
        raise ValueError("its trees do not follow one another")
    if not ((trees.outputs >= 0) & (trees.outputs < trees.n_outputs)).all():
        raise ValueError("one of its trees adds to a logit that does not exist")
    nodes = np.flatnonzero(trees.right)
    end = np.repeat(ends, ends - trees.roots)[nodes]
    right, feature, split = trees.right[nodes], trees.feature[nodes], trees.split[nodes]
    if not ((right > nodes + 1) & (right < end)).all():
        raise ValueError("a node's right child is outside its tree or not after it")
    asks_number = (feature >= 0) & (feature < trees.n_numbers) & (split >= MISSING_LEFT) & (split <= MISSING_RIGHT)
    is_code = (feature >= trees.n_numbers) & (feature < trees.n_inputs)
    asks_level = is_code & (split >= 0) & (split < len(trees.levels))
    if not (asks_number | asks_level).all():
        raise ValueError("a node splits on an input or a set of levels that does not exist")
