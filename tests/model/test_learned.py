"""What a model has learned of a table in which it is known what there is to learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from tabcohort import CohortSettings, Config, Predictor, Table, fit
from tabcohort.model.learned import N_EFFECTS, learned_facts

N = 400


def planted_frame(n_rows: int = N, seed: int = 0) -> pl.DataFrame:
    """Return a frame: a size in two units, a kind that matters, and noise."""
    rng = np.random.default_rng(seed)
    size, kind = rng.normal(size=n_rows), rng.integers(0, 3, n_rows)
    score = 2 * size + np.array([-1.5, 0.0, 1.5])[kind]
    return pl.DataFrame(
        {
            "metres": size, "kind": np.array(["low", "middle", "high"])[kind],
            "feet": 3.28084 * size + rng.normal(scale=1e-3, size=n_rows), "noise": rng.normal(size=n_rows),
            "answer": np.where(rng.random(n_rows) < 1 / (1 + np.exp(-score)), "yes", "no"),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> tuple[Predictor, Table]:
    table = Table.from_frame(planted_frame(), "answer")
    return fit(table, Config(model="logistic", learning_rate=0.05, max_epochs=40), CohortSettings(folds=4)), table


@pytest.fixture(scope="module")
def learned(planted: tuple[Predictor, Table]) -> dict[str, Any]:
    return learned_facts(*planted)


def test_facts_are_plain_json_values(learned: dict[str, Any]) -> None:
    assert json.loads(json.dumps(learned, allow_nan=False)) == learned
    assert (learned["score"], learned["n_rows"]) == ("log odds", N)


def test_columns_that_repeat_each_other_are_named_and_first_together(learned: dict[str, Any]) -> None:
    by_name = {tuple(own["columns"]): own["log_loss"] for own in learned["importances"]}
    assert set(by_name) == {("metres",), ("kind",), ("feet",), ("noise",), ("metres", "feet")}
    assert learned["importances"][0]["columns"] == ["metres", "feet"]
    assert by_name["metres", "feet"]["value"] > by_name["metres",]["value"] + by_name["feet",]["value"]
    assert by_name["kind",]["low"] > 0
    assert by_name["noise",]["low"] < 0 < by_name["noise",]["high"]
    values = [own["log_loss"]["value"] for own in learned["importances"]]
    assert values == sorted(values, reverse=True)


def test_effects_are_of_the_strongest_and_of_one_of_those_that_repeat_each_other(learned: dict[str, Any]) -> None:
    size, kind, noise = learned["effects"]
    assert size["column"] in ("metres", "feet")
    assert (kind["column"], noise["column"]) == ("kind", "noise")
    assert (size["class"], size["is_number"], size["share"]) == ("yes", True, None)
    assert size["x"] == sorted(size["x"])
    assert np.all(np.diff(size["value"]) > 0)
    height = dict(zip(kind["x"], kind["value"], strict=True))
    assert height["low"] < height["middle"] < height["high"]
    assert sum(kind["share"]) == pytest.approx(1)
    assert np.ptp(noise["value"]) < np.ptp(kind["value"]) / 3
    for own in learned["effects"]:
        low, value, high = (np.array(own[name]) for name in ("low", "value", "high"))
        assert np.all((low <= value) & (value <= high))


def test_interactions_of_a_nearly_additive_model_are_weak(learned: dict[str, Any]) -> None:
    assert len(learned["interactions"]) == 3
    assert all(own["share"] < 0.01 for own in learned["interactions"])
    strengths = [own["strength"] for own in learned["interactions"]]
    assert strengths == sorted(strengths, reverse=True)
    heat_map = learned["heat_map"]
    assert heat_map["columns"] == learned["interactions"][0]["columns"]
    assert np.shape(heat_map["value"]) == (len(heat_map["y"]), len(heat_map["x"]))


def test_a_model_of_three_classes_and_a_single_column_has_facts() -> None:
    frame = planted_frame().select("metres", answer=pl.Series([str(i % 3) for i in range(N)]))
    table = Table.from_frame(frame, "answer")
    predictor = fit(table, Config(model="logistic", max_epochs=3), CohortSettings(folds=3))
    facts = learned_facts(predictor, table)
    assert facts["score"] == "log probability minus the mean over classes"
    assert facts["effects"][0]["class"] in ("0", "1", "2")
    assert (facts["interactions"], facts["heat_map"]) == ([], None)


def test_a_table_of_many_columns_has_few_effects() -> None:
    rng = np.random.default_rng(1)
    table = Table.from_arrays(rng.normal(size=(60, 12)), np.arange(60) % 2)
    predictor = fit(table, Config(model="logistic", max_epochs=2), CohortSettings(folds=3))
    facts = learned_facts(predictor, table)
    assert (len(facts["importances"]), len(facts["effects"])) == (12, N_EFFECTS)
