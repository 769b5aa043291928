"""Configs and settings: what is allowed, what the message says of the rest, and how they come from dicts and TOML."""

import copy
import inspect
import json
import math
import pickle
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, make_small_table
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort import fit
from tabcohort.cohort.presets import RUN_SETTINGS
from tabcohort.data.recognize import KINDS
from tabcohort.errors import SettingsError, TabcohortError
from tabcohort.evaluation.metrics import METRICS
from tabcohort.settings import (
    COLUMN_TYPES,
    ONLY_OF_TREES,
    CohortSettings,
    Config,
    Rule,
    read_settings,
    read_toml,
    rules,
    unused_names,
    without_unused,
)

SHARE = st.floats(0, 0.9)
VALID = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["logistic", "mlp", "residual"]),
        "hidden": st.lists(st.integers(1, 512), max_size=3).map(tuple),
        "activation": st.sampled_from(["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "mish", "selu"]),
        "dropout": SHARE,
        "batch_norm": st.booleans(),
        "scaling": st.sampled_from(["standard", "robust", "quantile"]),
        "periodic": st.integers(0, 100),
        "input_scale": st.booleans(),
        "weight_init": st.sampled_from(["glorot_uniform", "lecun_normal"]),
        "bias_rate_factor": st.floats(0, 10),
        "scale_rate_factor": st.floats(0, 10),
        "class_weight": st.none() | st.just("balanced") | st.dictionaries(st.text(), st.floats(0.1, 10)),
        "label_smoothing": SHARE,
        "optimizer": st.sampled_from(["sgd", "adam", "adamw"]),
        "learning_rate": st.floats(0, 10),
        "clip_norm": st.none() | st.floats(0.01, 10),
        "batch_size": st.sampled_from(["auto", "full"]) | st.integers(1, 10**6),
        "patience": st.none() | st.integers(1, 100),
        "monitor": st.sampled_from(list(METRICS)),
        "positive": st.none() | st.text() | st.booleans() | st.floats(-9, 9),
        "seed": st.integers(0, 2**53),
        "validation_fraction": st.floats(0.01, 0.45),
        "test_fraction": st.floats(0.01, 0.45),
    },
)

REFUSED: list[tuple[str, Any]] = [
    ("model", "forest"),
    ("model", None),
    ("hidden", (0,)),
    ("hidden", (10_001,)),
    ("hidden", [10**9]),
    ("hidden", (2.5,)),
    ("hidden", 64),
    ("hidden", "64"),
    ("activation", "elu"),
    ("scaling", "minmax"),
    ("periodic", 101),
    ("periodic_scale", 0),
    ("input_scale", 1),
    ("weight_init", "he"),
    ("bias_rate_factor", -0.1),
    ("scale_rate_factor", None),
    ("dropout_schedule", "cosine"),
    ("decay_schedule", None),
    ("dropout", 1.0),
    ("dropout", -0.1),
    ("dropout", math.nan),
    ("dropout", True),
    ("batch_norm", "yes"),
    ("batch_norm", None),
    ("class_weight", "heavy"),
    ("class_weight", {"a": 0.0}),
    ("class_weight", {"a": math.inf}),
    ("label_smoothing", 1),
    ("optimizer", "lion"),
    ("learning_rate", -1e-9),
    ("learning_rate", math.inf),
    ("learning_rate", "fast"),
    ("momentum", 1.0),
    ("beta1", 1),
    ("beta2", -0.5),
    ("epsilon", 0),
    ("weight_decay", -1),
    ("clip_norm", 0),
    ("schedule", "linear"),
    ("schedule_factor", 0),
    ("schedule_factor", 1.1),
    ("schedule_patience", -1),
    ("schedule_every", 0),
    ("batch_size", 0),
    ("batch_size", 2.0),
    ("batch_size", "half"),
    ("mixup_alpha", -0.2),
    ("mixup_probability", 1.5),
    ("max_epochs", 0),
    ("max_epochs", 2.5),
    ("patience", 0),
    ("monitor", "auc"),
    ("validation_fraction", 0),
    ("test_fraction", 1),
    ("positive", math.nan),
    ("positive", ("a",)),
    ("seed", -1),
    ("seed", 2**63),
    ("seed", True),
    ("engine", "jax"),
    ("device", "tpu"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_value_that_breaks_its_rule_is_named_with_the_rule(name: str, value: object) -> None:
    message = f"the setting {name!r} must be {rules()[name].describe()}; it is {value!r}"
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        Config(**{name: value})


@pytest.mark.parametrize("value", [0, 1, 17, 0.5])
def test_a_number_is_not_a_boolean(value: float) -> None:
    with pytest.raises(SettingsError, match="the setting 'batch_norm' must be True or False; it is"):
        Config(batch_norm=value)  # type: ignore[arg-type]


def test_the_largest_seed_is_allowed() -> None:
    assert Config(seed=2**63 - 1).seed == 2**63 - 1


@pytest.mark.parametrize("name", ["learning_rate", "max_epochs", "momentum", "clip_norm"])
def test_an_integer_beyond_every_float_is_handled_like_any_number(name: str) -> None:
    if name == "max_epochs":
        assert Config(max_epochs=10**400).max_epochs == 10**400
    else:
        with pytest.raises(SettingsError, match=f"the setting '{name}' must be a (finite )?number "):
            Config(**{name: 10**400})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model", "'logistic' or 'mlp' or 'residual' or 'trees'"),
        ("dropout", "a number in [0, 1)"),
        ("epsilon", "a finite number above 0"),
        ("learning_rate", "a finite number of at least 0"),
        ("batch_norm", "True or False"),
        ("batch_size", "'auto' or 'full' or a whole number of at least 1"),
        ("clip_norm", "a finite number above 0 or None"),
        ("hidden", "a sequence of at most 1,000 positive whole numbers such as (256, 128), each at most 10,000"),
        ("class_weight", "'balanced' or a mapping of class label to positive weight or None"),
        ("positive", "a class label or None"),
    ],
)
def test_rules_are_described_in_words(name: str, words: str) -> None:
    assert rules()[name].describe() == words


