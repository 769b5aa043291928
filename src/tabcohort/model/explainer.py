"""What a model's scores are made of: the coalitions of its columns, whose Shapley values explain a row.

Scores are those of the model as it predicts: members are averaged as probabilities and calibrated. So the scores of an
ensemble, even of linear members, are not sums over columns, and contributions are Shapley values (see
`tabcohort.model.shapley`). Of a single linear member they are sums: a contribution is then what the column adds in the
row minus what it adds in the background on average, coefficient times difference for a number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tabcohort.data.inputs import input_places
from tabcohort.data.table import Schema
from tabcohort.engines.compiled.inference import Inference
from tabcohort.evaluation.calibration import NONE, Calibrator
from tabcohort.evaluation.metrics import safe_log
from tabcohort.model.explain import Explanation
from tabcohort.model.shapley import ExplanationBudget, Game, shapley_values
from tabcohort.network.program import Network
from tabcohort.network.trees import Trees
from tabcohort.types import BoolArray, FloatArray, IntArray

MAX_NUMBERS_AT_ONCE = 2**20  # of inputs or of logits
MAX_SUMS_AT_ONCE = 2**16  # of logits that are sums: they stay in the cache
MAX_EXPONENT = 709.0  # beyond it, exp overflows
MAX_LINEAR_LOGIT = 600.0  # beyond it, logarithms of probabilities are cut off


@dataclass(frozen=True)
class ExplanationProgress:
    """How far an explanation is.

    Args:
        n_done: rows that are explained.
        n_rows: all rows to explain.
        n_rounds: rounds so far of the row that is being explained.
        max_rounds: most rounds of that row.
    """

    n_done: int
    n_rows: int
    n_rounds: int
    max_rounds: int


@dataclass(frozen=True)
class Ensemble:
    """Models whose calibrated mean predicts.

    Args:
        models: networks and trees.
        inference: of these.
        weights: of each, `(n_models,)`.
        calibrator: corrects the mean of their probabilities.
        positive: code of the positive class of two; None where there are more.
    """

    models: tuple[Network | Trees, ...]
    inference: Inference
    weights: FloatArray
    calibrator: Calibrator
    positive: int | None

    @functools.cached_property
    def is_additive(self) -> bool:
        """Whether the logits of every member are sums over columns."""
        return all(isinstance(model, Network) and _is_additive(model) for model in self.models)

    def scores(self, logits: FloatArray) -> FloatArray:
        """Return the scores of logits `(..., n_models, n_outputs)`, `(..., n_scores)`."""
        if logits.shape[-1] == 1:
            log_odds = self._mean_log_odds(logits[..., 0])[..., None]
            return log_odds if self.positive == 1 else -log_odds
        own = np.exp(logits - logits.max(axis=-1, keepdims=True))
        mean = safe_log(np.einsum("...mk,m->...k", own / own.sum(axis=-1, keepdims=True), self.weights))
        mean = self._corrected(mean)
        return np.asarray(mean - mean.mean(axis=-1, keepdims=True))

    def member_scores(self, logits: FloatArray) -> FloatArray:
        """Return the scores that each member has alone, calibrated as the mean is, `(..., n_models, n_scores)`."""
        alone = replace(self, weights=np.ones(1))
        return np.stack([alone.scores(logits[..., [place], :]) for place in range(logits.shape[-2])], axis=-2)

    def _mean_log_odds(self, logits: FloatArray) -> FloatArray:
        """Return the log odds of the second of two classes from the logits of members, the last axis."""
        odds = np.exp(-np.clip(logits, -MAX_EXPONENT, MAX_EXPONENT))  # of the first class
        second = 1 / (1 + odds)
        odds *= second  # the probability of the first class, also where that of the second rounds to 1
        second, first = second @ self.weights, odds @ self.weights
        log_odds = np.log(np.maximum(second, _TINY)) - np.log(np.maximum(first, _TINY))
        shift = self._corrected(np.zeros(2))
        return np.asarray((self.calibrator.scale if self._is_calibrated else 1.0) * log_odds + shift[1] - shift[0])

    @property
    def _is_calibrated(self) -> bool:
        return self.calibrator.method != NONE

    def _corrected(self, log_proba: FloatArray) -> FloatArray:
        """Return log probabilities after calibration, but for a constant that they have in common."""
        return self.calibrator.scale * log_proba + self.calibrator.shift if self._is_calibrated else log_proba


_TINY = np.finfo(np.float64).tiny


def _is_additive(network: Network) -> bool:
    """Return whether a network's logits are sums over columns: it is linear after what prepares each column."""
    computed = network.program.operations[:-1]  # the last is the loss
    return computed[-1].kind == "linear" and all(operation.spec.acts_on_columns for operation in computed[:-1])


