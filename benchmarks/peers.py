"""Other classifiers with their defaults, on the columns of a table.

CatBoost and LightGBM are there if they are installed: `pip install -e .[bench]`.
"""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tabcohort import Table

NAMES = ("logreg", *(name for name in ("catboost", "lightgbm") if importlib.util.find_spec(name)))
SMALLEST = 1e-7  # probability


def log_proba_and_seconds(name: str, to_fit: Table, held_out: Table) -> tuple[NDArray[np.float64], float, float]:
    """Return log probabilities of the held-out rows, `(n, n_classes)`, and the seconds of fitting and predicting."""
    cells, others = cells_of(to_fit), cells_of(held_out)
    categories = list(cells.columns[to_fit.schema.n_numbers :])
    if name == "catboost":
        from catboost import CatBoostClassifier

        model = CatBoostClassifier(
            random_seed=0, thread_count=2, verbose=0, allow_writing_files=False, cat_features=categories
        )
    elif name == "logreg":
        numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
        encoder = make_column_transformer(
            (numbers, list(cells.columns[: to_fit.schema.n_numbers])),
            (OneHotEncoder(handle_unknown="ignore"), categories),
        )
        model = make_pipeline(encoder, LogisticRegression(max_iter=2_000))
    else:
        from lightgbm import LGBMClassifier

        model = LGBMClassifier(random_state=0, n_jobs=2, verbose=-1)
        levels = {column: pd.CategoricalDtype(cells[column].unique()) for column in categories}
        cells, others = cells.astype(levels), others.astype(levels)
    began = time.perf_counter()
    model.fit(cells, to_fit.y)
    fitted = time.perf_counter()
    proba = np.clip(np.asarray(model.predict_proba(others), dtype=np.float64), SMALLEST, 1)
    return np.log(proba / proba.sum(axis=1, keepdims=True)), fitted - began, time.perf_counter() - fitted


def cells_of(table: Table) -> pd.DataFrame:
    """Return numbers, NaN where missing, and then codes of categories, of which "missing" is one."""
    numbers = pd.DataFrame(table.numbers, columns=[f"number {i}" for i in range(table.numbers.shape[1])])
    codes = pd.DataFrame(table.codes, columns=[f"category {i}" for i in range(table.codes.shape[1])])
    return pd.concat([numbers, codes], axis=1)
