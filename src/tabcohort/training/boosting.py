"""Boosted trees: grown by scikit-learn on the rows of a member, and taken over as plain arrays.

scikit-learn's `HistGradientBoostingClassifier` grows the trees. Which round is the best one, and when training stops,
is decided as for networks: a round of boosting is an epoch. What scikit-learn keeps in private attributes is read in
this file only, and checked: see `_naming_scikit_learn`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tabcohort.data.encoder import fit_statistics
from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.engines.protocol import State
from tabcohort.engines.validation import ValidationSet
from tabcohort.errors import EngineError, ModelFileError
from tabcohort.evaluation.metrics import log_loss, log_probabilities
from tabcohort.network.trees import (
    MISSING_LEFT,
    MISSING_RIGHT,
    N_GROUPS,
    UNKNOWN_GROUP,
    Trees,
    blank_trees,
    trees_of_arrays,
)
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, EpochRecord, TrainingState, after_epoch
from tabcohort.training.member import class_weights, validation_set
from tabcohort.training.streamed_member import rows_for_trees
from tabcohort.types import FloatArray, IntArray


def train_trees(
    table: Table, split: Split, config: Config, callback: EpochCallback = lambda state: None, member: int = 0
) -> TrainingState:
    """Grow boosted trees until `patience` or `max_epochs` ends training; `best_state` holds the rounds up to the best.

    `trees_of_state` makes a model of it.

    Missing numbers go to the side of a split where they help most (as in XGBoost, Chen & Guestrin 2016), categories are
    split into two sets of levels (as in LightGBM, Ke et al. 2017). Levels from the 255th on share one group, with
    missing cells if there are that many levels.

    Args:
        table: the rows.
        split: which of them train and validate.
        config: `max_leaf_nodes`, `min_samples_leaf`, `max_features`, `l2_regularization`, `shrinkage`, `class_weight`,
            `max_epochs`, `patience` and `monitor` are used.
        callback: called after every round; a reason that it returns stops training.
        member: its number, which with the seed selects its random streams.

    Raises:
        EngineError: scikit-learn does not grow trees as expected: it is of a version that this one does not know.
    """
    table, split = rows_for_trees(table, split, config.seed, member)
    rows, y, factor = split.train, table.y[split.train], class_weights(table, split, config)
    weight, validation = table.weight[rows] * factor[y], validation_set(table, split, factor)
    target = _Target.of(y, weight, len(table.schema.classes))
    statistics = fit_statistics(table.numbers, table.weight[rows], rows)
    blank = replace(
        blank_trees(table.schema.n_numbers, table.schema.n_codes, target.n_outputs),
        baseline=target.baseline,
        group=groups_of_codes(table.schema.n_codes),
        center=statistics.center,
        scale=statistics.scale,
    )
    rounds = _Rounds(target, y, weight, validation, config, callback)
    if len(target.present) < 2:  # nothing can be split
        rounds.note(np.empty((len(rows), 0)), np.empty((len(validation.rows), 0)))
        return replace(rounds.state, stop_reason="patience", best_state=blank.named())
    booster = _booster(config, blank, member)
    booster._check_early_stopping_loss = rounds
    _bin_without_weights(booster)
    val_cells = tree_cells(table, validation.rows, blank)
    # On one thread: members share the cores, and sums do not depend on their number. The limit is this thread's alone.
    with threadpool_limits(1, "openmp"):
        booster.fit(
            tree_cells(table, rows, blank),
            np.searchsorted(target.present, y),
            weight / weight.mean(),
            X_val=val_cells,
            y_val=np.arange(len(val_cells)) % len(target.present),  # `rounds` knows the true classes
        )
    with _naming_scikit_learn():
        _check_rounds(booster, rounds.state)
        grown = _exported(booster, booster._predictors[: rounds.state.best_epoch], blank, target)
    return replace(rounds.state, best_state=grown.named())


def trees_of_state(table: Table, state: TrainingState) -> Trees:
    """Return the trees of a training.

    Raises:
        ModelFileError: they are not possible ones for this table, as a damaged checkpoint may have them.
    """
    schema = table.schema
    try:
        return trees_of_arrays(state.best_state, schema.n_numbers, schema.n_codes, schema.n_outputs)
    except ValueError as error:
        raise ModelFileError(f"the checkpoint of boosted trees is not valid: {error}; remove its folder") from None


def groups_of_codes(n_codes: Sequence[int]) -> NDArray[np.uint8]:
    """Return the group of each code of each category, one category after another, `(sum of n_codes,)`.

    The codes of a category are its levels, the most frequent first, then "missing", then "unknown".
    """
    groups = [np.append(np.minimum(np.arange(n - 1), UNKNOWN_GROUP - 1), UNKNOWN_GROUP) for n in n_codes]
    return np.concatenate([np.empty(0, dtype=np.int64), *groups]).astype(np.uint8)


def tree_cells(table: Table, rows: IntArray, trees: Trees) -> FloatArray:
    """Return what trees are grown on, `(n_rows, n_inputs)`: numbers as they are, then the groups of codes.

    A missing number and an unknown level are NaN.
    """
    groups = trees.group[trees.code_starts[:-1] + table.codes[rows]]
    return np.hstack([table.numbers[rows], np.where(groups == UNKNOWN_GROUP, np.nan, groups)])


@dataclass(frozen=True)
class _Target:
    """The classes of the training rows: scikit-learn knows only those, and the logits of a model are of all.

    Args:
        present: codes of the classes that have training rows, ascending.
        outputs: indices of the logits that scikit-learn's correspond to, `(n_grown,)`: one for two present classes.
        baseline: logits that scikit-learn's are added to, `(n_outputs,)`.
    """

    present: IntArray
    outputs: IntArray
    baseline: FloatArray

    @classmethod
    def of(cls, y: IntArray, weight: FloatArray, n_classes: int) -> _Target:
        totals = np.bincount(y, weight / weight.mean(), n_classes)
        present = np.flatnonzero(totals)
        # A class without rows counts as half a row.
        log_share = np.log(np.maximum(totals, 0.5) / np.maximum(totals, 0.5).sum())
        if n_classes == 2:
            baseline = np.array([log_share[1] - log_share[0] if len(present) == 1 else 0.0])
            return cls(present, np.zeros(len(present) - 1, dtype=np.int64), baseline)
        baseline = log_share.copy()
        if len(present) == 2:  # scikit-learn's logit is of the second class against the first
            baseline[present[1]] = log_share[present[0]]
            return cls(present, present[1:], baseline)
        outputs = present if len(present) > 2 else present[:0]
        if len(outputs):  # scikit-learn's logits have mean 0 before the first tree
            baseline -= log_share[present].mean()
            baseline[outputs] = 0.0
        return cls(present, outputs, baseline)

    @property
    def n_outputs(self) -> int:
        return len(self.baseline)

    def logits(self, raw: FloatArray) -> FloatArray:
        """Return the logits of all classes, `(n, n_outputs)`, given scikit-learn's, `(n, n_grown)`."""
        logits = np.tile(self.baseline, (len(raw), 1))
        logits[:, self.outputs] += raw
        return logits