def test_validation_and_test_fractions_must_leave_rows_to_train() -> None:
    with pytest.raises(SettingsError, match=r"must leave rows to train on: their sum is 1\.1, make it less than 1"):
        Config(validation_fraction=0.5, test_fraction=0.6)


def test_hidden_widths_become_a_tuple_of_plain_integers() -> None:
    assert Config(hidden=[32, 16]).hidden == (32, 16)  # type: ignore[arg-type]


def test_settings_errors_are_value_errors_of_one_family() -> None:
    assert issubclass(SettingsError, TabcohortError)
    assert issubclass(TabcohortError, ValueError)


@pytest.mark.parametrize("monitor", METRICS)
def test_losses_are_better_when_lower_and_all_else_when_higher(monitor: str) -> None:
    assert Config(monitor=monitor).lower_is_better == (monitor in ("log_loss", "brier", "ece"))


@given(VALID)
@hypothesis_settings(max_examples=60, deadline=None)
def test_configs_survive_a_trip_through_json(values: dict[str, Any]) -> None:
    config = Config(**values)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_class_weights_of_labels_that_are_not_text_survive_json() -> None:
    config = Config(class_weight={0: 1.0, 1: 2.5})
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))).class_weight == {0: 1.0, 1: 2.5}


def test_an_unknown_setting_is_an_error_that_offers_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"there is no setting 'drop_out' \(did you mean 'dropout'\?\)"):
        Config.from_dict({"drop_out": 0.1})
    with pytest.raises(SettingsError, match=r"^there is no setting 'learning_rat' \(did you mean 'learning_rate'\?\)$"):
        Config(learning_rat=1)  # type: ignore[call-arg]
    with pytest.raises(SettingsError, match=r"^there is no setting 'zzz'; there are model, hidden, .*, seed"):
        replace(Config(), zzz=1)  # type: ignore[call-arg]


def test_configs_are_a_dataclass_like_any_other() -> None:
    config = Config("residual", dropout=0.2)
    assert list(inspect.signature(Config).parameters) == [field.name for field in fields(Config)]
    assert inspect.signature(Config).parameters["dropout"].default == 0.1
    assert replace(config, dropout=0.3) == Config(model="residual", dropout=0.3)
    assert pickle.loads(pickle.dumps(config)) == copy.copy(config) == config
    with pytest.raises(TypeError, match="multiple values for argument 'model'"):
        Config("mlp", model="mlp")  # type: ignore[misc]


def test_a_toml_file_gives_a_config_and_overrides_take_precedence(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('model = "residual"\nhidden = [8, 4]\ndropout = 0.3\n[class_weight]\nyes = 2.0\n', encoding="utf-8")
    assert Config.from_toml(path) == Config(model="residual", hidden=(8, 4), dropout=0.3, class_weight={"yes": 2.0})
    assert Config.from_toml(path, dropout=0.5, model=None) == Config(
        model="residual", hidden=(8, 4), dropout=0.5, class_weight={"yes": 2.0}
    )


def test_a_settings_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no settings file '.*none\.toml'"):
        Config.from_toml(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"^the settings file 'x+' cannot be read: File name too long$"):
        Config.from_toml(300 * "x")


@pytest.mark.parametrize("content", [b"model = ", b"model = \xff"])
def test_a_settings_file_that_is_not_toml_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"the settings file '.*run\.toml' is not valid TOML: "):
        Config.from_toml(path)


