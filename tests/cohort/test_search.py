"""Configs to try: in the order of a grid, or random ones, the same again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tabcohort import Config, SettingsError, TabcohortWarning
from tabcohort.cohort import search
from tabcohort.cohort.search import grid, grid_from_toml, random_configs
from tabcohort.settings import unused_names, without_unused

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
        ({"droput": []}, "^there is no setting 'droput'"),  # not that it has no value
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


@pytest.fixture(scope="module")
def many() -> list[Config]:
    """Random configs of all models, as many as their distributions are tested on."""
    return random_configs(800, BASE)[1:]


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


def used_values(configs: list[Config], name: str, *models: str) -> list[Any]:
    """Return the values of a setting in the configs that use it, of some models if these are given."""
    used = (config for config in configs if name not in unused_names(config))
    return [getattr(config, name) for config in used if not models or config.model in models]


@pytest.mark.parametrize(
    ("name", "models", "low", "high"),
    [
        ("learning_rate", ("mlp", "residual"), 3e-4, 1e-2),
        ("learning_rate", ("logistic",), 1e-3, 1e-1),
        ("weight_decay", (), 1e-6, 1e-1),
        ("l2_regularization", (), 1e-2, 10.0),
        ("shrinkage", (), 0.03, 0.2),
    ],
)
def test_random_rates_and_decays_are_spread_evenly_over_magnitudes(
    many: list[Config], name: str, models: tuple[str, ...], low: float, high: float
) -> None:
    values = used_values(many, name, *models)
    near = (high / low) ** (5 / len(values))  # no value is so near to an end once in e^5 samples
    assert low <= min(values) <= low * near < high / near <= max(values) <= high
    assert stats.kstest(values, stats.loguniform(low, high).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    "name",
    ["hidden", "activation", "dropout", "batch_norm", "batch_size", "schedule", "max_leaf_nodes", "min_samples_leaf",
     "max_features"],
)  # fmt: skip
def test_random_choices_have_values_that_are_equally_likely(many: list[Config], name: str) -> None:
    assert stats.chisquare(list(Counter(used_values(many, name)).values())).pvalue > 0.01


@pytest.mark.parametrize(
    ("name", "value", "share"),
    [
        ("model", "mlp", 0.4),
        ("mixup_alpha", 0.0, 0.5),
        ("mixup_alpha", 0.4, 0.25),
        ("bins", 0, 0.4),
        ("bins", 16, 0.4),
    ],
)
def test_random_choices_prefer_what_suits_most_tables(many: list[Config], name: str, value: Any, share: float) -> None:
    values = used_values(many, name)
    assert stats.binomtest(values.count(value), len(values), share).pvalue > 0.01


def test_random_sizes_are_powers_of_two_and_networks_do_not_widen(many: list[Config]) -> None:
    sizes = {size for name in ("batch_size", "bins") for size in used_values(many, name)} - {"auto", 0}
    sizes |= {width for widths in used_values(many, "hidden") for width in widths}
    sizes |= {leaves + 1 for leaves in used_values(many, "max_leaf_nodes")}  # one less, like the usual 31
    assert {size for size in sizes if size < 8 or size.bit_count() > 1} == set()
    assert all(widths == tuple(sorted(widths, reverse=True)) for widths in used_values(many, "hidden"))


@pytest.mark.parametrize(("name", "offset"), [("mixup_alpha", 0), ("min_samples_leaf", 0), ("max_leaf_nodes", 1)])
def test_random_strengths_and_leaves_double_from_one_to_the_next(many: list[Config], name: str, offset: int) -> None:
    values = np.array(sorted(set(used_values(many, name)) - {0.0})) + offset
    assert values[1:] == pytest.approx(2 * values[:-1])


@pytest.mark.parametrize("name", ["dropout", "max_features"])
def test_random_shares_are_closer_together_where_they_are_small(many: list[Config], name: str) -> None:
    steps = np.diff(sorted(set(used_values(many, name))))
    assert (np.diff(steps) > -1e-9).all()


def test_there_may_be_as_many_random_configs_as_can_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_CONFIGS", 20)
    assert len(random_configs(20, BASE)) == 20


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_a_number_of_configs_that_cannot_be_tried_is_an_error(number: int) -> None:
    with pytest.raises(SettingsError, match=f"^the number of configs must be from 1 to 10,000; it is {number}$"):
        random_configs(number, BASE)
