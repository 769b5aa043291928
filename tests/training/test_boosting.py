"""Boosted trees: scikit-learn's own logits to the bit, on the rows, weights and validation rows of the member."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import mixed_frame, table_of
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.engines.compiled.inference import Inference
from tabcohort.errors import EngineError, ModelFileError
from tabcohort.evaluation.metrics import log_probabilities
from tabcohort.network.trees import UNKNOWN_GROUP, Trees
from tabcohort.settings import Config
from tabcohort.training import boosting
from tabcohort.training.boosting import groups_of_codes, train_trees, tree_cells, trees_of_state
from tabcohort.training.loop import TrainingState
from tabcohort.types import FloatArray

TREES = Config(model="trees", max_epochs=12, max_leaf_nodes=6, min_samples_leaf=3)


def split_of(n_rows: int) -> Split:
    """Return a split of rows: most train, a few validate, the last ones test."""
    rows = np.arange(n_rows)
    return Split(rows[rows % 4 < 2], rows[rows % 4 == 2], rows[rows % 4 == 3])


def mixed_table(n_rows: int = 240, n_classes: int = 2, seed: int = 0) -> Table:
    """Return a table with a column of each type, whose target depends on numbers, categories and what is missing."""
    frame = mixed_frame(n_rows, seed)
    score = (
        frame["size"].fill_null(2.0).to_numpy()
        + 1.5 * frame["city"].eq("Oslo").fill_null(False).to_numpy()
        + frame["count"].to_numpy() / 40
        + np.random.default_rng(seed).normal(size=n_rows)
    )
    labels = np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))
    return Table.from_frame(frame.with_columns(pl.Series("y", labels.astype(str))), "y", types={"code": "integer code"})


class Grown:
    """A training, and scikit-learn's classifier that grew its trees."""

    def __init__(self, table: Table, split: Split, config: Config = TREES, **arguments: Any) -> None:
        self.table = table
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(boosting, "_booster", self._keep(boosting._booster))
            self.state = train_trees(table, split, config, **arguments)
        self.trees = trees_of_state(table, self.state)

    def _keep(self, make: Any) -> Any:
        def kept(*arguments: Any) -> Any:
            self.booster = make(*arguments)
            return self.booster

        return kept

    def logits(self) -> FloatArray:
        """Return the logits of all rows by the trees."""
        return Inference([self.trees]).logits(self.table.X)[:, 0]

    def logits_of_scikit_learn(self) -> FloatArray:
        """Return the same from scikit-learn, with as many rounds as the trees have."""
        self.booster._predictors = self.booster._predictors[: self.state.best_epoch]
        cells = tree_cells(self.table, np.arange(len(self.table.y)), self.trees)
        return self.booster.decision_function(cells).reshape(len(cells), -1)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_logits_have_the_bits_of_scikit_learn(kind: str, n_classes: int) -> None:
    table = mixed_table(n_classes=n_classes) if kind == "mixed" else table_of(240, n_classes)
    grown = Grown(table, split_of(240))
    assert grown.trees.n_parameters > 20
    assert grown.logits().tobytes() == grown.logits_of_scikit_learn().tobytes()


def test_missing_and_unknown_cells_that_no_training_row_had_are_predicted_as_by_scikit_learn() -> None:
    table = mixed_table()
    grown = Grown(table, split_of(240))
    is_missing = np.random.default_rng(0).random(table.numbers.shape) < 0.5
    codes = table.codes.copy()
    codes[::2] = np.array(table.schema.n_codes) - 1
    grown.table = replace(table, numbers=np.where(is_missing, np.nan, table.numbers), codes=codes)
    assert grown.logits().tobytes() == grown.logits_of_scikit_learn().tobytes()


def test_levels_beyond_what_scikit_learn_can_have_are_one_group() -> None:
    names = np.array([f"level {i}" for i in range(400)])
    places = np.concatenate([np.arange(400), np.random.default_rng(0).integers(0, 400, 800)])
    table = Table.from_frame({"city": names[places], "y": np.where(places % 2 == 0, "a", "b")}, "y")
    grown = Grown(table, split_of(1200))
    assert table.schema.n_codes == (402,)
    assert grown.logits().tobytes() == grown.logits_of_scikit_learn().tobytes()
    assert grown.trees.group.max() == UNKNOWN_GROUP
    assert np.ptp(grown.trees.group[254:401]) == 0


def test_groups_are_levels_and_missing_and_at_last_unknown() -> None:
    assert groups_of_codes((4, 3)).tolist() == [0, 1, 2, 255, 0, 1, 255]
    many = groups_of_codes((1000,))
    assert many[:255].tolist() == list(range(255))
    assert set(many[255:-1].tolist()) == {254}
    assert many[-1] == 255


