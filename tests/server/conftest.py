"""Models on a server, and a client that asks it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from asking import Server
from helpers import fit_quickly, mixed_frame
from starlette.testclient import TestClient

from tabcohort import Predictor, TabcohortWarning, Table, save
from tabcohort.server.app import create_app
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
from tabcohort.server.prediction_log import LogPolicy, PredictionLog


@pytest.fixture(scope="session")
def visits() -> pl.DataFrame:
    """Rows of all types of columns, with a target."""
    frame = mixed_frame(60)
    answer = pl.when(pl.int_range(60) % 3 == 0).then(pl.lit("ill")).otherwise(pl.lit("well"))
    return frame.with_columns(outcome=answer)


@pytest.fixture(scope="session")
def mixed(visits: pl.DataFrame) -> Predictor:
    """A model of columns of all types."""
    return fit_quickly(Table.from_frame(visits, "outcome", positive="ill", types={"code": "category"}))


@pytest.fixture(scope="session")
def files(predictor: Predictor, three_classes: Predictor, mixed: Predictor, tmp_path_factory: Any) -> Path:
    """A folder of model files."""
    folder: Path = tmp_path_factory.mktemp("models")
    for name, model in (("two", predictor), ("three", three_classes), ("mixed", mixed)):
        save(model, folder / f"{name}.tabcohort")
    return folder


@pytest.fixture
def server(files: Path, visits: pl.DataFrame, tmp_path: Path) -> Iterator[Server]:
    """Return a function that starts an application and returns a client of it."""
    clients = []

    def start(
        *names: str, background: Any = None, log: LogPolicy | None = None, shadows: Any = None, **options: Any
    ) -> TestClient:  # fmt: skip
        warnings.simplefilter("ignore", TabcohortWarning)  # each answer has its own
        paths = {name: files / f"{name}.tabcohort" for name in names or ("two",)}
        store = ModelStore(paths, shadows, {} if background is None else dict.fromkeys(paths, lambda: background))
        own = ServerOptions(**{"reload_interval_seconds": 0.0, **options})
        app = create_app(store, own, None if log is None else PredictionLog(log))
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)
