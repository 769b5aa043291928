"""The trial of engines on an accelerator: the faster one is chosen, and none is tried where there can be none."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import config_of, table_of

from tabcohort.cohort import plan as plans
from tabcohort.cohort import trial
from tabcohort.cohort.plan import make_plan
from tabcohort.data.splits import train_validation_test_split
from tabcohort.network.program import build_program
from tabcohort.settings import CohortSettings

SETTINGS = CohortSettings(folds=3, seeds=1)


def engine_of(**changes: Any) -> str:
    (engine,) = make_plan(table_of(), config_of(**{"device": "auto", **changes}), SETTINGS).engines
    return engine


def tried(seconds_batched: float, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let there be an accelerator on which an epoch takes this long; return the numbers of members that are tried."""
    n_members: list[int] = []

    def seconds(network: object, data: object, config: object, n: int) -> float:
        n_members.append(n)
        return seconds_batched

    monkeypatch.setattr(plans, "may_have_accelerator", lambda: True)
    monkeypatch.setattr(trial, "_seconds_batched", seconds)
    monkeypatch.setattr(trial, "_seconds_compiled", lambda *arguments: 1.0)
    monkeypatch.setattr(trial, "n_cores", lambda: 2)
    return n_members


@pytest.mark.parametrize(("seconds", "engine"), [(1.4, "batched"), (1.6, "compiled")])
def test_the_faster_engine_is_chosen(monkeypatch: pytest.MonkeyPatch, seconds: float, engine: str) -> None:
    """Three members on two cores take 1.5 times as long as one on one core."""
    n_members = tried(seconds, monkeypatch)
    assert engine_of() == engine
    assert n_members == [3]


def test_a_device_or_a_precision_of_the_batched_engine_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    n_members = tried(0.0, monkeypatch)
    assert engine_of(precision="bfloat16") == "batched"
    monkeypatch.setattr(plans, "with_available_devices", lambda configs: configs)
    assert engine_of(device="cuda") == "batched"
    assert n_members == []


def test_a_device_or_an_engine_that_is_named_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    n_members = tried(0.0, monkeypatch)
    assert engine_of(device="cpu") == engine_of(engine="compiled") == "compiled"
    assert engine_of(engine="torch") == "torch"
    assert n_members == []


def test_nothing_is_tried_where_there_can_be_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    n_members = tried(0.0, monkeypatch)
    monkeypatch.setattr(plans, "may_have_accelerator", lambda: False)
    assert engine_of() == "compiled"
    assert n_members == []


def test_a_trial_on_the_cpu_chooses_the_compiled_engine() -> None:
    table, config = table_of(), config_of(device="auto")
    split = train_validation_test_split(table, config)
    program = build_program(config, table.n_inputs, 2)
    import torch

    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert trial.faster_engine(table, config, program, split, 8) == "compiled"
