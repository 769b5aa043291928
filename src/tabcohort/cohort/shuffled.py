"""Training on shuffled labels: whatever is still learned shows that rows are tested that were learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tabcohort.cohort.fit import fit
from tabcohort.data.table import Table
from tabcohort.evaluation.intervals import Estimate
from tabcohort.settings import CohortSettings, Config


def fit_shuffled(table: Table, config: Config, settings: CohortSettings) -> Estimate:
    """Return the out-of-fold ROC AUC of a cohort that is trained on shuffled labels; it should be about 0.5.

    Rows of one group keep the labels that another group had, as far as their sizes allow: shuffled row by row, labels
    would lose what makes the rows of a group alike, and the test its power.

    Args:
        table: the rows.
        config: of the networks.
        settings: of the cohort.
    """
    rng = np.random.default_rng(config.seed)
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
    return fit(shuffled, [config], settings).report.evaluation.metrics["roc_auc"]