class Explainer:
    """Explains rows beside the same background rows.

    Args:
        ensemble: whose scores are explained.
        schema: of the model.
        background: inputs of background rows, `(n_background, n_inputs)`.
        players: the places of the columns of each player; see `players_of`.
        budget: how much is computed for each row.
        seed: of the permutations.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        schema: Schema,
        background: FloatArray,
        players: Sequence[Sequence[int]],
        budget: ExplanationBudget,
        seed: int,
    ) -> None:
        self.ensemble, self.schema, self.budget, self.seed = ensemble, schema, budget, seed
        self.players, columns = players, schema.columns
        self.names = tuple(" + ".join(columns[i].name for i in player) for player in players)
        self._player_of_input = np.empty(background.shape[1], dtype=np.int64)
        player_of_column = {i: number for number, player in enumerate(players) for i in player}
        for i, places in enumerate(input_places(columns)):
            self._player_of_input[places.inputs] = player_of_column[i]
        self.background = np.ascontiguousarray(background)
        logits = ensemble.inference.logits(self.background)
        self.base = ensemble.scores(logits)
        self._sums = None
        if ensemble.is_additive:
            self._sums = _PlayerSums(ensemble, self.background[:1], self._player_of_input, len(players))
            self._background_sums = self._sums.of(self.background)
            self._background_logits = logits

    def explain_rows(
        self,
        X: FloatArray,
        cells: Sequence[Sequence[Any]],
        callback: Callable[[ExplanationProgress], None] | None = None,
    ) -> list[Explanation]:
        """Explain rows.

        Args:
            X: their inputs, `(n_rows, n_inputs)`.
            cells: of each column, one for each row.
            callback: called after each round of permutations, and after each row.
        """
        explanations = []
        for row in range(len(X)):
            report = None if callback is None else functools.partial(self._report, callback, row, len(X))
            values = [None if column[row] != column[row] else column[row] for column in cells]
            explanations.append(self._explain(X[row : row + 1], values, report))
        return explanations

    def _report(self, callback: Callable[[ExplanationProgress], None], row: int, n_rows: int, n_rounds: int) -> None:
        callback(ExplanationProgress(row, n_rows, n_rounds, self.budget.max_rounds))

    def _explain(self, x: FloatArray, values: Sequence[Any], report: Callable[[int], None] | None) -> Explanation:
        output = self.ensemble.scores(self.ensemble.inference.logits(x))[0]
        found = shapley_values(self._game(x, output), self.budget, self.seed, report)
        return Explanation(
            names=self.names,
            values=tuple(values[p[0]] if len(p) == 1 else tuple(values[i] for i in p) for p in self.players),
            contributions=found.values,
            errors=found.errors,
            base=self.base.mean(axis=0),
            output=output,
            classes=self.schema.classes,
            positive=self.ensemble.positive,
            n_background=len(self.background),
            n_rounds=found.n_rounds,
            is_converged=found.is_converged,
        )

    def _game(self, x: FloatArray, output: FloatArray) -> Game:
        is_equal = (x == self.background) | (np.isnan(x) & np.isnan(self.background))
        differs = np.zeros((len(self.background), len(self.players)), dtype=bool)
        for player in range(len(self.players)):
            differs[:, player] = ~is_equal[:, self._player_of_input == player].all(axis=1)
        if self._sums is None:
            return _InputsGame(self.base, output, differs, self.ensemble, x, self.background, self._player_of_input)
        adds = self._sums.of(x) - self._background_sums
        moved = self.ensemble.inference.logits(x) - self._background_logits
        size = np.abs(adds)  # by which what rounding to 32 bits leaves is shared out
        adds += (moved - adds.sum(axis=1))[:, None] * size / np.maximum(size.sum(axis=1), _TINY)[:, None]
        return _AdditiveGame(self.base, output, differs, self.ensemble, self._background_logits, adds)


# -- games -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _InputsGame:
    """A game whose scores are those of rows that are made of the explained row and a background row."""

    base: FloatArray
    output: FloatArray
    differs: BoolArray
    ensemble: Ensemble
    x: FloatArray
    background: FloatArray
    player_of_input: IntArray

    def exact(self) -> FloatArray | None:
        """There is no closed form."""
        return None

    def scores(self, coalitions: BoolArray) -> FloatArray:
        """Return the scores of coalitions; equal rows are evaluated once."""
        n_background, n, n_players = coalitions.shape
        row = np.repeat(np.arange(n_background), n)
        flat, back = coalitions.reshape(-1, n_players), None
        if not self.differs.all():
            flat = flat & self.differs[row]
            keys = np.column_stack([row.astype(np.int32).view(np.uint8).reshape(-1, 4), np.packbits(flat, axis=1)])
            keys = np.ascontiguousarray(keys)
            _, first, back = np.unique(
                keys.view(np.dtype((np.void, keys.shape[1])))[:, 0], return_index=True, return_inverse=True
            )
            row, flat = row[first], flat[first]
        scores = np.empty((len(row), len(self.output)))
        n_logits = self.ensemble.inference.n_models * self.ensemble.inference.n_outputs
        n_at_once = max(1, MAX_NUMBERS_AT_ONCE // max(n_logits, self.x.shape[1]))
        for start in range(0, len(row), n_at_once):
            part = slice(start, start + n_at_once)
            X = np.where(flat[part][:, self.player_of_input], self.x, self.background[row[part]])
            scores[part] = self.ensemble.scores(self.ensemble.inference.logits(X))
        return (scores if back is None else scores[back]).reshape(n_background, n, -1)


@dataclass(frozen=True)
class _AdditiveGame:
    """A game of members whose logits are sums over columns.

    Args:
        logits: of the background rows, `(n_background, n_models, n_outputs)`.
        adds: what each player adds to them, `(n_background, n_players, n_models, n_outputs)`.
    """

    base: FloatArray
    output: FloatArray
    differs: BoolArray
    ensemble: Ensemble
    logits: FloatArray
    adds: FloatArray

    def exact(self) -> FloatArray | None:
        """Return what each player adds on average, if there is one member: its scores are linear in its logits."""
        largest = np.abs(self.logits).max() + np.abs(self.adds).sum(axis=1).max()
        if self.logits.shape[1] > 1 or largest > MAX_LINEAR_LOGIT:
            return None
        return self.ensemble.scores(self.adds.mean(axis=0)) - self.ensemble.scores(np.zeros_like(self.logits[0]))

    def scores(self, coalitions: BoolArray) -> FloatArray:
        """Return the scores of coalitions."""
        n_background, n, n_players = coalitions.shape
        adds = self.adds.reshape(n_background, n_players, -1)
        scores = np.empty((n_background, n, len(self.output)))
        n_at_once = max(1, MAX_SUMS_AT_ONCE // (n_background * adds.shape[2]))
        for start in range(0, n, n_at_once):
            part = slice(start, start + n_at_once)
            logits = coalitions[:, part].astype(np.float64) @ adds
            logits = logits.reshape(*logits.shape[:2], *self.logits.shape[1:]) + self.logits[:, None]
            scores[:, part] = self.ensemble.scores(logits)
        return scores


class _PlayerSums:
    """What each player's cells add to the logits of additive members, beside those of a reference row."""

    def __init__(self, ensemble: Ensemble, reference: FloatArray, player_of_input: IntArray, n_players: int) -> None:
        self._inference, self._reference = ensemble.inference, reference
        self._is_own = player_of_input == np.arange(n_players)[:, None]
        self._logits = self._inference.logits(reference)

    def of(self, X: FloatArray) -> FloatArray:
        """Return the sums of rows, `(n_rows, n_players, n_models, n_outputs)`."""
        n_at_once = max(1, MAX_NUMBERS_AT_ONCE // self._is_own.size)
        sums = []
        for start in range(0, len(X), n_at_once):
            rows = np.where(self._is_own, X[start : start + n_at_once, None], self._reference[None])
            logits = self._inference.logits(rows.reshape(-1, X.shape[1])) - self._logits
            sums.append(logits.reshape(len(rows), -1, *logits.shape[1:]))
        return np.concatenate(sums)
