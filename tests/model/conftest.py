"""Models with all kinds of facts, shared by the tests of facts and report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import QUICK, SINGLE, make_rows, make_small_table

from tabcohort import CohortSettings, Config, Predictor, TabcohortWarning, Table, fit


@pytest.fixture(scope="session")
def cohort() -> Predictor:
    """A model of two seeds whose configs share the ensemble, were dropped, or failed."""
    rates = (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)
    configs = [Config(**{**QUICK, "max_epochs": 40, "learning_rate": rate}) for rate in rates]
    diverges = replace(configs[0], optimizer="sgd", learning_rate=1e30)
    with pytest.warns(TabcohortWarning, match="stopped being finite"):
        return fit(make_small_table(), [*configs, diverges], CohortSettings(folds=3, seeds=2))


@pytest.fixture(scope="session")
def rare() -> Predictor:
    """A model of a single split that tests no row of one of its four classes, so that some figures are unknown."""
    X, codes = make_rows(n_rows=62)
    labels = np.array(["a", "b"])[codes]
    labels[:2], labels[2:4] = "rare", "seldom"
    return fit(Table.from_arrays(X, labels), Config(**QUICK), SINGLE)
