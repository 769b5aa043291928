"""The leak audit: what in a table may make a model look better than it is, or mislead it, detected before training.

Each check is a function of the audited rows; `CHECKS` lists them. None changes anything: a finding says what was
detected, and which option or edit handles it.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data import parse
from tabcohort.data.columns import Boolean, Category, Column, Date, Dropped, Number
from tabcohort.data.frames import ColumnChoices, target_labels
from tabcohort.data.labels import MAX_EXAMPLES, Finding, label_findings, spelling_findings
from tabcohort.data.one_column import accuracy, out_of_fold_shares, roc_auc, shares_of_numbers
from tabcohort.data.parquet_files import ReadingCallback, ReadingProgress, ignore
from tabcohort.data.recognize import NAMES_OF_IDS
from tabcohort.errors import listed
from tabcohort.types import FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

MAX_ROWS = 10_000  # that one-column models are fitted on
MIN_ROWS = 20  # of a table that is audited
MAX_CLASSES = 50  # told apart; the rows of rarer ones are left out
MIN_AUC, MIN_ACCURACY = 0.99, 0.98  # of a column that nearly is the target
MIN_AGREEMENT = 0.95  # with the target, of a column with as few levels
MAX_RELATIVE_ERROR = 0.1  # of both, in errors of always predicting the most frequent class
MIN_MISSING_AUC = 0.8
MAX_P_VALUE = 1e-9  # of rows that are all of one class by chance
MIN_DUPLICATES = 0.01  # of the rows
ROWS_PER_GROUP = (1.5, 50)
MIN_GROUPS, MIN_GROUP_PAIRS = 20, 100
MIN_GROUP_KAPPA, MIN_ORDER_KAPPA = 0.5, 0.1  # agreement of labels beyond chance
MIN_Z = 6.0  # standard errors
SORTED = 0.95  # rank correlation with the row number
MIN_SENTINELS = 5  # cells
MIN_VALUES = 8  # distinct ones beside a sentinel
MAX_SHARES = 100_000  # of classes that one-column models predict at once: those of many numbers fit into the cache
MIN_ROWS_OF_CLASS = 5  # of the sample, that a figure of one column can be taken from


def audit(
    frame: pl.DataFrame,
    target: str,
    columns: Sequence[Column],
    choices: ColumnChoices | None = None,
    callback: ReadingCallback = ignore,
) -> tuple[Finding, ...]:
    """Return what in a table may be a leak or mislead, the gravest first.

    One-column models see at most 10,000 rows, always the same.

    Args:
        frame: the rows.
        target: the column to predict.
        columns: the features, as `recognize_columns` gives them; those that are dropped are not looked at.
        choices: columns that are keys, groups, times or weights.
        callback: called with the number of columns that were looked at, of the check that takes longest.

    Raises:
        TableError: the target looks like a measurement.
    """
    labels, has_target = target_labels(frame, target)
    rows = frame if has_target.all() else frame.filter(has_target)
    classes, y = _classes_and_codes(labels[has_target])
    if len(y) < MIN_ROWS or len(classes) < 2:
        return ()
    features = tuple(column for column in columns if not isinstance(column, Dropped))
    audited = _Rows(rows, target, classes, y, features, choices or ColumnChoices(), callback)
    return tuple(finding for check in CHECKS for finding in check(audited))


def _classes_and_codes(labels: Any) -> tuple[list[str], IntArray]:
    """Return the distinct labels in sorted order, and the code of each row's; NumPy would sort all rows."""
    import polars as pl

    text = pl.Series(labels, dtype=pl.String)
    classes = text.unique().sort()
    return classes.to_list(), text.replace_strict(classes, range(len(classes)), return_dtype=pl.Int64).to_numpy()


