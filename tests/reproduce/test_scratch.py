"""The network from scratch in both engines, at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reproduce_helpers import check_document
from rich.console import Console
from sklearn.metrics import accuracy_score, log_loss

from tabcohort.data.splits import train_validation_test_split
from tabcohort.reproduce import scratch
from tabcohort.reproduce.findings import Spread, spread
from tabcohort.reproduce.runs import Ticker, sample_table
from tabcohort.settings import Config


def test_scratch_runs_to_its_end_and_both_engines_agree(messages: Console) -> None:
    findings = scratch.run(messages, seeds=2, config=replace(scratch.DOCUMENT, hidden=(4,), max_epochs=10))
    check_document(findings)
    scores, seconds = findings.sheets
    assert [row.what for row in scores.rows] == list(scratch.variants(scratch.DOCUMENT))
    for row in scores.rows:
        accuracy, loss, *_ = row.cells
        assert isinstance(accuracy, Spread)
        assert isinstance(loss, Spread)
        assert accuracy.n == loss.n == 2
        assert 0.6 < accuracy.mean <= 1
    assert all(0 < row.cells[0].mean < 5 for row in seconds.rows)  # type: ignore[operator, union-attr]
    assert all(0 <= float(str(row.cells[3])) < 1e-5 for row in seconds.rows)
    assert any("no claim to compare with" in note for note in findings.notes)


def test_scratch_makes_one_step_at_a_time() -> None:
    document, *improved = (config.to_dict() for config in scratch.variants(scratch.DOCUMENT).values())
    changed = [{name: config[name] for name in config if config[name] != document[name]} for config in improved]
    assert changed == [
        {"momentum": 0.9}, {"dropout": 0.2}, {"batch_norm": True}, {"hidden": [64]}, {"hidden": [16, 16]},
        {"model": "logistic"}, {"learning_rate": 0.1}, {"batch_size": 8},
        {"optimizer": "adam", "learning_rate": 1e-3}, {"mixup_alpha": 0.2, "mixup_probability": 1.0},
    ]  # fmt: skip
    assert (document["optimizer"], document["momentum"], document["weight_decay"]) == ("sgd", 0.0, 0.0)
    assert (document["batch_size"], document["max_epochs"], document["patience"]) == (32, 100, None)


def test_scratch_measures_the_test_rows_by_their_probabilities() -> None:
    table = sample_table("breast-cancer")
    config = replace(scratch.DOCUMENT, engine="torch", max_epochs=3, seed=4)
    run = scratch.train_once(table, config)
    rows = train_validation_test_split(table, config).test
    assert run.probability.shape == (569,)
    assert run.metrics["accuracy"] == accuracy_score(table.y[rows], run.probability[rows] > 0.5)
    assert run.metrics["log_loss"] == pytest.approx(log_loss(table.y[rows], run.probability[rows]), rel=1e-9)


def test_an_improvement_is_one_if_it_lowers_the_log_loss_of_the_test_rows() -> None:
    def pairs(*losses: float) -> list[scratch.Pair]:
        runs = [scratch.EngineRun({"log_loss": loss, "accuracy": 0.9}, np.zeros(1), 1.0) for loss in losses]
        return [scratch.Pair(run, run) for run in runs]

    base = pairs(0.3, 0.4, 0.5)
    of_variants = {
        "as the document": base,
        "momentum 0.9": pairs(0.2, 0.31, 0.39),
        "dropout 0.2": pairs(0.4, 0.5, 0.61),
    }
    better, worse = scratch.claims(of_variants)
    assert (better.text, better.verdict) == ("Momentum 0.9 is an improvement", "holds")
    assert (worse.text, worse.verdict) == ("Dropout 0.2 is an improvement", "does not hold")


def test_scratch_times_nothing_before_both_engines_are_ready(
    messages: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int, int]] = []

    def train_once(table: object, config: Config) -> scratch.EngineRun:
        trained.append((config.engine, config.max_epochs, config.seed))
        return scratch.EngineRun({}, np.full(3, 0.5 if config.engine == "torch" else 0.25), float(len(trained)))

    monkeypatch.setattr(scratch, "train_once", train_once)
    with Ticker(messages) as ticker:
        pairs = scratch.train_pairs(sample_table("breast-cancer"), scratch.DOCUMENT, 2, ticker, "x")
    assert trained[:2] == [("compiled", 1, 0), ("torch", 1, 0)]
    assert trained[2:] == [("compiled", 100, 0), ("torch", 100, 0), ("compiled", 100, 1), ("torch", 100, 1)]
    assert [(pair.compiled.seconds, pair.pytorch.seconds) for pair in pairs] == [(3.0, 4.0), (5.0, 6.0)]
    assert pairs[0].difference == 0.25


def test_scratch_trains_only_the_first_seeds_in_both_engines(
    messages: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scratch.EngineRun({"accuracy": 0.9, "log_loss": 0.3}, np.zeros(1), 1.0)
    monkeypatch.setattr(scratch, "train_once", lambda table, config: run)
    with Ticker(messages) as ticker:
        pairs = scratch.train_pairs(sample_table("breast-cancer"), scratch.DOCUMENT, 7, ticker, "x")
    assert [pair.pytorch is not None for pair in pairs] == [True] * 5 + [False] * 2
    assert pairs[6].difference == 0


def test_scratch_shows_each_step_beside_the_document_with_the_same_seeds() -> None:
    def trained(accuracy: float, loss: float, probability: float, seconds: float) -> scratch.EngineRun:
        return scratch.EngineRun({"accuracy": accuracy, "log_loss": loss}, np.array([0.5, probability]), seconds)

    base = [scratch.Pair(trained(0.8, loss, 0.5, 1.0), trained(0.8, loss, 0.5, 1.0)) for loss in (0.5, 0.4, 0.3)]
    first = scratch.Pair(trained(0.8, 0.3, 0.25, 1.0), trained(0.9, 0.4, 0.5, 4.0))
    second = scratch.Pair(trained(0.6, 0.1, 0.5, 2.0), trained(0.7, 0.2, 0.5, 4.0))
    third = scratch.Pair(trained(0.7, 0.4, 0.5, 2.0))
    scores, seconds = (sheet.rows for sheet in scratch.sheets({scratch.BASE: base, "x": [first, second, third]}, 100))
    assert scores[0].cells[2:] == (None, None)
    assert scores[1].cells[0] == spread([0.8, 0.6, 0.7])
    assert scores[1].cells[2] == spread([0.3 - 0.5, 0.1 - 0.4, 0.4 - 0.3])
    assert scores[1].cells[3] == "2 of 3"
    assert seconds[1].cells == (spread([1, 2]), spread([4, 4]), spread([4, 2]), "2.5e-01")