def test_a_class_without_training_rows_is_improbable_and_the_others_are_learned() -> None:
    for n_classes, absent in ((4, 2), (3, 0)):  # three and two classes are left
        table = table_of(240, n_classes)
        split = split_of(240)
        split = replace(split, train=split.train[table.y[split.train] != absent])
        grown = Grown(table, split)
        proba = np.exp(log_probabilities(grown.logits()))
        assert proba[:, absent].max() < 0.05
        assert (proba[split.train].argmax(axis=1) == table.y[split.train]).mean() > 0.6
        assert len(set(grown.trees.outputs.tolist())) == (n_classes - 1 if n_classes > 3 else 1)


@pytest.mark.parametrize("present", [[1, 2], [0, 1, 3]])
def test_probabilities_before_the_first_tree_are_the_shares_of_the_classes(present: list[int]) -> None:
    y = np.repeat(present, [30, 10, 60][: len(present)])
    shares = np.bincount(y)[present] / len(y)
    raw = np.log(shares[1:] / shares[0]) if len(shares) == 2 else np.log(shares) - np.log(shares).mean()
    target = boosting._Target.of(y, np.ones(len(y)), 4)
    proba = np.exp(log_probabilities(target.logits(raw[None])))[0]
    np.testing.assert_allclose(proba[present], shares, rtol=0.05)
    absent = np.setdiff1d(np.arange(4), present)
    np.testing.assert_allclose(proba[absent], 0.5 / len(y), rtol=0.1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_of_a_single_class_there_is_no_tree_and_it_is_probable(n_classes: int) -> None:
    table, split = table_of(240, n_classes), split_of(240)
    split = replace(split, train=split.train[table.y[split.train] == 1])
    state = train_trees(table, split, TREES)
    trees = trees_of_state(table, state)
    proba = np.exp(log_probabilities(Inference([trees]).logits(table.X)[:, 0]))
    assert trees.n_parameters == 0
    assert proba[:, 1].min() > 0.9
    assert (state.is_finished, state.n_epochs, state.best_epoch) == (True, 1, 1)


@pytest.mark.parametrize("class_weight", [None, {0: 1.0, 1: 4.0}])
def test_the_history_is_measured_on_the_validation_rows_and_weighs_classes_as_training_does(
    class_weight: dict[int, float] | None,
) -> None:
    table, split = table_of(240), split_of(240)
    grown = Grown(table, split, replace(TREES, patience=None, class_weight=class_weight))
    assert grown.state.n_epochs == TREES.max_epochs == len(grown.booster._predictors)
    losses = [record.val_loss for record in grown.state.history]
    assert grown.state.best_epoch == 1 + int(np.argmin(losses))
    best, weight_of = grown.state.history[grown.state.best_epoch - 1], np.array([1.0, 4.0 if class_weight else 1.0])
    for loss, rows in ((best.val_loss, split.validation), (best.train_loss, split.train)):
        y, log_proba = table.y[rows], log_probabilities(grown.logits()[rows])
        expected = -np.average(log_proba[np.arange(len(y)), y], weights=weight_of[y])
        assert loss == pytest.approx(expected, rel=1e-12)
    y, y_pred = table.y[split.validation], (grown.logits()[split.validation, 0] > 0).astype(int)
    assert best.val_accuracy == pytest.approx(np.average(y_pred == y, weights=weight_of[y]))


def test_training_stops_when_its_patience_is_over_and_keeps_the_best_rounds() -> None:
    state = train_trees(table_of(240), split_of(240), replace(TREES, max_epochs=400, patience=5, shrinkage=0.5))
    assert (state.stop_reason, state.n_epochs) == ("patience", state.best_epoch + 5)
    assert len(state.best_state["roots"]) == state.best_epoch


def test_the_best_round_is_that_of_the_monitored_metric() -> None:
    config = replace(TREES, monitor="roc_auc", patience=None)
    state = train_trees(table_of(240), split_of(240), config)
    scores = [record.score for record in state.history]
    assert state.best_epoch == 1 + int(np.argmax(scores))
    assert scores[0] != state.history[0].val_loss


def test_a_callback_stops_training_and_what_was_best_so_far_is_left() -> None:
    state = train_trees(
        table_of(240), split_of(240), TREES, lambda state: "budget" if state.n_epochs == 3 else None
    )  # fmt: skip
    assert (state.stop_reason, state.n_epochs, state.is_finished) == ("budget", 3, False)
    assert 1 <= len(state.best_state["roots"]) <= 3


def test_weights_are_those_of_repeated_rows() -> None:
    """To within rounding, as sums have another order; with few leaves, so that no two splits are equally good."""
    config = replace(TREES, min_samples_leaf=1, max_leaf_nodes=3, max_epochs=3, patience=None)
    table, split = table_of(120), split_of(120)
    times = 1 + (np.arange(120) % 3 == 0) * split_times(split, 120)
    weighted = Grown(replace(table, weight=times.astype(float)), split, config)
    repeated = np.repeat(split.train, times[split.train])
    rows = np.concatenate([repeated, split.validation])
    copies = replace(
        table, numbers=table.numbers[rows], codes=table.codes[rows], y=table.y[rows], weight=np.ones(len(rows))
    )
    parts = Split(np.arange(len(repeated)), np.arange(len(repeated), len(rows)), np.empty(0, np.int64))
    trees = trees_of_state(copies, train_trees(copies, parts, config))
    np.testing.assert_allclose(Inference([trees]).logits(table.X)[:, 0], weighted.logits(), rtol=1e-5, atol=1e-6)


def test_class_weights_are_used() -> None:
    config = replace(TREES, min_samples_leaf=1, max_leaf_nodes=3, max_epochs=3, patience=None)
    table, split = table_of(120), split_of(120)
    balanced = Grown(table, split, replace(config, class_weight="balanced"))
    by_hand = class_weight_of(table, split)
    given = Grown(table, split, replace(config, class_weight=by_hand))
    np.testing.assert_allclose(balanced.logits(), given.logits(), rtol=1e-9)
    assert not np.allclose(balanced.logits(), Grown(table, split, config).logits())


def split_times(split: Split, n_rows: int) -> Any:
    """Return 1 for the rows that train."""
    return np.bincount(split.train, minlength=n_rows)


def class_weight_of(table: Table, split: Split) -> dict[Any, float]:
    counts = np.bincount(table.y[split.train])
    return {label: counts.sum() / (2 * count) for label, count in zip(table.schema.classes, counts, strict=True)}


def test_only_training_rows_are_learned_from() -> None:
    table, split = mixed_table(), split_of(240)
    state = train_trees(table, split, TREES)
    y = table.y.copy()
    y[split.test] = 1 - y[split.test]
    numbers = table.numbers.copy()
    numbers[split.test] = numbers[split.test[::-1]]
    other = train_trees(replace(table, numbers=numbers, y=y), split, TREES)
    assert all(state.best_state[name].tobytes() == array.tobytes() for name, array in other.best_state.items())


def test_no_bit_depends_on_the_number_of_threads_and_each_member_has_its_own_stream() -> None:
    table, split = table_of(4_000), split_of(4_000)
    config = replace(TREES, max_features=0.5)
    states = []
    for n_threads in (1, 4):
        with threadpool_limits(n_threads, "openmp"):
            states.append(train_trees(table, split, config))
    assert all(states[0].best_state[name].tobytes() == array.tobytes() for name, array in states[1].best_state.items())
    other = train_trees(table, split, config, member=1)
    assert states[0].best_state["feature"].tobytes() != other.best_state["feature"].tobytes()


def test_another_form_of_scikit_learns_trees_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = boosting._booster

    class Other(HistGradientBoostingClassifier):
        """A version that keeps its trees elsewhere."""

        def fit(self, *arguments: Any, **keywords: Any) -> Any:
            super().fit(*arguments, **keywords)
            self._trees = self.__dict__.pop("_predictors")
            return self

    for name, other in (
        ("_booster", lambda *arguments: Other(**made(*arguments).get_params())),
        ("_Rounds.note", lambda self, raw, val_raw: None),  # it does not call after each round
        ("_known_groups", lambda booster, blank: booster.no_such_attribute),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"tabcohort.training.boosting.{name}", other)
            with pytest.raises(EngineError, match=r"scikit-learn .* keeps boosted trees in a form that is not known"):
                train_trees(table_of(), split_of(120), TREES)


def test_a_training_with_impossible_trees_is_refused() -> None:
    table = table_of()
    state = train_trees(table, split_of(120), TREES)
    state.best_state["right"] = state.best_state["right"] + 1_000
    with pytest.raises(ModelFileError, match="the checkpoint of boosted trees is not valid: a node's"):
        trees_of_state(table, state)
    with pytest.raises(ModelFileError, match="not those of boosted trees"):
        trees_of_state(table, TrainingState())


def test_statistics_are_of_the_training_rows() -> None:
    table, split = table_of(240), split_of(240)
    trees: Trees = trees_of_state(table, train_trees(table, split, TREES))
    np.testing.assert_allclose(trees.statistics().center, table.numbers[split.train].mean(axis=0))
    np.testing.assert_allclose(1 / trees.statistics().scale, table.numbers[split.train].std(axis=0))