def test_a_folder_in_place_of_a_settings_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the settings file .* cannot be read"):
        Config.from_toml(tmp_path)


def test_numpy_scalars_become_plain_values() -> None:
    config = Config(
        seed=np.int64(3),
        max_epochs=np.int32(2),
        dropout=np.float32(0.25),
        batch_norm=np.bool_(True),  # type: ignore[arg-type]
        positive=np.str_("yes"),
        class_weight={np.int64(0): np.float64(2.0)},
        hidden=(np.int64(8), np.int32(4)),
    )
    plain = Config(
        seed=3, max_epochs=2, dropout=0.25, batch_norm=True, positive="yes", class_weight={0: 2.0}, hidden=(8, 4)
    )
    assert config == plain
    assert json.dumps(config.to_dict()) == json.dumps(plain.to_dict())
    assert type(config.batch_norm) is bool


def test_none_in_words_is_none_where_none_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('patience = "none"\nclip_norm = "none"\nclass_weight = "none"\n', encoding="utf-8")
    config = Config.from_toml(path)
    assert (config.patience, config.clip_norm, config.class_weight) == (None, None, None)
    for name in ("model", "max_epochs", "batch_size"):
        with pytest.raises(SettingsError, match=f"the setting '{name}' must be .*; it is 'none'"):
            Config(**{name: "none"})


def test_class_weights_that_are_no_pairs_are_an_error() -> None:
    with pytest.raises(SettingsError, match="the setting 'class_weight' must be a table of label = weight"):
        Config.from_dict({"class_weight": [1, 2]})


# Settings of a cohort


COHORT_REFUSED: list[tuple[str, Any]] = [
    ("folds", 0),
    ("folds", 2.5),
    ("folds", "many"),
    ("seeds", 0),
    ("seeds", True),
    ("halving", 1),
    ("halving", None),
    ("budget_seconds", 0),
    ("budget_seconds", math.nan),
    ("budget_seconds", "an hour"),
    ("coverage", 0),
    ("coverage", 1),
    ("coverage", None),
    ("threshold", ["f1"]),
    ("threads", 0),
    ("threads", 1.0),
]


@pytest.mark.parametrize(("name", "value"), COHORT_REFUSED)
def test_a_value_of_a_cohort_that_breaks_its_rule_is_named_with_the_rule(name: str, value: object) -> None:
    message = f"the setting {name!r} must be {rules(CohortSettings)[name].describe()}; it is {value!r}"
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        CohortSettings(**{name: value})


def test_two_folds_leave_no_rows_to_validate_on_and_are_an_error() -> None:
    with pytest.raises(
        SettingsError,
        match=r"^the setting 'folds' must be 1, or 3 and more, as rows train, validate and test in turn; it is 2$",
    ):
        CohortSettings(folds=2)


def test_settings_of_a_cohort_are_plain_values_too() -> None:
    settings = CohortSettings(
        folds=np.int64(3),  # type: ignore[arg-type]
        seeds="none",  # type: ignore[arg-type]
        halving=np.bool_(False),  # type: ignore[arg-type]
        coverage=np.float32(0.5),  # type: ignore[arg-type]
        threshold="sensitivity>=0.9",
    )
    assert settings == CohortSettings(folds=3, halving=False, coverage=0.5, threshold="sensitivity>=0.9")
    assert [type(value) for value in (settings.folds, settings.halving, settings.coverage)] == [int, bool, float]
    assert settings.seeds is None
    assert CohortSettings().folds is CohortSettings().seeds is CohortSettings().threads is None


@pytest.mark.parametrize(
    ("folds", "n_members", "expected"),
    [
        (None, 1, (1, 1)),
        (None, 3, (3, 1)),
        (None, 10, (10, 1)),
        (None, 11, (8, 2)),
        (None, 40, (8, 5)),
        (None, 41, (8, 6)),
        (5, 10, (5, 2)),
        (5, 3, (5, 1)),
        (1, 4, (1, 4)),
    ],
)
def test_a_number_of_members_is_whole_seeds_of_equal_folds(
    folds: int | None, n_members: int, expected: tuple[int, int]
) -> None:
    settings = CohortSettings(folds=folds, coverage=0.8).with_members(n_members)
    assert (settings.folds, settings.seeds, settings.coverage) == (*expected, 0.8)
    assert math.prod(expected) >= n_members


