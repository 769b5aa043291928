"""The largest weights of the lessons' logistic regression, and what the correlation of its columns does to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn as nn
from numpy.typing import NDArray

from tabcohort.data.table import Table
from tabcohort.reproduce.claims import FAILS, HOLDS, Claim, Measured, value_claim
from tabcohort.reproduce.findings import Mistake, Row, Sheet, Spread, spread
from tabcohort.reproduce.pictures import Bar, Bars
from tabcohort.types import FloatArray

CLAIMED_WEIGHTS = {"mean radius": 0.85, "mean perimeter": 0.79, "worst texture": 0.72}
RADIUS, PERIMETER = "mean radius", "mean perimeter"
WHERE = "lesson 1B, feature importance analysis"


def weights_of(module: nn.Module) -> FloatArray:
    """Return the weights of a logistic regression, which are of standardized columns, `(n_features,)`."""
    (weights,) = (parameter for name, parameter in module.named_parameters() if name.endswith("linear.weight"))
    values: FloatArray = weights.detach().double().numpy()[0].copy()
    return values


@dataclass(frozen=True)
class Weights:
    """The weights of trainings with different seeds.

    Args:
        names: of the columns.
        correlations: of the columns, `(n_features, n_features)`.
        initial, final: before training and of the best epoch, `(n_seeds, n_features)`.
        perimeter_alone: weight of mean perimeter in trainings without mean radius, `(n_seeds,)`.
    """

    names: Sequence[str]
    correlations: FloatArray
    initial: FloatArray
    final: FloatArray
    perimeter_alone: FloatArray

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The place of each absolute weight in its training, 1 for the largest, `(n_seeds, n_features)`."""
        ranks: NDArray[np.int64] = np.argsort(np.argsort(-np.abs(self.final), axis=1), axis=1) + 1
        return ranks

    @property
    def largest(self) -> list[str]:
        """The three columns with the largest mean absolute weight."""
        return [self.names[place] for place in np.argsort(-np.abs(self.final).mean(axis=0))[:3]]

    @property
    def shown(self) -> list[str]:
        """The columns of the document, and those with the largest weights."""
        return list(dict.fromkeys([*CLAIMED_WEIGHTS, *self.largest]))

    def of(self, name: str) -> Spread:
        """Return the spread of a column's absolute weight."""
        return spread(np.abs(self.final[:, self.names.index(name)]))

    def neighbour(self, name: str) -> tuple[str, float]:
        """Return the column that is most correlated with another one, and the correlation."""
        own = np.abs(self.correlations[self.names.index(name)])
        place = int(np.argsort(-own)[1])  # the first is the column itself
        return self.names[place], float(self.correlations[self.names.index(name), place])


def measure_weights(table: Table, pairs: Sequence[tuple[nn.Module, nn.Module]], alone: Sequence[nn.Module]) -> Weights:
    """Return the weights of trainings.

    Args:
        table: what they were trained on.
        pairs: the untrained and the trained module of each seed.
        alone: modules that were trained without mean radius.
    """
    names = list(table.schema.features)
    place = names.index(PERIMETER) - 1  # mean radius, the column before, is left out
    initial, final = (np.array([weights_of(pair[end]) for pair in pairs]) for end in (0, 1))
    single = np.array([weights_of(module)[place] for module in alone])
    return Weights(names, np.asarray(np.corrcoef(table.X.T)), initial, final, single)


def without_radius(table: Table) -> Table:
    """Return a table without mean radius, its first column."""
    return Table.from_arrays(table.X[:, 1:], table.y)


def weight_sheet(weights: Weights) -> Sheet:
    """Return the absolute weights with their places, and the column that each is most correlated with."""
    rows = []
    for name in weights.shown:
        rank = spread(weights.ranks[:, weights.names.index(name)])
        neighbour, correlation = weights.neighbour(name)
        most = f"{neighbour} ({correlation:.3f})"
        claimed = CLAIMED_WEIGHTS.get(name)
        rows.append(Row(name, (claimed, weights.of(name), f"{rank.show('.1f')}", most), ".2f"))
    columns = ("document", "measured", "place among 30", "most correlated with")
    return Sheet("absolute weights of standardized columns, same protocol", columns, tuple(rows))


def weight_claims(weights: Weights) -> list[Claim]:
    """Return whether these are the largest weights, and whether they have these values."""
    in_first = spread((np.sort(weights.ranks[:, places_of(weights)], axis=1) == [1, 2, 3]).all(axis=1))
    largest = weights.largest
    is_same = set(largest) == set(CLAIMED_WEIGHTS)
    claim = Claim(
        "Mean radius, mean perimeter and worst texture have the largest weights",
        WHERE,
        "",
        (Measured("runs in which they have", in_first, ".0%"),),
        HOLDS if is_same else FAILS,
        f"the largest mean weights are of {', '.join(largest)}",
    )
    return [claim] + [
        value_claim(f"Weight of {name}", WHERE, value, Measured("absolute weight", weights.of(name), ".2f"))
        for name, value in CLAIMED_WEIGHTS.items()
    ]


def places_of(weights: Weights) -> list[int]:
    """Return the places of the document's three columns."""
    return [weights.names.index(name) for name in CLAIMED_WEIGHTS]


def weight_picture(weights: Weights) -> Bars:
    """Return the absolute weights as bars, with the document's marked."""
    bars = tuple(Bar(name, weights.of(name), CLAIMED_WEIGHTS.get(name)) for name in weights.shown)
    return Bars("Absolute weights of standardized columns", bars, ".2f")


def weights_as_importances(weights: Weights) -> Mistake:
    """Return what the correlation of two columns does to their weights."""
    radius, perimeter = (weights.names.index(name) for name in (RADIUS, PERIMETER))
    before = weights.initial[:, radius] - weights.initial[:, perimeter]
    after = weights.final[:, radius] - weights.final[:, perimeter]
    both = weights.final[:, radius] + weights.final[:, perimeter]
    figures = {
        "correlation": float(weights.correlations[radius, perimeter]),
        "radius_deviation": float(weights.final[:, radius].std(ddof=1)) if len(after) > 1 else float("nan"),
        "difference_before_and_after": float(np.corrcoef(before, after)[0, 1]) if len(after) > 1 else float("nan"),
        "sum": float(both.mean()),
        "perimeter": float(weights.final[:, perimeter].mean()),
        "perimeter_alone": float(weights.perimeter_alone.mean()),
    }
    effect = (
        f"{RADIUS} and {PERIMETER} have a correlation of {{correlation:.3f}}, so that the rows determine hardly more "
        "than the sum of their weights, {sum:.2f}. Their difference after training correlates with that of the random "
        "initial weights by {difference_before_and_after:.3f} over the seeds, and the weight of one has a standard "
        f"deviation of {{radius_deviation:.2f}}. Without {RADIUS}, {PERIMETER} has {{perimeter_alone:.2f}} instead of "
        "{perimeter:.2f}"
    ).format(**figures)
    return Mistake("takes single weights for the importance of columns", effect, figures)