class _Rows:
    """The rows with a target, and a sample of them, in their order, for what need not see all."""

    def __init__(
        self,
        frame: pl.DataFrame,
        target: str,
        classes: list[str],
        y: IntArray,
        columns: tuple[Column, ...],
        choices: ColumnChoices,
        callback: ReadingCallback,
    ) -> None:
        self.frame, self.target, self.classes, self.y, self.callback = frame, target, classes, y, callback
        self.columns, self.choices = columns, choices
        self._values: dict[str, FloatArray | IntArray] = {}
        self._n_distinct: dict[str, int] = {}
        rng = np.random.default_rng(0)
        counts = np.bincount(y)
        frequent = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
        rows = np.flatnonzero(np.isin(y, frequent))
        self.sample = np.sort(rng.choice(rows, MAX_ROWS, replace=False)) if len(rows) > MAX_ROWS else rows
        self.sample_y = np.unique(y[self.sample], return_inverse=True)[1]
        self.cells, self.sampled = frame.to_dict(), frame[self.sample].to_dict()
        self.majority = float(np.bincount(self.sample_y).max() / len(self.sample))

    def values(self, column: Column) -> FloatArray | IntArray:
        """Return numbers, NaN where missing, or codes of levels, of the sampled rows."""
        if column.name not in self._values:
            series = self.sampled[column.name]
            is_number = isinstance(column, (Number, Date))
            self._values[column.name] = column.numbers(series)[:, 0] if is_number else _codes(parse.as_text(series))
        return self._values[column.name]

    def is_missing(self, column: Column) -> Any:
        """Return which cells of the sampled rows are missing."""
        values = self.values(column)
        if values.dtype.kind == "f":
            return np.isnan(values)
        return parse.without_missing_words(parse.as_text(self.sampled[column.name])).is_null().to_numpy()

    def n_distinct(self, column: Column) -> int:
        """Return the number of distinct cells of all rows."""
        if column.levels and not isinstance(column, Boolean):
            return len(column.levels)
        if column.name not in self._n_distinct:
            self._n_distinct[column.name] = int(self.cells[column.name].drop_nulls().n_unique())
        return self._n_distinct[column.name]

    @functools.cached_property
    def groups(self) -> dict[str, Finding]:
        """What looks like a group, by column."""
        findings = ((column.name, _group(self, column)) for column in self.columns)
        return {name: finding for name, finding in findings if finding is not None}


def _codes(text: pl.Series) -> IntArray:
    """Return a code per cell, from 0, that is equal where cells are; missing ones have code 0."""
    import polars as pl

    return (text.rank("dense").cast(pl.Int64).fill_null(0)).to_numpy()


def _options(option: str, names: Iterable[str]) -> str:
    return " ".join(f"{option} {shlex.quote(name)}" for name in names)


def _listed(names: Sequence[str]) -> str:
    return listed(map(repr, names), MAX_EXAMPLES)


# -- the target ------------------------------------------------------------------------------------------------------


def _nearly_the_target(rows: _Rows) -> list[Finding]:
    """Find columns that predict the target nearly without error, and those named after one."""
    columns = [column for column in rows.columns if column.name not in rows.groups]
    figures = ((column.name, _figure_of_a_leak(rows, column, shares)) for column, shares in _shares(rows, columns))
    leaks = {name: figure for name, figure in figures if figure is not None}
    if len(leaks) > max(3, len(rows.columns) / 4):
        names = tuple(leaks)
        figure, value = leaks[names[0]]
        message = (
            f"{len(leaks)} of {len(rows.columns)} columns alone predict {rows.target!r} almost perfectly "
            f"({_listed(names)})"
        )
        remedy = (
            "the task may be easy; if these columns are recorded after the outcome, leave them out with "
            f"{_options('--drop', names[:1])} and so on"
        )
        return [Finding("target", names, message, {figure: value}, remedy)]
    findings = []
    for name, (figure, value) in leaks.items():
        message = f"{name!r} alone predicts {rows.target!r} almost perfectly (out-of-fold {figure} {value:.3f})"
        findings.append(Finding("target", (name,), message, {figure: value}, _drop_if_not_known(name)))
    return findings + _named_after(rows, tuple(leaks))