@pytest.mark.parametrize("n_members", [0, 2, -3])
def test_a_cohort_of_two_or_none_is_an_error(n_members: int) -> None:
    message = f"a cohort has 1 member, or 3 and more, as rows train, validate and test in turn; asked for {n_members}"
    with pytest.raises(SettingsError, match=f"^{message}$"):
        CohortSettings().with_members(n_members)


def test_an_unknown_keyword_of_a_cohort_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"there is no setting 'fold' \(did you mean 'folds'\?\)"):
        CohortSettings(fold=5)  # type: ignore[call-arg]


def test_a_setting_in_the_wrong_class_is_sent_to_where_it_belongs() -> None:
    message = "^'folds' is a setting of a whole cohort: give it to CohortSettings, or as an option of the command line$"
    with pytest.raises(SettingsError, match=message):
        Config.from_dict({"folds": 5})
    with pytest.raises(
        SettingsError,
        match=r"^'dropout' is a setting of a config: give it to Config, or as an option of the command line$",
    ):
        CohortSettings(dropout=0.3)  # type: ignore[call-arg]


# Rules


@pytest.mark.parametrize(
    ("rule", "accepted", "refused"),
    [
        (Rule(words=("a", "b")), ["a", "b"], ["c", "", 1, None, True]),
        (Rule(number=int, low=1), [1, 10**400, np.int64(3)], [0, 1.0, True, "1", None]),
        (Rule(number=float, low=0, high=1, high_open=True), [0, 0.5, np.float32(0.5)], [1, -1e-9, math.nan, "0.5"]),
        (Rule(number=float, low=0, low_open=True, none=True), [1e-300, None], [0, -0.0, math.inf]),
        (Rule(number=bool), [True, False], [0, 1, None, "True"]),
        (Rule(special="widths"), [(), (1,), [2, 3]], [(0,), 4, "4", (1.5,)]),
        (Rule(special="label"), ["yes", 1, 0.5, False], [math.nan, ("a",), None]),
        (Rule(special="metric"), list(METRICS), ["loss", 1]),
        (Rule(words=("auto",), number=int, low=1), ["auto", 5], ["full", 0]),
    ],
)
def test_a_rule_accepts_what_it_describes(rule: Rule, accepted: list[Any], refused: list[Any]) -> None:
    assert [rule.accepts(value) for value in accepted] == [True] * len(accepted)
    assert [rule.accepts(value) for value in refused] == [False] * len(refused)


@pytest.mark.parametrize("kind", [Config, CohortSettings])
def test_every_field_has_a_rule_that_its_default_keeps(kind: type) -> None:
    assert list(rules(kind)) == [field.name for field in fields(kind)]
    assert all(rules(kind)[field.name].accepts(field.default) for field in fields(kind))


