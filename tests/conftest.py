"""Fixtures that several test files share, and settings of the test run."""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # SciPy reads it once, when it is imported
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from fake_training import Clock
from helpers import CHROMIUM, fit_quickly, make_rows, make_small_table
from hypothesis import settings as hypothesis_settings

import tabcohort
from tabcohort import Predictor
from tabcohort.engines.compiled.engine import compile_kernels

# Examples are the same in every run, so that a change is to blame for a failure; `make fuzz` looks for new ones.
hypothesis_settings.register_profile("same examples", derandomize=True)
hypothesis_settings.load_profile("same examples")


def pytest_configure(config: pytest.Config) -> None:
    """Ignore the warning that kernels are compiled: the first test on a machine compiles them.

    Before several workers start, all kernels are compiled that are not kept: each worker would compile them.
    """
    config.addinivalue_line("filterwarnings", "ignore:compiling kernels:tabcohort.TabcohortWarning")
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        for dtype in ("float32", "float64"):
            compile_kernels(dtype)


@pytest.fixture(autouse=True)
def same_random_numbers_in_any_order() -> None:
    """Seed PyTorch's global generator: the weights of a plain layer must not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


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
    table = tabcohort.Table.from_frame(tabcohort.read_frame(csv_file), "answer", keys=["id"])
    path = tmp_path_factory.mktemp("model") / "patients.tabcohort"
    tabcohort.save(fit_quickly(table, model="logistic"), path)
    return path


@pytest.fixture
def clock() -> Clock:
    """A clock whose time passes when the test says so."""
    return Clock()