class _Rounds:
    """What happened in each round: scikit-learn calls it before the first one, and after each.

    Args:
        target: the classes of the training rows.
        y, weight: class codes and weights of the training rows.
        validation: the validation rows.
        config, callback: see `train_trees`.
    """

    def __init__(
        self,
        target: _Target,
        y: IntArray,
        weight: FloatArray,
        validation: ValidationSet,
        config: Config,
        callback: EpochCallback,
    ) -> None:
        self.target, self.y, self.weight, self.validation = target, y, weight, validation
        self.config, self.callback = config, callback
        self.state = TrainingState()
        self._n_calls, self._began = 0, time.perf_counter()

    def __call__(self, *, raw_predictions: FloatArray, raw_predictions_val: FloatArray, **unused: Any) -> bool:
        """Return whether training is to stop; scikit-learn passes its logits by name."""
        self._n_calls += 1
        if self._n_calls > 1:
            self.note(raw_predictions, raw_predictions_val)
        return self.state.stop_reason is not None

    def note(self, raw: FloatArray, val_raw: FloatArray) -> None:
        """Take over scikit-learn's logits of the training and the validation rows after a round."""
        train_loss = log_loss(log_probabilities(self.target.logits(raw)), self.y, self.weight)
        (result,) = self.validation.results(np.array([[train_loss]]), self.target.logits(val_raw)[None], n_train=1)
        score, seconds = self.validation.score(result, self.config.monitor), time.perf_counter() - self._began
        record = EpochRecord(self.state.n_epochs + 1, self.config.shrinkage, *result[2:], score, seconds)
        self.state = after_epoch(self.state, record, State, self.config)
        reason = self.callback(self.state)
        if reason is not None and self.state.stop_reason is None:
            self.state = replace(self.state, stop_reason=reason)


