"""Fixtures of the command line's tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from shell import Ran, Run

from tabcohort import Predictor, save
from tabcohort.cli.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where models go that nobody names."""
    path = tmp_path_factory.mktemp("current")
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command in this process as a shell would."""

    def call(*arguments: object) -> Ran:
        with warnings.catch_warnings():  # a shell shows warnings; the tests make errors of them
            warnings.simplefilter("default")
            try:
                status: Any = main([str(argument) for argument in arguments])
            except SystemExit as leaving:
                status = leaving.code
        return Ran(status, *capsys.readouterr())

    return call


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A settings file for a few epochs."""
    path = tmp_path / "quick.toml"
    path.write_text("max_epochs = 3\nhidden = [8]\nlearning_rate = 0.02\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def flowers(three_classes: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three classes."""
    path = tmp_path_factory.mktemp("flowers") / "flowers.tabcohort"
    save(three_classes, path)
    return path
