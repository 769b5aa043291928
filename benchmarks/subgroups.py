"""Count how often the search of a report names a subgroup where there is none, and finds one that was planted.

Tables have ten columns, five of levels (one of which has a tenth of the rows) and five of numbers. Predictions are
wrong for 15 % of the rows, whatever the columns; a planted subgroup has a tenth of the rows, and 25 % of its
predictions are wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from tabcohort.data.columns import Category, Number
from tabcohort.evaluation.subgroups import Condition, MeasuredRows, search_subgroups
from tabcohort.model.report_subgroups import Cells, conditions_of, distinct
from tabcohort.types import BoolArray

SHARES = (0.1, 0.3, 0.25, 0.2, 0.15)  # of the levels
ERROR_RATE, PLANTED_RATE = 0.15, 0.25
KINDS = {"a level": ("c0 = l0",), "a range": ("n0 > ",), "a pair": ("c1 = l1", "c2 = l1")}


def columns(rng: np.random.Generator, n_rows: int) -> Iterator[Cells]:
    """Yield the cells of ten columns."""
    names = tuple(f"l{level}" for level in range(len(SHARES)))
    for number in range(5):
        yield Cells(Category(f"c{number}"), None, rng.choice(len(SHARES), n_rows, p=SHARES), names)
        yield Cells(Number(f"n{number}"), rng.normal(size=n_rows), None, ())


def planted_rows(kind: str, conditions: list[Condition]) -> BoolArray:
    """Return the rows of a planted subgroup, about a tenth."""
    if kind == "a range":
        return next(own.inside for own in conditions if own.column == "n0" and 0.05 < own.inside.mean() < 0.15)
    return np.logical_and.reduce([own.inside for own in conditions if own.label in KINDS[kind]])


def found_in(rng: np.random.Generator, n_rows: int, kind: str | None, size: int) -> tuple[bool, bool]:
    """Return whether any subgroup was named in one table, and whether one that is mostly the planted one was."""
    conditions = [own for cells in columns(rng, n_rows) for own in distinct(conditions_of(cells))]
    planted = np.zeros(n_rows, dtype=bool) if kind is None else planted_rows(kind, conditions)
    groups = np.arange(n_rows) // size
    # All rows of a group are right or wrong together.
    is_error = rng.random(n_rows)[groups] < np.where(planted, PLANTED_RATE, ERROR_RATE)
    y = rng.integers(0, 2, n_rows)
    y_pred = np.where(is_error, 1 - y, y)
    log_proba = np.log(np.where(np.arange(2) == y_pred[:, None], 0.8, 0.2))
    search = search_subgroups(MeasuredRows(log_proba, y, y_pred, np.ones(n_rows), groups, 1), conditions)
    named = [np.logical_and.reduce([conditions[i].inside for i in own.conditions]) for own in search.found]
    is_found = any((own & planted).sum() > 0.5 * (own | planted).sum() for own in named)
    return bool(named), is_found


def main() -> None:
    """Print both shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=5_000)
    options = parser.parse_args()
    for size in (1, 5):
        rows = "independent rows" if size == 1 else f"groups of {size} equal rows"
        results = [found_in(np.random.default_rng(seed), options.rows, None, size) for seed in range(options.runs)]
        n_named = sum(named for named, _ in results)
        print(f"no difference, {rows}: a subgroup is named in {n_named} of {options.runs} tables", flush=True)
    for kind in KINDS:
        results = [found_in(np.random.default_rng(seed), options.rows, kind, 1) for seed in range(options.runs)]
        n_found = sum(found for _, found in results)
        print(f"planted, {kind}: found in {n_found} of {options.runs} tables", flush=True)


if __name__ == "__main__":
    main()
