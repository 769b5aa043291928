"""Explanations of single predictions: how much each column's cell moves the score of a class, adding up to the score.

For two classes the score is the log odds of the positive class. For more classes there is a score per class, its log
probability minus the mean of all log probabilities; their softmax is the probabilities.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tabcohort.data.columns import Column
from tabcohort.errors import TableError, listed, nearest
from tabcohort.evaluation.metrics import log_probabilities
from tabcohort.types import FloatArray, Label

DIGITS = 6  # significant digits of a cell


class ClassScores(NamedTuple):
    """An explanation of the score of one class.

    Args:
        contributions, errors: of each column, `(n_columns,)`.
        base, output: the score of the background on average, and that of the row.
        base_probability, output_probability: the probabilities of the class that go with these scores.
    """

    contributions: FloatArray
    errors: FloatArray
    base: float
    output: float
    base_probability: float
    output_probability: float


@dataclass(frozen=True)
class Explanation:
    """What each column contributes to one prediction; see `Predictor.explain`.

    `base + contributions.sum(axis=0)` is `output`.

    Args:
        names: of the columns; of columns that move together, joined by " + ".
        values: the cell of each, None where it is missing; of columns that move together a tuple of cells.
        contributions: `(n_columns, n_scores)`, one score for two classes and else one per class.
        errors: standard errors of the contributions, given the background rows; 0 where they are exact.
        base: the mean scores of the background rows, `(n_scores,)`.
        output: the scores of the row, `(n_scores,)`: of two classes the log odds of the positive one, of more each log
            probability minus their mean.
        classes: labels of the model.
        positive: code of the positive class of two; None where there are more.
        n_background: background rows.
        n_rounds: permutations of each background row, each with its reverse; 0 where the values are exact.
        is_converged: whether the errors are within the tolerance that was asked for.
    """

    names: tuple[str, ...]
    values: tuple[Any, ...]
    contributions: FloatArray
    errors: FloatArray
    base: FloatArray
    output: FloatArray
    classes: tuple[Label, ...]
    positive: int | None
    n_background: int
    n_rounds: int
    is_converged: bool

    def of_class(self, label: Label) -> ClassScores:
        """Return the explanation of the score of one class; of two classes, each has the other's with the other sign.

        Raises:
            TableError: the model has no such class.
        """
        code = code_of(label, self.classes)
        place, sign = (0, 1 if code == self.positive else -1) if len(self.output) == 1 else (code, 1)
        base, output = (sign * own for own in (self.base, self.output))
        return ClassScores(
            sign * self.contributions[:, place] + 0.0,  # no negative zeros
            self.errors[:, place],
            float(base[place]),
            float(output[place]),
            *(float(np.exp(_log_proba(own)[place])) for own in (base, output)),
        )


def code_of(label: Label, classes: Sequence[Label]) -> int:
    """Return the code of a class from its label, or its text.

    Raises:
        TableError: there is no such class.
    """
    labels = list(map(str, classes))
    if str(label) not in labels:
        raise TableError(
            f"there is no class {str(label)!r}{nearest(str(label), labels)}; the classes are {listed(labels, 20)}"
        )
    return labels.index(str(label))


def _log_proba(scores: FloatArray) -> FloatArray:
    """Return log probabilities of scores; of one score, that of its class."""
    own = log_probabilities(scores[None])[0]
    return own[1:] if len(scores) == 1 else own


def reasons(explanation: Explanation, label: Label, n: int) -> str:
    """Return the columns with the largest contributions to the score of a class as text.

    Args:
        explanation: of a row.
        label: of the class.
        n: how many columns; those without a contribution are left out.
    """
    contributions = explanation.of_class(label).contributions
    order = [i for i in np.argsort(-np.abs(contributions), kind="stable")[:n] if contributions[i]]
    return "; ".join(
        f"{explanation.names[i]} = {cell_text(explanation.values[i])} ({contributions[i]:+.2f})" for i in order
    )


def cell_text(value: Any) -> str:
    """Return a cell as text: numbers with six significant digits; of several cells, one after another."""
    if isinstance(value, tuple):
        return ", ".join(map(cell_text, value))
    if value is None or (isinstance(value, str) and not value.strip()):
        return "missing"
    return f"{value:.{DIGITS}g}" if isinstance(value, float | np.floating) else str(value)


def score_name(n_classes: int) -> str:
    """Return what is explained of a class, in words."""
    return "log odds" if n_classes == 2 else "log probability minus the mean over classes"


def explanation_facts(explanation: Explanation, label: Label) -> dict[str, Any]:
    """Return an explanation of the score of a class as plain JSON values, the largest contribution first."""
    scores = explanation.of_class(label)
    order = np.argsort(-np.abs(scores.contributions), kind="stable").tolist()
    return {
        "class": label,
        "score": score_name(len(explanation.classes)),
        "base": {"score": scores.base, "probability": scores.base_probability},
        "output": {"score": scores.output, "probability": scores.output_probability},
        "columns": [
            {
                "name": explanation.names[i],
                "value": _plain(explanation.values[i]),
                "contribution": float(scores.contributions[i]),
                "error": float(scores.errors[i]),
            }
            for i in order
        ],
        "n_background": explanation.n_background,
        "n_rounds": explanation.n_rounds,
        "is_converged": explanation.is_converged,
    }


def _plain(value: Any) -> Any:
    """Return a cell as a JSON value: a finite number, a truth value, null where it is missing, or text."""
    if isinstance(value, tuple):
        return [_plain(own) for own in value]
    value = value.item() if isinstance(value, np.generic) else value
    is_number = isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return value if value is None or is_number else str(value)


# -- players ---------------------------------------------------------------------------------------------------------


def players_of(columns: Sequence[Column], together: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return the places of the columns of each player, in the order of the first: one, or those that move together.

    Args:
        columns: of the schema.
        together: names of columns, a sequence for each player of several.

    Raises:
        TableError: there is no such column, or it is named twice.
    """
    place = {column.name: number for number, column in enumerate(columns)}
    for name in itertools.chain.from_iterable(together):
        if name not in place:
            raise TableError(
                f"the model has no column {name!r}{nearest(name, place)}; its columns are {listed(place, 20)}"
            )
    named = list(itertools.chain.from_iterable(together))
    twice = [name for name in dict.fromkeys(named) if named.count(name) > 1]
    if twice:
        raise TableError(f"the column {twice[0]!r} is named twice among the columns that move together; name it once")
    alone = [[number] for name, number in place.items() if name not in named]
    return sorted([*alone, *(sorted(place[name] for name in group) for group in together if group)])
