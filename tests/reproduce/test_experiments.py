"""Running experiments by name."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from rich.console import Console

from tabcohort.errors import SettingsError
from tabcohort.reproduce import patent_grid, patent_tables, wine
from tabcohort.reproduce.experiments import EXPERIMENTS, run, run_grid, run_tables
from tabcohort.reproduce.findings import Findings


def test_unknown_experiment_is_refused_with_the_nearest_name(messages: Console) -> None:
    with pytest.raises(SettingsError, match=r"there is no experiment 'canser' .did you mean 'cancer'"):
        run("canser", None, messages)


@pytest.mark.parametrize("module", ["tabcohort.reproduce", "tabcohort.reproduce.experiments", "tabcohort.cli.parser"])
def test_importing_the_names_does_not_import_pytorch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(int('torch' in sys.modules or 'sklearn' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_run_repeats_as_often_as_asked_and_says_what_it_loads(
    messages: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    empty = Findings("wine", "", (), (), (), 0.0)
    monkeypatch.setattr(wine, "run", lambda messages, *seeds: asked.append(seeds) or empty)
    assert run("wine", 4, messages) is empty
    run("wine", None, messages)
    assert asked == [(4,), ()]
    assert "loading" in messages.file.getvalue()  # type: ignore[attr-defined]


def test_run_grid_runs_the_patent_grid_as_asked(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    empty = Findings("patent grid", "", (), (), (), 0.0)
    monkeypatch.setattr(patent_grid, "run", lambda messages, halving: asked.append(halving) or empty)
    assert run_grid(messages, halving=False) is empty
    assert asked == [False]


def test_run_tables_repeats_as_often_as_asked(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    empty = Findings("patent tables", "", (), (), (), 0.0)
    monkeypatch.setattr(patent_tables, "run", lambda messages, *seeds: asked.append(seeds) or empty)
    assert run_tables(None, messages) is run_tables(5, messages) is empty
    assert asked == [(), (5,)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_a_module_of_its_name(name: str) -> None:
    assert callable(importlib.import_module(f"tabcohort.reproduce.{name}").run)
