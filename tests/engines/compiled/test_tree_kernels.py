"""Boosted trees predict: a row's logits are the leaves that it goes to, alone and beside any other rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import random_network
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.engines.compiled import tree_kernels
from tabcohort.engines.compiled.inference import Inference
from tabcohort.network.program import build_program
from tabcohort.network.trees import MISSING_LEFT, MISSING_RIGHT, N_GROUPS, UNKNOWN_GROUP, Trees, trees_of_arrays
from tabcohort.settings import Config
from tabcohort.types import FloatArray

N_NUMBERS, N_CODES = 3, (5, 4)
FEW = hypothesis_settings(max_examples=40, deadline=None)


def make_trees(seed: int, n_trees: int = 4, n_outputs: int = 2) -> Trees:
    """Return trees of any shape."""
    rng = np.random.default_rng(seed)
    right: list[int] = []
    roots = []
    for _ in range(n_trees):
        roots.append(len(right))
        _grow(right, int(rng.integers(1, 12)), rng)
    n_nodes = len(right)
    feature = rng.integers(0, N_NUMBERS + len(N_CODES), n_nodes)
    side, levels = rng.choice([MISSING_LEFT, MISSING_RIGHT], n_nodes), rng.integers(0, n_nodes + 1, n_nodes)
    arrays = {
        "baseline": rng.normal(size=n_outputs),
        "roots": np.array(roots, np.int32),
        "outputs": rng.integers(0, n_outputs, n_trees).astype(np.int32),
        "right": np.array(right, np.int32),
        "feature": feature.astype(np.int32),
        "number": rng.normal(size=n_nodes),
        "split": np.where(feature < N_NUMBERS, side, levels).astype(np.int32),
        "levels": rng.random((n_nodes + 1, N_GROUPS)) < 0.5,
        "group": np.append(rng.integers(0, 4, sum(N_CODES) - 1), UNKNOWN_GROUP).astype(np.uint8),
        "center": np.zeros(N_NUMBERS),
        "scale": np.ones(N_NUMBERS),
    }
    return trees_of_arrays(arrays, N_NUMBERS, N_CODES, n_outputs)


def _grow(right: list[int], n_leaves: int, rng: np.random.Generator) -> None:
    """Append the nodes of a tree with this many leaves, the left ones first."""
    place = len(right)
    right.append(0)
    if n_leaves > 1:
        n_left = int(rng.integers(1, n_leaves))
        _grow(right, n_left, rng)
        right[place] = len(right)
        _grow(right, n_leaves - n_left, rng)


def rows_for(n_rows: int, seed: int) -> FloatArray:
    """Return numbers, some of them missing, and codes, some of them not those of a level."""
    rng = np.random.default_rng([seed, 1])
    numbers = rng.normal(size=(n_rows, N_NUMBERS))
    numbers[rng.random(numbers.shape) < 0.2] = np.nan
    codes = np.stack([rng.integers(0, n, n_rows) for n in N_CODES], axis=1).astype(float)
    codes[rng.random(codes.shape) < 0.1] = 99.0
    return np.hstack([numbers, codes])


def logits_by_hand(trees: Trees, row: FloatArray) -> FloatArray:
    """Return the logits of a row, one node after another."""
    logits = trees.baseline.copy()
    for root, output in zip(trees.roots, trees.outputs, strict=True):
        node = int(root)
        while trees.right[node]:
            feature, split = trees.feature[node], trees.split[node]
            if feature < trees.n_numbers:
                goes_left = split == MISSING_LEFT if np.isnan(row[feature]) else row[feature] <= trees.number[node]
            else:
                category = feature - trees.n_numbers
                n_codes = trees.n_codes[category]
                code = int(row[feature]) if row[feature] < n_codes else n_codes - 1
                goes_left = trees.levels[split, trees.group[trees.code_starts[category] + code]]
            node = node + 1 if goes_left else int(trees.right[node])
        logits[output] += trees.number[node]
    return logits


@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=3), seed=st.integers(0, 2**32))
@FEW
def test_logits_are_the_leaves_that_a_row_goes_to(sizes: list[int], seed: int) -> None:
    members, X = [make_trees(seed + n_trees, n_trees) for n_trees in sizes], rows_for(30, seed)
    actual = Inference(members).logits(X)
    expected = np.array([[logits_by_hand(trees, row) for trees in members] for row in X])
    assert actual.tobytes() == expected.tobytes()


@given(seed=st.integers(0, 2**32))
@FEW
def test_a_row_has_the_same_bits_alone_and_in_any_batch(seed: int) -> None:
    X, inference = rows_for(40, seed), Inference([make_trees(seed)])
    together = inference.logits(X)
    assert np.concatenate([inference.logits(X[i : i + 1]) for i in range(40)]).tobytes() == together.tobytes()
    some = np.array([7, 3, 3, 39])
    assert inference.logits(X, some).tobytes() == together[some].tobytes()


def test_rows_beyond_a_block_and_on_several_threads_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = make_trees(5)
    X = rows_for(2 * tree_kernels.ROWS_PER_BLOCK + 5, 0)
    monkeypatch.setattr("tabcohort.engines.compiled.inference.n_cores", lambda: 3)
    monkeypatch.setattr("tabcohort.engines.compiled.inference.MIN_ROWS_PER_THREAD", 64)
    together = Inference([trees, trees]).logits(X)
    expected = np.array([logits_by_hand(trees, row) for row in X])
    for member in range(2):
        assert together[:, member].tobytes() == expected.tobytes()


def test_networks_and_trees_predict_together_in_their_order() -> None:
    one, other = make_trees(1, n_outputs=1), make_trees(2, n_outputs=1)
    network = random_network(build_program(Config(hidden=(4,)), one.n_inputs, 2), np.float32)
    X = np.nan_to_num(rows_for(20, 3))
    together = Inference([one, network, other]).logits(X)
    for place, model in enumerate((one, network, other)):
        assert together[:, place].tobytes() == Inference([model]).logits(X)[:, 0].tobytes()


def test_trees_of_other_columns_are_refused() -> None:
    one = make_trees(1)
    other = replace(one, n_numbers=N_NUMBERS + 1, n_codes=N_CODES[:1])
    with pytest.raises(ValueError, match=r"^trees that predict together must have the same numbers and categories$"):
        Inference([one, other])


def test_trees_and_a_network_with_other_outputs_are_refused() -> None:
    trees = make_trees(1, n_outputs=2)
    network = random_network(build_program(Config(hidden=(4,)), trees.n_inputs, 2), np.float32)
    with pytest.raises(ValueError, match="the same inputs and have the same outputs"):
        Inference([trees, network])
