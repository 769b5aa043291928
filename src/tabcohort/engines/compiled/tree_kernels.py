"""The forward pass of boosted trees: each row goes to a leaf of each tree, whose value is added to a logit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tabcohort.engines.compiled.inference_kernels import code_of
from tabcohort.engines.compiled.jit import IN_ORDER, KEPT
from tabcohort.network.trees import MISSING_LEFT
from tabcohort.types import FloatArray, IntArray

ROWS_PER_BLOCK = 1024  # so that a tree stays in the cache while the rows of a block go through it


class TreeArrays(NamedTuple):
    """The trees of several members, one after another: see `tabcohort.network.trees.Trees`.

    Args:
        begins: the first tree of each member, and where the last ones end, `(n_members + 1,)`.
        baseline: `(n_members, n_outputs)`.
        roots, outputs: of each tree.
        right, feature, number, split: of each node.
        levels: of each node that splits a category.
        group: `(n_members, sum of n_codes)`.
        n_codes, code_starts: of each category.
        n_numbers: inputs that are numbers.
    """

    begins: IntArray
    baseline: FloatArray
    roots: NDArray[np.int32]
    outputs: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    number: FloatArray
    split: NDArray[np.int32]
    levels: NDArray[np.bool_]
    group: NDArray[np.uint8]
    n_codes: IntArray
    code_starts: IntArray
    n_numbers: int


@njit(**{**IN_ORDER, **KEPT})
def run_trees(trees, X, rows, logits):
    """Compute the logits of rows, `(n_rows, n_members, n_outputs)`, each summed tree by tree."""
    for start in range(0, rows.size, ROWS_PER_BLOCK):
        stop = min(start + ROWS_PER_BLOCK, rows.size)
        for m in range(trees.begins.size - 1):
            for i in range(start, stop):
                for k in range(trees.baseline.shape[1]):
                    logits[i, m, k] = trees.baseline[m, k]
            for t in range(trees.begins[m], trees.begins[m + 1]):
                for i in range(start, stop):
                    logits[i, m, trees.outputs[t]] += trees.number[leaf(trees, m, trees.roots[t], X, rows[i])]


@njit(**IN_ORDER)
def leaf(trees, m, root, X, row):
    """The leaf of a tree of member m that a row goes to"""
    node = np.int64(root)
    while trees.right[node] > 0:
        feature, split = np.int64(trees.feature[node]), trees.split[node]
        cell = X[row, feature]
        if split >= 0:
            c = feature - trees.n_numbers
            group = trees.group[m, trees.code_starts[c] + code_of(cell, trees.n_codes[c])]
            goes_left = trees.levels[split, group]
        elif np.isnan(cell):
            goes_left = split == MISSING_LEFT
        else:
            goes_left = cell <= trees.number[node]
        node = node + 1 if goes_left else np.int64(trees.right[node])
    return node
