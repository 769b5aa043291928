"""Small tables and quick trainings that several test files share."""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # SciPy reads it once, when it is imported

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import tabcohort
from tabcohort import (
    CohortSettings,
    Predictor,
    Settings,
    Table,
    Trained,
    build_model,
    draw_weights,
    make_table,
    running,
    standing,
    train,
)
from tabcohort.modules import as_double, module_logits
from tabcohort.prepare import FloatArray, IntArray


def pytest_configure(config: pytest.Config) -> None:
    """Let whichever test is the first on a machine compile the kernels; the package says so, and it is no mistake."""
    config.addinivalue_line("filterwarnings", "ignore:compiling kernels:tabcohort.TabcohortWarning")


@pytest.fixture(autouse=True)
def same_draws_in_any_order() -> None:
    """Seed PyTorch's global generator: what a plain layer starts from must not depend on the tests before it."""
    torch.manual_seed(0)


SMALL = CohortSettings(folds=3, seeds=1)  # the fewest networks that judge every row
SINGLE = CohortSettings(folds=1, seeds=1)  # one network, and a single split of the rows
QUICK: dict[str, Any] = {"max_epochs": 3, "hidden": (8,), "learning_rate": 0.02}


def make_rows(n_rows: int = 90, n_features: int = 3, n_classes: int = 2, seed: int = 0) -> tuple[Any, Any]:
    """Return features `(n_rows, n_features)` and class codes `(n_rows,)`, which the features tell with some noise."""
    draw = np.random.default_rng(seed)
    codes = np.arange(n_rows) % n_classes
    X = draw.normal(size=(n_rows, n_features))
    X[:, 0] += 2.0 * codes
    return X, codes


def make_small_table(n_classes: int = 2, labels: Any = None, **sizes: Any) -> Table:
    """Return a table of `make_rows`; `labels` are the names of its classes."""
    X, codes = make_rows(n_classes=n_classes, **sizes)
    names = np.array(labels if labels is not None else ["no", "yes", "may", "who"][:n_classes])
    return tabcohort.make_table(X, names[codes])


def fit_quickly(table: Table | None = None, cohort: CohortSettings = SMALL, **settings: Any) -> Predictor:
    """Return a predictor of three networks after a few epochs."""
    return tabcohort.fit(table or make_small_table(), Settings(**{**QUICK, **settings}), cohort)


def settings_of(**choices: Any) -> Settings:
    """Return the settings of twenty quick epochs, with these changes."""
    quick = {"hidden": (8,), "max_epochs": 20, "patience": None, "learning_rate": 0.02, "device": "cpu"}
    return Settings(**{**quick, **choices})


def noisy_rows(
    n_rows: int = 120, n_classes: int = 2, n_features: int = 4, seed: int = 0
) -> tuple[FloatArray, IntArray]:
    """Return features `(n_rows, n_features)` and class codes `(n_rows,)`, told by the first feature with noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    edges = np.quantile(X[:, 0], np.arange(1, n_classes) / n_classes)
    return X, np.digitize(X[:, 0] + rng.normal(0, 0.8, n_rows), edges)


def table_of(n_rows: int = 120, n_classes: int = 2, seed: int = 0) -> Table:
    """Return a table of `noisy_rows`."""
    return make_table(*noisy_rows(n_rows, n_classes, seed=seed))


def trained_on(data: Any, settings: Settings, n_classes: int = 2, **extra: Any) -> Trained:
    """Return the module that the settings name, trained on a table or arrays."""
    module = build_model(settings, data[0].shape[1] if isinstance(data, tuple) else data.X.shape[1], n_classes)
    draw_weights(module, settings.seed)
    return train(module, data, settings, **extra)


def logits_of(trained: Trained, X: FloatArray) -> FloatArray:
    """Return the logits of a trained module in double precision."""
    return module_logits(as_double(trained.module), X)


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    """A quickly trained predictor of yes or no from x0, x1 and x2."""
    return fit_quickly()


@pytest.fixture(scope="session")
def three_classes() -> Predictor:
    """A quickly trained predictor of three classes."""
    return fit_quickly(make_small_table(3))


@pytest.fixture(scope="session")
def csv_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file with the columns id, x0, x1, x2 and answer (no, yes)."""
    X, codes = make_rows()
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"]).with_columns(answer=pl.Series(np.array(["no", "yes"])[codes]))
    frame.insert_column(0, pl.Series("id", [f"p{i}" for i in range(len(X))]))
    path = tmp_path_factory.mktemp("table") / "patients.csv"
    frame.write_csv(path)
    return path


@pytest.fixture(scope="session")
def model_file(csv_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on `csv_file`, with id as its key."""
    table = tabcohort.table_from_frame(tabcohort.read_frame(csv_file), "answer", keys=["id"])
    path = tmp_path_factory.mktemp("model") / "patients.tabcohort"
    tabcohort.save(fit_quickly(table, model="logistic"), path)
    return path


class Clock:
    """Stands for the module `time`: time passes when a stand-in for training says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(running, "time", found)
    monkeypatch.setattr(standing, "time", found)
    return found
