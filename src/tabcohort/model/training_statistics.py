"""What a model file keeps of the columns of its training rows: enough for some tests of new rows, not for all.

Networks hold the mean and deviation of each number, the share of missing cells, and what encodes the levels; those with
bins also hold quantiles. Trees hold mean and deviation only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tabcohort.data.columns import Column
from tabcohort.data.encoder import CategoryEncoding
from tabcohort.data.inputs import input_places
from tabcohort.model.predictor import Predictor
from tabcohort.network.program import Network
from tabcohort.network.trees import Trees
from tabcohort.types import FloatArray

MIN_FOLDS = 3  # from which on the members of one repeat have every row among their training rows equally often


@dataclass(frozen=True)
class ColumnStatistics:
    """What is known of a column in the training rows; NaN and None for what is not.

    Args:
        n_rows: number of independent rows that this is of.
        mean, deviation: of its number.
        missing_share: of its cells.
        counts: rows of each code, `(n_codes,)`: levels, missing, unknown.
        edges: quantiles of its number that divide it into equal parts, without the ends, ascending, `(n_edges,)`.
        n_edge_rows: number of independent rows that the quantiles are of.
    """

    n_rows: float
    mean: float = math.nan
    deviation: float = math.nan
    missing_share: float = math.nan
    counts: FloatArray | None = None
    edges: FloatArray | None = None
    n_edge_rows: float = math.nan


def training_statistics(predictor: Predictor) -> dict[str, ColumnStatistics] | None:
    """Return what a model keeps of each column, by name; None where its training rows had different weights.

    The members of the config of the greatest weight, if possible one of networks, are taken together: over all folds
    each row trains equally often, so their mean is that of all rows.
    """
    if np.ptp(predictor.out_of_fold.weight) > 0:
        return None
    report = predictor.report
    own = list(zip((report.members[number] for number in predictor.members), predictor.models, strict=True))
    weights = {member.config: report.configs[member.config].weight for member, _ in own}
    has_networks = {member.config: isinstance(model, Network) for member, model in own}
    config = max(weights, key=lambda number: (has_networks[number], weights[number], -number))
    repeat = min(member.repeat for member, _ in own if member.config == config)
    chosen = [(member, model) for member, model in own if (member.config, member.repeat) == (config, repeat)]
    n_train = float(np.mean([member.n_train for member, _ in chosen]))
    is_complete = len(chosen) == report.n_folds >= MIN_FOLDS
    independent = report.evaluation.n_groups / report.evaluation.n_rows
    models = [model for _, model in chosen]
    n_rows = (report.n_rows if is_complete else n_train) * independent
    statistics = _numbers_and_codes(predictor, models, n_rows)
    for member, model in own:
        if isinstance(model, Network) and model.program.n_bins and not model.program.scales_numbers:
            return _with_edges(predictor, model, member.n_train * independent, statistics)
    return statistics


def _numbers_and_codes(
    predictor: Predictor, models: list[Network | Trees], n_rows: float
) -> dict[str, ColumnStatistics]:
    """Return the statistics of the columns but for their quantiles, the mean of what the models hold."""
    n_numbers = predictor.schema.n_numbers
    held = [model.statistics() for model in models]
    centers = np.array([own.center[:n_numbers] for own in held if own is not None])
    scales = np.array([own.scale[:n_numbers] for own in held if own is not None])
    variances = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0) ** 2
    mean, deviation = centers.mean(axis=0), np.sqrt(variances.mean(axis=0) + centers.var(axis=0))
    codes = [_code_shares(model, n_numbers) for model in models if isinstance(model, Network)]
    missing = [_missing_shares(model, n_numbers) for model in models if isinstance(model, Network)]
    statistics, place = {}, 0
    for column, numbers, code in input_places(predictor.schema.columns):
        counts = None
        if code is not None and codes:
            counts = n_rows * np.mean([shares[place] for shares in codes], axis=0)
        place += code is not None
        has_number = column.n_numbers > 0
        statistics[column.name] = ColumnStatistics(
            n_rows,
            mean=float(mean[numbers.start]) if has_number else math.nan,
            deviation=float(deviation[numbers.start]) if has_number else math.nan,
            missing_share=_missing_share(column, numbers.start, missing, counts),
            counts=counts,
        )
    return statistics


def _missing_share(column: Column, number: int, missing: list[dict[int, float]], counts: FloatArray | None) -> float:
    """Return the share of missing cells of a column; NaN where it is not known."""
    if not column.has_missing:
        return 0.0
    if column.n_numbers and missing:
        return float(np.mean([shares[number] for shares in missing]))
    if counts is not None:
        return float(counts[-2] / counts.sum())
    return math.nan


def _missing_shares(network: Network, n_numbers: int) -> dict[int, float]:
    """Return the share of missing cells of each number that has any: the center of its indicator."""
    statistics = network.statistics()
    assert statistics is not None  # networks of configs have `standardize`
    return {
        network.encoding.numbers[place]: float(statistics.center[n_numbers + indicator])
        for indicator, place in enumerate(network.encoding.missing)
    }


def _code_shares(network: Network, n_numbers: int) -> list[FloatArray]:
    """Return the share of the training rows that has each code, `(n_codes,)`, of each category."""
    statistics, encoding = network.statistics(), network.encoding
    assert statistics is not None
    start, lookups = n_numbers + len(encoding.missing), encoding.lookup_starts
    shares = []
    for place, category in enumerate(encoding.categories):
        lookup = statistics.lookup[lookups[place] : lookups[place + 1]].reshape(category.shape)
        shares.append(_shares_of(category, lookup, statistics.center[start : start + category.width]))
        start += category.width
    return shares


def _shares_of(category: CategoryEncoding, lookup: FloatArray, center: FloatArray) -> FloatArray:
    """Return the share of each code: the centers of one-hot columns, or the counts that lookups hold."""
    shares = np.zeros(category.n_codes)
    if not category.one_hot:
        shares = np.expm1(lookup[:, -1])
        return shares / max(shares.sum(), 1.0)
    if category.width == 1:  # of two levels one column says all
        shares[:2] = 1 - center[0], center[0]
    else:
        shares[: category.width] = center
    return shares


def _with_edges(
    predictor: Predictor, network: Network, n_rows: float, statistics: dict[str, ColumnStatistics]
) -> dict[str, ColumnStatistics]:
    """Return the statistics with the quantiles between which a network's bins lie, where no two of them are equal."""
    held = network.statistics()
    assert held is not None
    n_full = int(np.bincount(held.column.astype(np.int64)).max())
    result = dict(statistics)
    for column, numbers, _ in input_places(predictor.schema.columns):
        own = held.column == numbers.start
        if not column.n_numbers or own.sum() < n_full or not (held.inverse[own] > 0).all():
            continue  # fewer bins lie between distinct values, whose shares are not known
        known = statistics[column.name]
        edges = held.center[numbers.start] + held.lower[own][1:] / held.scale[numbers.start]
        present = 0.0 if math.isnan(known.missing_share) else known.missing_share
        result[column.name] = ColumnStatistics(
            known.n_rows, known.mean, known.deviation, known.missing_share, known.counts, edges, n_rows * (1 - present)
        )
    return result
