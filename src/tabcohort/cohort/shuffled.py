"""Training on shuffled labels: whatever is still learned shows that rows are tested that were learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tabcohort.cohort.fit import fit_plan
from tabcohort.cohort.plan import make_plan
from tabcohort.data.table import Table
from tabcohort.errors import TableError
from tabcohort.evaluation.intervals import Estimate
from tabcohort.model.report_file import estimate_to_dict
from tabcohort.settings import CohortSettings, Config


def fit_shuffled(table: Table, configs: Sequence[Config], settings: CohortSettings) -> Estimate:
    """Return the out-of-fold ROC AUC of a cohort that is trained on shuffled labels; it should be about 0.5.

    Rows of one group keep the labels that another group had, as far as their sizes allow: shuffled row by row, labels
    would lose what makes the rows of a group alike, and the test its power.

    Args:
        table: the rows.
        configs: of the networks; the ensemble of several is selected on shuffled labels, too.
        settings: of the cohort.

    Raises:
        TableError: the rows are in a store.
    """
    if table.disk is not None:
        raise TableError("labels of rows in a store cannot be shuffled; make the table in memory, of fewer rows")
    rng = np.random.default_rng(configs[0].seed)
    order = rng.permutation(len(table.y))
    if table.group_ids is not None:
        rank = rng.permutation(int(table.group_ids.max()) + 1)[table.group_ids]
        order = order[np.argsort(rank[order], kind="stable")]
        by_group = np.argsort(table.group_ids, kind="stable")
        y = np.empty_like(table.y)
        y[by_group] = table.y[order]
    else:
        y = table.y[order]
    shuffled = replace(table, y=y)
    return fit_plan(make_plan(shuffled, configs, settings)).report.evaluation.metrics["roc_auc"]


def shuffled_facts(table: Table, configs: Sequence[Config], settings: CohortSettings) -> dict[str, Any]:
    """Return what `fit_shuffled` gives as plain JSON values.

    Returns:
        `roc_auc`: `value`, `low` and `high`, null where the rows cannot determine it; `is_chance`: whether the interval
        is not above 0.5, so that nothing was learned; null where that is unknown.
    """
    auc = fit_shuffled(table, configs, settings)
    return {"roc_auc": estimate_to_dict(auc), "is_chance": None if math.isnan(auc.low) else bool(auc.low <= 0.5)}
