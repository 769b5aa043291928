"""Configs to try: in the order of a grid, or random ones, the same again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tabcohort import Config, SettingsError, TabcohortWarning
from tabcohort.cohort import search
from tabcohort.cohort.search import grid, grid_from_toml, random_configs
from tabcohort.settings import without_unused

BASE = Config(hidden=(8,), max_epochs=3, seed=5)


# Grids


def test_the_last_name_of_a_grid_varies_fastest() -> None:
    configs = grid({"dropout": [0.1, 0.2, 0.3], "model": ["mlp", "residual"]}, BASE)
    assert configs == [
        replace(BASE, dropout=dropout, model=model) for dropout in (0.1, 0.2, 0.3) for model in ("mlp", "residual")
    ]


def test_an_empty_grid_is_the_base_alone() -> None:
    assert grid({}, BASE) == [BASE]


def test_a_name_of_a_grid_may_have_one_value() -> None:
    assert grid({"dropout": 0.3, "model": "residual"}, BASE) == [replace(BASE, dropout=0.3, model="residual")]


@pytest.mark.parametrize(
    ("value", "widths"),
    [
        ([16, 4], [(16, 4)]),
        ([[16, 4], [8]], [(16, 4), (8,)]),
        ([[16, 4]], [(16, 4)]),
        ([], [()]),
        ([[], [8]], [(), (8,)]),
    ],
)
def test_widths_are_a_list_already_and_several_are_a_list_of_lists(value: object, widths: object) -> None:
    assert [config.hidden for config in grid({"hidden": value}, BASE)] == widths


def test_class_weights_of_the_base_stay() -> None:
    base = replace(BASE, class_weight={"no": 1.0, "yes": 3.0})
    assert [config.class_weight for config in grid({"dropout": [0.1, 0.2]}, base)] == [base.class_weight] * 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"droput": [0.1]},
            r"^there is no setting 'droput' \(did you mean 'dropout'\?\)$",
        ),
        ({"folds": [3]}, "^'folds' is a setting of a whole cohort: give it to CohortSettings, or as an option"),
        ({"model": "mlp", "dropout": []}, "^the grid has no value for 'dropout'; give one, or leave the name out$"),
        ({"dropout": [0.1, 1.5]}, r"^the setting 'dropout' must be a number in \[0, 1\); it is 1.5$"),
        (
            {"model": ["mlp", "tree"]},
            "^the setting 'model' must be 'logistic' or 'mlp' or 'residual' or 'trees'; it is 'tree'$",
        ),
        (
            {"dropout": np.linspace(0, 0.9, 101).tolist(), "label_smoothing": np.linspace(0, 0.9, 100).tolist()},
            "^the grid has 10,100 combinations, and at most 10,000 can be tried$",
        ),
    ],
)
def test_a_grid_that_cannot_be_tried_is_an_error(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        grid(values, BASE)


def test_a_grid_may_have_as_many_configs_as_can_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_CONFIGS", 100)
    shares = np.linspace(0, 0.9, 10).tolist()
    assert len(grid({"dropout": shares, "label_smoothing": shares}, BASE)) == 100


def test_a_file_is_the_grid_of_its_values(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text('hidden = [[16, 4], [8]]\npatience = ["none", 4]\ndropout = 0.3\n', encoding="utf-8")
    values = {"hidden": [[16, 4], [8]], "patience": [None, 4], "dropout": 0.3}
    assert grid_from_toml(path, BASE) == grid(values, BASE)


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^there is no grid '.*none.toml'$"):
        grid_from_toml(tmp_path / "none.toml", BASE)


@pytest.mark.parametrize("content", [b"dropout 0.3", b"dropout = [0.1", b"model = '\xff'"])
def test_a_file_that_is_not_toml_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "grid.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^the grid '.*grid.toml' is not valid TOML: "):
        grid_from_toml(path, BASE)


# Configs that are the same network


SAME = r"^left out, as they differ from another config only in settings that .* do not use: {} of {} configs$"


def test_combinations_that_differ_only_in_what_is_not_used_are_one_config() -> None:
    with pytest.warns(TabcohortWarning, match=SAME.format(3, 8)):
        configs = grid({"model": ["logistic", "mlp"], "dropout": [0.2, 0.3], "hidden": [[8], [4]]}, BASE)
    logistic = replace(BASE, model="logistic", hidden=Config().hidden)
    networks = [replace(BASE, dropout=dropout, hidden=hidden) for dropout in (0.2, 0.3) for hidden in ((8,), (4,))]
    assert configs == [logistic, *networks]


def test_random_configs_that_are_the_same_are_tried_once() -> None:
    drawn = {"hidden", "dropout", "learning_rate", "weight_decay", "batch_size", "mixup_alpha", "schedule", "bins"}
    base = replace(BASE, model="residual")
    with pytest.warns(TabcohortWarning, match=SAME.format(9, 10)):  # activation and batch_norm are left to draw
        assert random_configs(10, base, {"model", *drawn}) == [base]


def test_random_configs_hold_the_default_of_what_they_do_not_use() -> None:
    for config in random_configs(60, BASE):
        assert config == without_unused(config)
    assert {config.activation for config in random_configs(60, BASE) if config.model != "mlp"} == {"relu"}


# Random configs


def test_random_configs_begin_with_the_base_and_are_the_same_however_many_there_are() -> None:
    many = random_configs(40, BASE)
    assert many[0] == BASE
    assert random_configs(40, BASE) == many
    assert random_configs(7, BASE) == many[:7]
    assert random_configs(1, BASE) == [BASE]
    assert len({str(config) for config in many}) == 40


def test_random_configs_of_another_seed_are_others() -> None:
    ours, others = random_configs(10, BASE)[1:], random_configs(10, replace(BASE, seed=6))[1:]
    assert not {str(replace(config, seed=0)) for config in ours} & {str(replace(config, seed=0)) for config in others}


def test_random_configs_change_what_the_documentation_says_and_nothing_else() -> None:
    changed = {
        name
        for config in random_configs(60, BASE)
        for name, value in config.to_dict().items()
        if value != BASE.to_dict()[name]
    }
    assert changed == {
        "model", "hidden", "activation", "dropout", "batch_norm", "learning_rate", "weight_decay", "batch_size",
        "mixup_alpha", "schedule", "bins", "max_leaf_nodes", "min_samples_leaf", "max_features", "l2_regularization",
        "shrinkage",
    }  # fmt: skip


def test_names_that_are_fixed_are_those_of_the_base() -> None:
    fixed = ("model", "dropout", "hidden")
    for config, free in zip(random_configs(30, BASE, fixed)[1:], random_configs(30, BASE)[1:], strict=True):
        assert [getattr(config, name) for name in fixed] == [getattr(BASE, name) for name in fixed]
        if free.model != "trees":
            assert (config.weight_decay, config.batch_size) == (free.weight_decay, free.batch_size)


def test_a_fixed_model_has_the_learning_rates_of_its_kind() -> None:
    """Logistic models have rates from another range, and a network's base must not get these."""
    rates = {
        model: [config.learning_rate for config in random_configs(200, replace(BASE, model=model), ("model",))[1:]]
        for model in ("mlp", "logistic")
    }
    assert max(rates["mlp"]) <= 1e-2 < max(rates["logistic"])
    assert min(rates["mlp"]) < 1e-3 <= min(rates["logistic"])


def test_random_rates_and_decays_are_spread_evenly_over_magnitudes() -> None:
    configs = [config for config in random_configs(800, BASE)[1:] if config.model != "trees"]
    rates = np.log10([config.learning_rate for config in configs if config.model != "logistic"])
    decays = np.log10([config.weight_decay for config in configs])
    for values, low, high in ((rates, np.log10(3e-4), -2.0), (decays, -6.0, -1.0)):
        assert low - 0.03 <= values.min() <= values.max() <= high + 0.03  # two digits are kept
        assert np.histogram(values, 4, (low, high))[0].min() > len(values) / 4 * 0.7


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_a_number_of_configs_that_cannot_be_tried_is_an_error(number: int) -> None:
    with pytest.raises(SettingsError, match=f"^the number of configs must be from 1 to 10,000; it is {number}$"):
        random_configs(number, BASE)
