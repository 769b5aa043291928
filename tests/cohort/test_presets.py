"""Presets: what is tried where a person names no network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL, config_of, make_small_table

from tabcohort import CohortSettings, Config, SettingsError, TabcohortWarning, Table, fit
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.presets import PRESETS, RUN_SETTINGS, preset_cohort, preset_configs
from tabcohort.network.program import Network
from tabcohort.settings import KINDS, PRESET_NAMES


@pytest.mark.parametrize("preset", PRESETS)
def test_the_configs_of_a_preset_differ_and_each_has_a_reason(preset: str) -> None:
    configs = {str(Config(**candidate.changes)) for candidate in PRESETS[preset]}
    assert len(configs) == len(PRESETS[preset])
    assert all(candidate.reason for candidate in PRESETS[preset])
    assert not any(RUN_SETTINGS.intersection(candidate.changes) for candidate in PRESETS[preset])


def test_best_tries_what_the_default_tries_and_more() -> None:
    assert set(map(str, preset_configs("default"))) < set(map(str, preset_configs("best")))


def test_trees_are_left_out_where_there_are_many_classes() -> None:
    for preset in PRESETS:
        assert "trees" in {config.model for config in preset_configs(preset, n_classes=20)}
        assert "trees" not in {config.model for config in preset_configs(preset, n_classes=21)}
    table = make_small_table()
    labels = np.arange(len(table.y)) % 21
    plan = make_plan(Table.from_arrays(table.X, labels), settings=replace(SMALL, preset="fast"))
    assert [config.model for config in plan.configs] == ["logistic", "mlp"]


def test_wide_tables_have_no_bins_and_the_widest_are_linear() -> None:
    for preset in PRESETS:
        some, many, most = (preset_configs(preset, n_inputs=n_inputs) for n_inputs in (2_000, 2_001, 20_001))
        assert any(config.bins for config in some)
        assert not any(config.bins for config in many)
        assert {config.model for config in many} > {config.model for config in most} == {"logistic"}


def test_many_rows_have_trees_with_more_leaves_and_many_classes_a_wider_network() -> None:
    few, some, many = (preset_configs("default", n_rows=n_rows) for n_rows in (1_000, 5_000, 5_001))
    trees = [config for configs in (few, some, many) for config in configs if config.model == "trees"]
    assert [(config.shrinkage, config.max_leaf_nodes) for config in trees] == [(0.2, 15), (0.05, 15), (0.05, 31)]
    assert len(many) == len(some) == len(few) == 4
    widest = [
        max(config.hidden for config in preset_configs("default", n_classes=n_classes) if config.model == "mlp")
        for n_classes in (10, 11)
    ]
    assert widest == [(128, 64), (256, 128)]
    table = make_small_table()
    rows = np.arange(5_001) % len(table.y)
    plan = make_plan(Table.from_arrays(table.X[rows], table.y[rows]), settings=replace(SMALL, preset="default"))
    assert list(plan.configs) == many


def test_kinds_of_candidates_can_be_left_out() -> None:
    for preset in PRESETS:
        models = {kind: [config.model for config in preset_configs(preset, kinds=kind)] for kind in KINDS}
        assert models["networks"] == [model for model in models["all"] if model != "trees"] != models["all"]
        assert set(models["linear"]) == {"logistic"}
    configs, _ = preset_cohort(make_small_table(), Config(), CohortSettings(kinds="linear"))
    assert configs == preset_configs("default", kinds="linear")


def test_what_says_nothing_of_the_network_is_kept() -> None:
    base = Config(seed=7, positive="yes", class_weight="balanced", monitor="accuracy", dropout=0.7)
    for config in preset_configs("default", base):
        assert {name: getattr(config, name) for name in RUN_SETTINGS} == {
            name: getattr(base, name) for name in RUN_SETTINGS
        }
        assert config.dropout != 0.7


def test_an_unknown_preset_is_named_with_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match=r"there is no preset 'bets' \(did you mean 'best'\?\); they are fast, def"):
        preset_configs("bets")
    with pytest.raises(SettingsError, match="'preset' must be"):
        CohortSettings(preset="bets")


def test_no_config_of_a_preset_is_dropped_and_best_has_more_networks() -> None:
    _, settings = preset_cohort(make_small_table(), Config(), CohortSettings(preset="best", folds=5))
    assert (settings.halving, settings.seeds, settings.folds) == (False, 2, 5)
    assert preset_cohort(make_small_table(), Config(), CohortSettings(seeds=4, preset="best"))[1].seeds == 4
    assert preset_cohort(make_small_table(), Config(), CohortSettings())[1].seeds is None
    fast = preset_cohort(make_small_table(), Config(), CohortSettings(preset="fast"))[1]
    assert (fast.folds, fast.seeds) == (4, 1)
    assert preset_cohort(make_small_table(), Config(), CohortSettings(preset="fast", folds=8))[1].folds == 8


def test_without_a_preset_the_config_is_tried_alone() -> None:
    config, settings = Config(seed=3), CohortSettings(preset=None)
    assert preset_cohort(make_small_table(), config, settings) == ([config], settings)


def test_a_plan_without_configs_has_those_of_the_preset() -> None:
    table = make_small_table()
    plan = make_plan(table, settings=replace(SMALL, preset="fast"))
    assert list(plan.configs) == preset_configs("fast")
    assert not plan.settings.halving
    assert make_plan(table, settings=replace(SMALL, preset=None)).configs == (Config(),)
    assert make_plan(table, Config(), SMALL).configs == (Config(),)


@pytest.mark.parametrize(("n_configs", "n_seeds"), [(1, 5), (2, 3), (5, 1), (20, 1)])
def test_configs_share_the_seeds_so_that_an_ensemble_is_as_large_as_one_config_alone(
    n_configs: int, n_seeds: int
) -> None:
    configs = [config_of(dropout=number / 100) for number in range(n_configs)]
    assert len(make_plan(make_small_table(), configs).splitters) == n_seeds


def test_the_figures_of_a_preset_are_out_of_fold() -> None:
    predictor = fit(make_small_table(), settings=replace(SMALL, preset="fast"))
    report = predictor.report
    assert [config.config for config in report.configs] == preset_configs("fast")
    assert sum(config.weight for config in report.configs) == pytest.approx(1)
    assert len(predictor.out_of_fold.y) == report.n_rows
    assert np.isfinite(report.evaluation.metrics["log_loss"].value)


def test_the_names_of_presets_are_those_of_the_settings() -> None:
    assert tuple(PRESETS) == PRESET_NAMES


def test_a_table_without_numbers_has_a_portfolio_too() -> None:
    rng = np.random.default_rng(0)
    frame = {f"answer {i}": rng.choice(["never", "often", "always"], 90) for i in range(5)}
    frame["y"] = rng.choice(["no", "yes"], 90)
    predictor = fit(Table.from_frame(frame, "y"), settings=replace(SMALL, preset="fast"))
    networks = [model for model in predictor.models if isinstance(model, Network)]
    assert all(network.program.n_bins == 0 for network in networks)


def test_a_preset_is_resumed_from_a_checkpoint_to_the_same_bits(tmp_path: Path) -> None:
    table, settings = make_small_table(), replace(SMALL, preset="fast")
    whole = fit(table, settings=settings, checkpoint=tmp_path)
    with pytest.warns(TabcohortWarning, match="resuming from the checkpoint"):
        again = fit(table, settings=settings, checkpoint=tmp_path)
    np.testing.assert_array_equal(again.out_of_fold.log_proba, whole.out_of_fold.log_proba)


def test_a_preset_with_a_budget_trains_its_first_config_to_the_end() -> None:
    with pytest.warns(TabcohortWarning, match="the budget of seconds is spent"):
        predictor = fit(make_small_table(), settings=replace(SMALL, preset="fast", budget_seconds=1e-6))
    assert predictor.report.members