def _drop_if_not_known(name: str) -> str:
    return f"check that it is known before the outcome; if not, leave it out with {_options('--drop', [name])}"


def _shares(rows: _Rows, columns: Sequence[Column]) -> Iterator[tuple[Column, FloatArray]]:
    """Yield each column with the shares of classes it alone predicts, in order; numbers several at a time."""
    y = rows.sample_y
    n_at_once = max(1, MAX_SHARES // (len(y) * (int(y.max()) + 1)))
    for start in range(0, len(columns), n_at_once):
        rows.callback(ReadingProgress("looking for leaks", start, len(columns)))
        values = {column: rows.values(column) for column in columns[start : start + n_at_once]}
        numbers = [cells for cells in values.values() if cells.dtype.kind == "f"]
        of_numbers = iter(shares_of_numbers(np.stack(numbers), y)) if numbers else iter(())
        for column, cells in values.items():
            yield column, next(of_numbers) if cells.dtype.kind == "f" else out_of_fold_shares(cells, y)


def _figure_of_a_leak(rows: _Rows, column: Column, shares: FloatArray) -> tuple[str, float] | None:
    """Return the figure and value by which a column nearly is the target; None where it is not."""
    values, y = rows.values(column), rows.sample_y
    correct, n_classes = accuracy(shares, y), shares.shape[1]
    if np.bincount(y).min() < MIN_ROWS_OF_CLASS or n_classes < 2:
        return None  # so few rows are all predicted by chance
    is_accurate = 1 - correct <= MAX_RELATIVE_ERROR * (1 - rows.majority)
    if n_classes == 2 and (area := roc_auc(shares, y)) >= MIN_AUC:
        return "ROC AUC", area
    if not is_accurate:
        return None
    n_values = len(np.unique(values[~rows.is_missing(column)]))
    is_copy = n_values <= n_classes + 1 and correct >= MIN_AGREEMENT
    return ("accuracy", correct) if is_copy or correct >= MIN_ACCURACY else None


def _named_after(rows: _Rows, leaks: Sequence[str]) -> list[Finding]:
    """Find columns whose names continue that of a leak: they were probably recorded with it."""
    findings = []
    for column in rows.columns:
        stem = next(
            (leak for leak in leaks if column.name != leak and re.match(rf"{re.escape(leak)}[\W_]", column.name)), None
        )
        if stem is not None and column.name not in leaks:
            auc = roc_auc(out_of_fold_shares(rows.values(column), rows.sample_y), rows.sample_y)
            message = (
                f"{column.name!r} was probably recorded together with {stem!r}, which predicts {rows.target!r} almost "
                "perfectly"
            )
            remedy = _drop_if_not_known(column.name)
            findings.append(Finding("target", (column.name,), message, {"ROC AUC": auc}, remedy))
    return findings


def _known_afterwards(rows: _Rows) -> list[Finding]:
    """Find columns whose missing cells predict the target, as those of a discharge date do."""
    aucs: dict[str, float] = {}
    for column in rows.columns:
        missing = rows.is_missing(column)
        if 0.005 < missing.mean() < 0.995 and np.bincount(rows.sample_y).min() >= MIN_ROWS_OF_CLASS:
            auc = roc_auc(out_of_fold_shares(missing.astype(np.int64), rows.sample_y), rows.sample_y)
            if auc >= MIN_MISSING_AUC or _is_pure(missing, rows.sample_y) or _is_pure(~missing, rows.sample_y):
                aucs[column.name] = auc
    if not aucs:
        return []
    names, best = tuple(aucs), max(aucs.values())
    evidence = (
        f"out-of-fold ROC AUC {best:.3f}"
        if best >= MIN_MISSING_AUC
        else "all rows with, or all rows without, a missing cell are of one class"
    )
    message = f"missing cells in {_listed(names)} predict {rows.target!r} ({evidence})"
    remedy = f"if these columns are filled in after the outcome, leave them out with {_options('--drop', names)}"
    return [Finding("afterwards", names, message, {"ROC AUC": best}, remedy)]


def _is_pure(part: Any, y: IntArray) -> bool:
    """Return whether these rows are all of one class, and too many for chance."""
    counts = np.bincount(y[part])
    share = float((y == counts.argmax()).mean())
    return bool(counts.max() == counts.sum() >= 0.05 * len(y) and share ** counts.sum() < MAX_P_VALUE)


# -- rows that belong together ---------------------------------------------------------------------------------------


def _duplicates(rows: _Rows) -> list[Finding]:
    """Find rows with equal features."""
    import polars as pl

    if not rows.columns:
        return []
    hashes = rows.frame.select(column.name for column in rows.columns).hash_rows()
    n_repeated = len(hashes) - hashes.n_unique()
    if n_repeated < max(2, MIN_DUPLICATES * len(hashes)):
        return []
    labels = pl.DataFrame({"row": hashes, "y": rows.y}).group_by("row").agg(pl.len(), pl.col("y").n_unique().alias("n"))
    n_mixed = int(labels.filter(pl.col("n") > 1)["len"].sum())
    agree = "all with the same label" if not n_mixed else f"and {n_mixed:,} rows are equal to one with another label"
    evidence = {"n_repeated": n_repeated, "share": n_repeated / len(hashes), "n_with_other_label": n_mixed}
    message = f"{n_repeated:,} rows ({n_repeated / len(hashes):.0%}) have the features of an earlier row, {agree}"
    remedy = (
        "equal rows are never both trained on and tested on, but if they are copies of one case, the intervals are too "
        "narrow; remove the copies, or name the column that identifies a case with --key COLUMN"
    )
    return [Finding("duplicates", (), message, evidence, remedy)]


def _groups(rows: _Rows) -> list[Finding]:
    """Find columns that look like groups of rows."""
    return [] if rows.choices.groups or rows.choices.keys else list(rows.groups.values())


def _group(rows: _Rows, column: Column) -> Finding | None:
    """Return the finding that a column is an id that repeats, or that labels are much alike within its levels."""
    if not isinstance(column, (Category, Number)):
        return None
    n_levels, n_known = rows.n_distinct(column), len(rows.frame) - rows.cells[column.name].null_count()
    if n_levels < MIN_GROUPS or not ROWS_PER_GROUP[0] <= n_known / n_levels <= ROWS_PER_GROUP[1]:
        return None
    if isinstance(column, Number) and _has_fractions(rows.values(column)):
        return None
    within, between = _label_agreement(rows, column)
    is_named = NAMES_OF_IDS.search(column.name) is not None
    if not (is_named or (within >= MIN_GROUP_KAPPA and between <= within / 2)):
        return None
    evidence = {"n_levels": n_levels, "rows_per_level": n_known / n_levels, "agreement": within}
    message = (
        f"{column.name!r} looks like a group ({n_levels:,} values with {n_known / n_levels:.1f} rows each; labels of "
        f"one value agree with kappa {within:.2f})"
    )
    remedy = f"{_options('--group', [column.name])} keeps rows of one value together, in training or in testing"
    return Finding("group", (column.name,), message, evidence, remedy)


def _label_agreement(rows: _Rows, column: Column) -> tuple[float, float]:
    """Return how far labels agree beyond chance (kappa) within a column's levels, and between neighbouring levels.

    Neighbours in the order of a number: labels that follow its size are no sign of groups.
    """
    series = rows.cells[column.name]
    values = column.numbers(series)[:, 0] if isinstance(column, Number) else _codes(parse.as_text(series)).astype(float)
    known = ~series.is_null().to_numpy() & ~np.isnan(values)
    levels, codes = np.unique(values[known], return_inverse=True)
    y, n_classes = rows.y[known], len(rows.classes)
    if len(levels) * n_classes > 10_000_000:
        return 0.0, 0.0
    counts = np.bincount(codes * n_classes + y, minlength=len(levels) * n_classes).reshape(-1, n_classes).astype(float)
    sizes = counts.sum(axis=1)
    n_pairs = (sizes * (sizes - 1)).sum()
    if n_pairs < MIN_GROUP_PAIRS:
        return 0.0, 0.0
    chance = float(np.square(counts.sum(axis=0) / sizes.sum()).sum())
    if chance == 1:
        return 0.0, 0.0
    within = (counts * (counts - 1)).sum() / n_pairs
    between = (
        (counts[1:] * counts[:-1]).sum() / (sizes[1:] * sizes[:-1]).sum() if isinstance(column, Number) else chance
    )
    return float((within - chance) / (1 - chance)), float((between - chance) / (1 - chance))


def _has_fractions(values: FloatArray | IntArray) -> bool:
    """Return whether a finite number is not whole."""
    return bool((values[np.isfinite(values)] % 1).any())


# -- the order of the rows -------------------------------------------------------------------------------------------


def _order(rows: _Rows) -> list[Finding]:
    """Find rows in the order of a time, or whose neighbours have the same label."""
    choices, y = rows.choices, rows.y
    if choices.time or choices.groups or choices.keys:
        return []
    n_runs = int((np.diff(y) != 0).sum()) + 1
    if n_runs <= 4 * len(rows.classes) and n_runs < len(y) / 10:
        message = f"the rows are sorted by {rows.target!r}"
        return [Finding("order", (), message, {"n_runs": n_runs}, "no action is needed, as splits ignore the order")]
    same, chance, z = _neighbour_agreement(y)
    kappa = (same - chance) / (1 - chance)
    evidence = {"agreement": same, "chance": chance}
    times = [
        column for column in rows.columns if isinstance(column, Date) and abs(_rank_correlation(rows, column)) >= SORTED
    ]
    if times:
        name = times[0].name
        message = f"the rows are in the order of {name!r}"
        remedy = f"if the model is to predict later rows, test it on later rows with {_options('--time', [name])}"
        return [Finding("order", (name,), message, evidence, remedy)]
    if kappa < MIN_ORDER_KAPPA or z < MIN_Z:
        return []
    message = f"{same:.0%} of neighbouring rows have the same label, where {chance:.0%} would by chance"
    remedy = (
        "results may be optimistic for rows of a later time or of another source; if a column has the time or the "
        "source of each row, name it with --time or --group"
    )
    return [Finding("order", (), message, evidence, remedy)]


def _neighbour_agreement(y: IntArray) -> tuple[float, float, float]:
    """Return how often neighbours have the same label, how often by chance, and the difference in standard errors."""
    same = float((y[1:] == y[:-1]).mean())
    chance = float(np.square(np.bincount(y) / len(y)).sum())
    return same, chance, (same - chance) / float(np.sqrt(chance * (1 - chance) / (len(y) - 1)))


def _rank_correlation(rows: _Rows, column: Column) -> float:
    """Return Spearman's correlation of a column with the number of the row; 0 where it is constant."""
    values = rows.values(column).astype(np.float64)
    known = ~np.isnan(values)
    distinct, places, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    if known.sum() < MIN_ROWS or len(distinct) < 2:
        return 0.0
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # equal values have the mean of their ranks
    return float(np.corrcoef(ranks, np.flatnonzero(known))[0, 1])


def _row_numbers(rows: _Rows) -> list[Finding]:
    """Find numbers that only count the rows."""
    findings = []
    for column in rows.columns:
        if not isinstance(column, Number) or rows.n_distinct(column) < 0.95 * len(rows.frame):
            continue
        correlation = _rank_correlation(rows, column)
        if abs(correlation) >= 0.99:
            message = (
                f"{column.name!r} follows the row number (rank correlation {correlation:.3f}, nearly all values differ)"
            )
            remedy = (
                f"leave it out with {_options('--drop', [column.name])}, or if it is a time, use "
                f"{_options('--time', [column.name])}"
            )
            evidence = {"rank_correlation": correlation}
            findings.append(Finding("row number", (column.name,), message, evidence, remedy))
    return findings


def _identifiers(rows: _Rows) -> list[Finding]:
    """Find columns with other values in most rows, and a name such as id."""
    findings = []
    for column in rows.columns:
        share = rows.n_distinct(column) / len(rows.frame)
        is_named = NAMES_OF_IDS.search(column.name) is not None
        is_whole = isinstance(column, Category) or (
            isinstance(column, Number) and not _has_fractions(rows.values(column))
        )
        if is_whole and (
            (is_named and share > 1 / ROWS_PER_GROUP[0]) or (isinstance(column, Category) and share > 0.8)
        ):
            message = f"{column.name!r} looks like an identifier ({share:.0%} of its values are distinct)"
            evidence, remedy = {"distinct_share": share}, f"leave it out with {_options('--drop', [column.name])}"
            findings.append(Finding("identifier", (column.name,), message, evidence, remedy))
    return findings


# -- cells -----------------------------------------------------------------------------------------------------------


def _sentinels(rows: _Rows) -> list[Finding]:
    """Find numbers that stand for missing cells, such as -999."""
    by_value: dict[float, list[tuple[str, float]]] = defaultdict(list)
    for column in rows.columns:
        if isinstance(column, Number):
            values = rows.values(column)
            sentinel = _sentinel(values[np.isfinite(values)].astype(np.float64))
            if sentinel is not None:
                by_value[sentinel].append((column.name, float((values == sentinel).mean())))
    findings = []
    for sentinel, columns in by_value.items():
        names = tuple(name for name, _ in columns)
        share = max(share for _, share in columns)
        figures = f"{share:.1%} of the cells, far from all others"
        message = f"{sentinel:g} in {_listed(names)} may stand for a missing value ({figures})"
        evidence = {"value": sentinel, "share": share}
        findings.append(Finding("sentinel", names, message, evidence, "if so, leave these cells empty"))
    return findings


def _sentinel(numbers: FloatArray) -> float | None:
    """Return the smallest or largest number if it repeats and is far from all others; None where neither does."""
    values, counts = np.unique(numbers, return_counts=True)
    if len(values) <= MIN_VALUES:
        return None
    for value, count, others in ((values[0], counts[0], values[1:]), (values[-1], counts[-1], values[:-1])):
        if count < max(MIN_SENTINELS, 0.002 * len(numbers)) or count > 0.9 * len(numbers):
            continue
        nearest = others[0] if value < others[0] else others[-1]
        is_isolated = abs(value - nearest) > others[-1] - others[0]
        is_frequent = count > 2 * counts[1] or others[0] - value > 3 * np.diff(others).max()
        is_negative = value in (-1, -9, -99, -999) and others[0] >= 0 and is_frequent
        if is_isolated or is_negative or (value == 0 and _is_zero_missing(numbers, others)):
            return float(value)
    return None


def _is_zero_missing(numbers: FloatArray, others: FloatArray) -> bool:
    """Return whether zeros are few and far below numbers that are much alike, as in a column of blood pressures."""
    positive = numbers[numbers != 0]
    middle = float(np.median(positive))
    is_alike = positive.std() < 0.5 * positive.mean()
    return bool(len(others) >= 20 and others[0] >= 0.3 * middle > 0 and is_alike and len(positive) > len(numbers) / 2)


def _spelling(rows: _Rows) -> list[Finding]:
    """Find levels that differ only in case, space or Unicode form."""
    categories = [column for column in rows.columns if type(column) is Category]
    return [finding for column in categories for finding in spelling_findings(column.name, column.levels)]


def _labels(rows: _Rows) -> list[Finding]:
    """Find what is wrong with the labels of the target; `Table.from_frame` warns of the same."""
    return label_findings(rows.target, rows.classes, np.bincount(rows.y))


CHECKS: tuple[Callable[[_Rows], list[Finding]], ...] = (
    _nearly_the_target, _known_afterwards, _labels, _spelling, _duplicates, _groups, _order, _row_numbers,
    _identifiers, _sentinels,
)  # fmt: skip