def _booster(config: Config, blank: Trees, member: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier  # takes a while to import

    rng = make_rng(config.seed, Purpose.TREES, member)
    is_category = np.arange(blank.n_inputs) >= blank.n_numbers
    return HistGradientBoostingClassifier(
        learning_rate=config.shrinkage,
        max_iter=config.max_epochs,
        max_leaf_nodes=config.max_leaf_nodes,
        min_samples_leaf=config.min_samples_leaf,
        max_features=config.max_features,
        l2_regularization=config.l2_regularization,
        early_stopping=True,
        categorical_features=is_category,
        random_state=int(rng.integers(2**31)),
    )


def _bin_without_weights(booster: Any) -> None:
    """Let bins lie between quantiles of the rows: those of their weights take longer than all trees together."""
    bin_data = getattr(booster, "_bin_data", None)
    if bin_data is not None and "sample_weight" in inspect.signature(bin_data).parameters:
        booster._bin_data = lambda X, sample_weight, is_training_data: bin_data(
            X, None, is_training_data=is_training_data
        )


# -- from scikit-learn's private attributes to arrays ------------------------------------------------------------------

LARGEST = np.finfo(np.float64).max  # in place of infinity: a threshold between all numbers and a missing one


@contextmanager
def _naming_scikit_learn() -> Iterator[None]:
    """Turn what goes wrong with scikit-learn's private attributes into an `EngineError` that names its version."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        import sklearn  # takes a second, which processes that train networks need not wait for

        raise EngineError(
            f"scikit-learn {sklearn.__version__} keeps boosted trees in a form that is not known ({error}); install a "
            "version that constraints.txt names, or leave boosted trees out: --nets-only"
        ) from None


def _check_rounds(booster: Any, state: TrainingState) -> None:
    """Raise `ValueError` unless scikit-learn called after each round, and has each left child behind its node."""
    rounds = booster._predictors
    if len(rounds) != state.n_epochs:
        raise ValueError(f"{len(rounds)} rounds, {state.n_epochs} of which were noted")
    for nodes in (tree.nodes for of_round in rounds for tree in of_round):
        is_split = nodes["is_leaf"] == 0
        if not (nodes["left"] == np.arange(1, len(nodes) + 1))[is_split].all():
            raise ValueError("a left child does not follow its node")


def _exported(booster: Any, rounds: Sequence[Sequence[Any]], blank: Trees, target: _Target) -> Trees:
    """Return scikit-learn's trees as arrays.

    Args:
        booster: the fitted classifier.
        rounds: its trees by round and logit.
        blank: the model without trees.
        target: the classes of the training rows.
    """
    known = _known_groups(booster, blank)
    n_codes = len(blank.n_codes)
    # scikit-learn has categories first.
    place = np.concatenate([blank.n_numbers + np.arange(n_codes), np.arange(blank.n_numbers)])
    trees = [tree for of_round in rounds for tree in of_round]
    nodes = np.concatenate([tree.nodes for tree in trees])
    roots = np.cumsum([0, *(len(tree.nodes) for tree in trees[:-1])])
    is_split = nodes["is_leaf"] == 0
    is_category = is_split & (nodes["is_categorical"] != 0)
    feature = np.where(is_split, place[nodes["feature_idx"]], 0)
    goes_left = nodes["missing_go_to_left"] != 0
    levels = np.repeat(goes_left[is_category, None], N_GROUPS, axis=1)
    bitsets = np.concatenate([tree.raw_left_cat_bitsets for tree in trees]).astype("<u4").view(np.uint8)
    is_left = np.unpackbits(bitsets, axis=1, bitorder="little").astype(bool)
    for own, bits, category in zip(levels, is_left, feature[is_category] - blank.n_numbers, strict=True):
        groups = known[category]
        own[groups] = bits[: len(groups)]
    split = np.where(goes_left, MISSING_LEFT, MISSING_RIGHT)
    split[is_category] = np.arange(is_category.sum())
    right = np.where(is_split, nodes["right"] + np.repeat(roots, [len(tree.nodes) for tree in trees]), 0)
    return replace(
        blank,
        baseline=target.logits(booster._baseline_prediction)[0],
        roots=roots.astype(np.int32),
        outputs=np.tile(target.outputs, len(rounds)).astype(np.int32),
        right=right.astype(np.int32),
        feature=feature.astype(np.int32),
        number=np.where(is_split, np.minimum(nodes["num_threshold"], LARGEST), nodes["value"]),
        split=np.where(is_split, split, 0).astype(np.int32),
        levels=levels,
    )


def _known_groups(booster: Any, blank: Trees) -> list[IntArray]:
    """Return the groups of each category that scikit-learn knows, in its order."""
    if not blank.n_codes:
        return []
    encoder = booster._preprocessor.named_transformers_["encoder"]
    return [groups[~np.isnan(groups)].astype(np.int64) for groups in encoder.categories_]