def test_a_toml_file_is_read_as_what_the_caller_calls_it(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("a = [1, 2]\n", encoding="utf-8")
    assert read_toml(tmp_path / "a.toml", "grid") == {"a": [1, 2]}
    with pytest.raises(SettingsError, match=r"^there is no grid '.*b\.toml'$"):
        read_toml(tmp_path / "b.toml", "grid")


# Settings that a config does not use


def test_a_config_of_trees_uses_nothing_of_networks_and_the_other_way_round() -> None:
    of_networks, of_trees = unused_names(Config(model="trees")), unused_names(Config(mixup_alpha=0.2))
    assert {"hidden", "learning_rate", "dropout", "weight_decay", "batch_size", "bins", "optimizer"} <= of_networks
    assert of_trees >= ONLY_OF_TREES
    assert not of_networks & (
        ONLY_OF_TREES | RUN_SETTINGS - {"engine", "device", "precision"} | {"max_epochs", "patience", "model"}
    )


UNUSED = {"momentum", "schedule_factor", "schedule_patience", "schedule_every", "mixup_probability"}


@pytest.mark.parametrize(
    ("changes", "unused"),
    [
        ({"periodic": 4, "mixup_alpha": 0.2, "schedule": "plateau"}, {"momentum", "schedule_every"}),
        ({"dropout": 0}, {"dropout_schedule", *UNUSED}),
        ({"weight_decay": 0}, {"decay_schedule", *UNUSED}),
        ({}, UNUSED),
        ({"mixup_alpha": 0.2}, {"momentum", "schedule_factor", "schedule_patience", "schedule_every"}),
        ({"mixup_alpha": 0.2, "schedule": "plateau"}, {"momentum", "schedule_every"}),
        ({"mixup_alpha": 0.2, "schedule": "step"}, {"momentum", "schedule_patience"}),
        ({"mixup_alpha": 0.2, "schedule": "exponential"}, {"momentum", "schedule_patience", "schedule_every"}),
        (
            {"mixup_alpha": 0.2, "schedule": "plateau", "optimizer": "sgd"},
            {"beta1", "beta2", "epsilon", "schedule_every"},
        ),
        (
            {"mixup_alpha": 0.2, "schedule": "plateau", "model": "residual"},
            {"activation", "batch_norm", "momentum", "schedule_every"},
        ),
        (
            {"mixup_alpha": 0.2, "schedule": "plateau", "model": "logistic"},
            {"hidden", "activation", "dropout", "dropout_schedule", "batch_norm", "momentum", "schedule_every"},
        ),
        (
            {"mixup_alpha": 0.2, "schedule": "plateau", "hidden": ()},
            {"activation", "dropout", "dropout_schedule", "batch_norm", "momentum", "schedule_every"},
        ),
    ],
)
def test_a_network_names_what_it_does_not_use(changes: dict[str, Any], unused: set[str]) -> None:
    assert unused_names(Config(**changes)) - {"periodic_scale", "scale_rate_factor"} == unused | ONLY_OF_TREES
    assert ("periodic_scale" in unused_names(Config(**changes))) == ("periodic" not in changes)


def test_what_is_not_used_changes_no_network() -> None:
    """Each setting gets another value where it is not used, and training gives the same bits."""
    others = {
        "activation": "tanh", "dropout": 0.4, "batch_norm": True, "hidden": (3,), "momentum": 0.3, "beta1": 0.5,
        "beta2": 0.9, "epsilon": 1e-3, "schedule_factor": 0.9, "schedule_patience": 1, "schedule_every": 3,
        "mixup_probability": 0.9, "max_leaf_nodes": 3, "min_samples_leaf": 2, "max_features": 0.3,
        "l2_regularization": 3.0, "shrinkage": 0.7, "periodic_scale": 3.0, "dropout_schedule": "flat_cosine",
        "scale_rate_factor": 3.0,
    }  # fmt: skip
    for changes in ({"model": "logistic"}, {"model": "residual"}, {"optimizer": "sgd"}, {"hidden": ()}):
        config = Config(**{"hidden": (8,), "max_epochs": 4, "learning_rate": 0.02, **changes})
        different = replace(config, **{name: others[name] for name in unused_names(config)})
        assert different != config
        assert without_unused(different) == without_unused(config)
        one, other = (fit(make_small_table(), changed, SMALL) for changed in (config, different))
        np.testing.assert_array_equal(one.out_of_fold.log_proba, other.out_of_fold.log_proba)


# The types of columns


def test_a_settings_file_may_hold_types_of_columns_beside_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('dropout = 0.3\n[columns]\nzip = "category"\n"a note" = "drop"\n', encoding="utf-8")
    assert read_settings(path) == ({"dropout": 0.3}, {"zip": "category", "a note": "drop"})
    assert Config.from_toml(path) == Config(dropout=0.3)
    path.write_text("dropout = 0.3\n", encoding="utf-8")
    assert read_settings(path) == ({"dropout": 0.3}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[columns]\nzip = "categry"', r"'zip' in '.*' cannot have the type 'categry' \(did you mean 'category'\?\)"),
        ("[columns]\nzip = 3", r"the column 'zip' in '.*' cannot have the type 3; the types are number, category"),
        ("[columns]\nzip = []", r"the column 'zip' in '.*' cannot have the type \[\]; the types are number, category"),
        (
            'columns = "category"',
            r"^'columns' in '.*' must be a table: \[columns\], then a line column = \"type\" each$",
        ),
    ],
)
def test_a_type_that_there_is_not_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "settings.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=words):
        Config.from_toml(tmp_path / "settings.toml")


def test_the_types_in_settings_are_those_that_tables_know() -> None:
    assert set(COLUMN_TYPES) == set(KINDS)


def test_a_network_of_too_many_layers_is_refused_in_a_short_sentence() -> None:
    Config(hidden=(1,) * 1_000)
    with pytest.raises(SettingsError, match=r"^the setting 'hidden' must be a sequence of at most 1,000") as raised:
        Config(hidden=(1,) * 1_000_000)
    assert len(str(raised.value)) < 300
