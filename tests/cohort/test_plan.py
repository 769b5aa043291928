"""The plan of a cohort: which networks there are, on which rows, and what is refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from helpers import SINGLE, SMALL, config_of, noisy_rows, table_of
from streamed_tables import labelled_frame, streamed
from torch import nn

from tabcohort.cohort import plan as plans
from tabcohort.cohort.fit import fit
from tabcohort.cohort.plan import PRODUCTS_PER_CELL, PRODUCTS_PER_ROW, PRODUCTS_PER_TREE, Member, make_plan
from tabcohort.cohort.presets import preset_configs
from tabcohort.cohort.progress import RunProgress
from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.errors import EngineError, SettingsError, TabcohortError, TabcohortWarning, TableError
from tabcohort.settings import CohortSettings, Config
from tabcohort.training.member import with_available_devices
from tabcohort.training.module import train

# Members


def test_members_are_those_of_every_config_repeat_and_fold() -> None:
    configs = [config_of(), config_of(model="logistic")]
    plan = make_plan(table_of(), configs, CohortSettings(folds=3, seeds=2))
    assert [(member.config, member.repeat, member.fold) for member in plan.members] == [
        (config, repeat, fold) for config in range(2) for repeat in range(2) for fold in range(3)
    ]
    assert plan.configs == tuple(configs)
    assert len(plan.splitters) == 2


def test_the_same_member_of_another_config_has_its_number_and_its_rows() -> None:
    plan = make_plan(table_of(), [config_of(), config_of(model="logistic")], CohortSettings(folds=3, seeds=2))
    for member, other in zip(plan.members[:6], plan.members[6:], strict=True):
        assert member.number == other.number == member.repeat * 3 + member.fold
        split, same = plan.split(member), plan.split(other)
        for name in ("train", "validation", "test"):
            assert getattr(split, name).tobytes() == getattr(same, name).tobytes()


def test_a_members_cost_is_that_of_an_epoch_of_its_network() -> None:
    plan = make_plan(table_of(), [config_of(hidden=(8,)), config_of(hidden=(16,)), config_of(model="logistic")], SMALL)
    costs = {member.config: member.cost for member in plan.members}
    n_rows = len(plan.table.y)
    assert costs == {
        number: n_rows * (PRODUCTS_PER_ROW + program.n_products) for number, program in enumerate(plan.programs)
    }
    assert costs[2] < costs[0] < costs[1]


@pytest.mark.parametrize(("n_classes", "n_outputs"), [(2, 1), (3, 3)])
def test_boosted_trees_cost_what_their_rows_and_inputs_do_for_each_output(n_classes: int, n_outputs: int) -> None:
    plan = make_plan(table_of(90, n_classes), config_of(model="trees"), SMALL)
    assert plan.engines == ("scikit-learn",)
    expected = n_outputs * (PRODUCTS_PER_TREE + PRODUCTS_PER_CELL * 90 * 4)
    assert {(member.is_trees, member.cost) for member in plan.members} == {(True, expected)}


def test_the_limit_of_epochs_is_the_highest_of_all_configs() -> None:
    plan = make_plan(table_of(), [config_of(max_epochs=5), config_of(max_epochs=9), config_of(max_epochs=7)], SMALL)
    assert plan.max_epochs == 9


def test_a_single_config_is_a_list_of_one_and_nothing_at_all_is_the_default_preset() -> None:
    table = table_of(60)
    assert make_plan(table, config_of(), SMALL).configs == (config_of(),)
    assert len(make_plan(table, Config()).members) == 50  # ten folds and five seeds, as the table has few rows
    plan = make_plan(table)
    assert list(plan.configs) == preset_configs("default")
    assert plan.settings == CohortSettings(halving=False)
    assert len(plan.members) == 10 * 2 * len(plan.configs)  # four configs share the five seeds


def test_with_pytorch_members_run_one_at_a_time() -> None:
    """It has threads of its own, and one state for all."""
    settings = replace(SMALL, threads=4)
    assert make_plan(table_of(), config_of(engine="compiled"), settings).settings.threads == 4
    plan = make_plan(table_of(), [config_of(engine="compiled"), config_of(engine="torch")], settings)
    assert (plan.engines, plan.settings.threads) == (("compiled", "torch"), 1)


def test_a_member_is_a_value() -> None:
    """Results are kept by member, in this process and in others."""
    plan, again = (make_plan(table_of(), config_of(), SMALL) for _ in range(2))
    assert plan.members == again.members
    assert {member: member.number for member in plan.members}[Member(0, 0, 2, 2, plan.members[2].cost)] == 2


# Engines


class Trial(NamedTuple):
    """What the faster engine was tried on."""

    split: Split
    n_members: int


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """Let there be an accelerator, on which the batched engine is the faster one; return what is tried on it."""
    tried: list[Trial] = []

    def faster_engine(table: object, config: object, program: object, split: Split, n_members: int) -> str:
        tried.append(Trial(split, n_members))
        return "batched"

    monkeypatch.setattr(plans, "may_have_accelerator", lambda: True)
    monkeypatch.setattr(plans, "faster_engine", faster_engine)
    return tried


def start_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("most", [32, 4])
def test_engines_are_tried_on_the_first_split_with_as_many_members_as_are_trained_together(
    trials: list[Trial], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "MAX_SIDE_BY_SIDE", most)
    plan = make_plan(table_of(60), config_of(device="auto"), CohortSettings(folds=3, seeds=2))
    assert plan.engines == ("batched",)
    ((split, n_members),) = trials
    np.testing.assert_array_equal(split.test, plan.splitters[0].split(0).test)
    assert n_members == min(6, most)


def test_where_all_networks_are_batched_as_many_members_wait_for_each_other_as_train_together(
    trials: list[Trial],
) -> None:
    batched, trees, compiled = config_of(device="auto"), config_of(model="trees"), config_of(engine="compiled")
    for configs, threads, expected in (
        ([batched], None, plans.MAX_SIDE_BY_SIDE),
        ([batched, trees], None, plans.MAX_SIDE_BY_SIDE),
        ([batched], 5, 5),
        ([batched, compiled], None, None),
        ([trees], None, None),
    ):
        plan = make_plan(table_of(60), configs, replace(SMALL, threads=threads))
        assert plan.settings.threads == expected, plan.engines


def test_what_names_its_engine_or_has_no_choice_of_them_is_not_tried(
    trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine_of(**changes: Any) -> str:
        (engine,) = make_plan(table_of(60), config_of(**{"device": "auto", **changes}), SMALL).engines
        return engine

    assert engine_of(device="cpu") == engine_of(engine="compiled") == "compiled"
    assert engine_of(engine="batched") == engine_of(precision="bfloat16") == "batched"
    with monkeypatch.context() as patch:
        patch.setattr(plans, "with_available_devices", tuple)
        assert engine_of(device="cuda") == "batched"
    with monkeypatch.context() as patch:
        patch.setattr(plans, "may_have_accelerator", lambda: False)
        assert engine_of() == "compiled"
    start_two_processes(monkeypatch)
    assert engine_of() == "torch"
    assert not trials


def test_a_table_in_a_store_is_trained_window_by_window_on_the_cpu_and_only_tested_rows_are_in_memory(
    trials: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = labelled_frame(60).select("size", "target")
    on_disk, in_memory = streamed(frame, tmp_path), Table.from_frame(frame, "target")
    monkeypatch.setattr(plans, "n_windows_of", lambda n_rows: 4)
    costs = []
    for table in (on_disk, in_memory):
        plan = make_plan(table, config_of(device="auto", engine="auto" if table is on_disk else "compiled"), SMALL)
        assert (plan.engines, trials) == (("compiled",), [])
        costs.append(plan.members[0].cost)
    assert costs[0] == costs[1] / 4
    for changes in ({"engine": "batched"}, {"precision": "bfloat16"}):
        with pytest.raises(EngineError, match=r"^the engine 'batched', .* holds all rows in memory, and the rows are"):
            make_plan(on_disk, config_of(**changes), SMALL)
    monkeypatch.setattr(plans, "MAX_TESTED", 10)
    n_bytes = 10 * 2 * (33 + 12 + 8) + 8 * 2**2
    monkeypatch.setattr(plans, "machine_bytes", lambda: n_bytes)
    make_plan(on_disk, config_of(), SMALL)
    monkeypatch.setattr(plans, "machine_bytes", lambda: n_bytes - 1)
    with pytest.raises(TableError, match=r"^10 rows with 2 classes and 1 predictions for each"):
        make_plan(on_disk, config_of(), SMALL)


def test_trees_of_a_table_in_a_store_say_that_they_are_grown_on_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = labelled_frame(60).select("size", "target")
    on_disk, in_memory = streamed(frame, tmp_path), Table.from_frame(frame, "target")
    make_plan(on_disk, config_of(model="trees"), SMALL)
    monkeypatch.setattr(plans, "max_rows_for_trees", lambda memory, n_inputs: 50)
    for table, config in ((on_disk, config_of()), (in_memory, config_of(model="trees"))):
        make_plan(table, config, SMALL)  # a warning would be an error
    with pytest.warns(TabcohortWarning, match="at most 50 of the 60 rows, as they need them in memory; a larger --mem"):
        make_plan(on_disk, config_of(model="trees"), SMALL)


# What is refused


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"model": "trees"}, SMALL, "train networks and no boosted trees: name a model such as 'mlp'"),
        ({}, replace(SMALL, budget_seconds=60.0), "must train the same epochs, which a budget of seconds does not"),
    ],
)
def test_several_processes_train_neither_trees_nor_for_a_time(
    changes: dict[str, Any], settings: CohortSettings, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_plan(table_of(60), config_of(**changes), settings)
    start_two_processes(monkeypatch)
    assert make_plan(table_of(60), config_of(), SMALL).engines == ("torch",)
    with pytest.raises(SettingsError, match=f"^several processes, as torchrun starts them, {message}"):
        make_plan(table_of(60), [config_of(), config_of(**changes)], settings)


@pytest.mark.parametrize(
    ("name", "values"),
    [("class_weight", (None, "balanced")), ("validation_fraction", (0.1, 0.2)), ("test_fraction", (0.1, 0.2))],
)
def test_configs_that_would_be_compared_on_other_rows_or_by_another_loss_are_refused(
    name: str, values: tuple[object, object]
) -> None:
    configs = [config_of(**{name: value}) for value in values]
    message = (
        f"^configs that are tried side by side must have the same {name!r}, as they are compared on the same rows and "
        f"by the same loss; there are {values[0]!r} and {values[1]!r}$"
    )
    with pytest.raises(SettingsError, match=message):
        fit(table_of(), configs, SMALL)


def test_configs_that_name_other_positive_classes_are_refused() -> None:
    with pytest.raises(SettingsError, match="must have the same 'positive'"):
        make_plan(table_of(), [config_of(positive=1), config_of()], SMALL)


def test_no_configs_at_all_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^there must be a config to train with; the list of them is empty$"):
        fit(table_of(), [], SMALL)
    with pytest.raises(SettingsError, match=r"^there must be a config to train with; the list of them is empty$"):
        make_plan(table_of(), [], SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            noisy_rows(60),
            r"^the first argument must be a Table, not ndarray; make one by Table.from_frame\(frame, target",
        ),
        (({"a": [1.0]}, "a"), "the first argument must be a Table, not dict; .* or call CohortClassifier"),
        ((table_of(), {"dropout": 0.1}), "the second argument must be a Config or a list of them, .* it has str"),
        ((table_of(), 5), "the second argument must be a Config or a list of them, .* it has int"),
        ((table_of(), CohortSettings()), "the second argument must be a Config .* it has CohortSettings"),
        ((table_of(), None, Config()), "the settings of the cohort must be CohortSettings, .* not Config"),
    ],
    ids=range(6),
)
def test_arguments_that_are_something_else_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(TabcohortError, match=message):
        fit(*arguments)


def test_a_device_that_is_not_there_is_replaced_by_the_cpu_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    configs = [Config(device="cuda", engine=engine) for engine in ("auto", "torch", "compiled")]
    with pytest.warns(TabcohortWarning, match="PyTorch finds no cuda device on this machine") as notes:
        available = with_available_devices([*configs, Config(device="cuda", dropout=0.1), Config()])
    assert len(notes) == 1
    assert [config.device for config in available] == ["cpu", "cpu", "cuda", "cpu", "auto"]
    with pytest.warns(TabcohortWarning, match="training on the CPU") as notes:
        predictor = fit(table_of(), [config_of(device="cuda"), config_of(device="cuda", dropout=0.2)], SMALL)
    assert (len(notes), predictor.report.engine) == (1, "compiled")
    X, y = noisy_rows(60)
    with pytest.warns(TabcohortWarning, match="training on the CPU") as notes:
        assert train(nn.Linear(4, 1), (X, y), config_of(device="cuda")).engine == "compiled"
    assert len(notes) == 1


def test_a_device_that_is_there_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabcohort.engines.torch_loop.choose_device", torch.device)
    assert with_available_devices([Config(device="cuda")]) == (Config(device="cuda"),)


def test_a_positive_class_that_is_not_that_of_the_table_is_an_error() -> None:
    X, y = noisy_rows(60)
    table = Table.from_arrays(X, np.array(["no", "yes"])[y])
    with pytest.raises(SettingsError, match="'positive' is 'no' and the table's positive class is 'yes'"):
        fit(table, config_of(positive="no"))
    with pytest.raises(
        TableError, match="the positive class 'maybe' is not in 'target', whose classes are 'no', 'yes'"
    ):
        fit(table, config_of(positive="maybe"))
    ones = Table.from_arrays(X, y.astype(float))
    assert fit(ones, config_of(positive=1, max_epochs=1), SMALL).schema.classes == (0.0, 1.0)
    assert fit(table, config_of(positive="yes", max_epochs=1), SMALL).schema.positive == 1


@pytest.mark.parametrize(
    ("threshold", "n_classes", "message"),
    [
        ("f1", 3, "a threshold is for two classes; there are 3"),
        (
            "recall",
            2,
            r"the threshold must be a probability in \(0, 1\), 'balanced_accuracy', 'f1', 'sensitivity>=0.95'.*; it is "
            "'recall'",
        ),
    ],
)
def test_a_threshold_that_could_not_be_chosen_is_an_error_before_anything_is_trained(
    threshold: str, n_classes: int, message: str
) -> None:
    calls: list[RunProgress] = []
    settings = replace(SMALL, threshold=threshold)
    with pytest.raises(SettingsError, match=message):
        fit(table_of(n_classes=n_classes), config_of(), settings, calls.append)
    assert not calls


def test_in_time_without_rows_to_test_on_nothing_is_trained() -> None:
    """All patients enrol early and come back late: the last fifth of the rows is of patients who train."""
    X, y = noisy_rows(100)
    patients = np.concatenate([np.arange(80), np.arange(20)])
    table = Table.from_arrays(X, y, group_ids=patients, time=np.arange(100.0))
    with pytest.raises(
        TableError,
        match=r"^in time no rows are left to test on: all later ones are of keys or groups that occurred before; "
        r"ask for other folds, or leave the group out$",
    ):
        fit(table, config_of(), SINGLE)


def test_in_time_without_rows_to_validate_on_nothing_is_trained() -> None:
    X, y = noisy_rows(100)
    patients = np.concatenate([np.arange(50), np.arange(50)])
    table = Table.from_arrays(X, y, group_ids=patients, time=np.arange(100.0))
    with pytest.raises(
        TableError, match=r"^in fold 1 of 1 in time no rows are left to validate on: all of them are of"
    ):
        fit(table, config_of(), SINGLE)


def test_more_folds_than_rows_allow_are_a_warning_and_choices_are_made_on_ten_folds_at_most() -> None:
    table = table_of(48)
    with pytest.warns(TabcohortWarning, match=r"^there are 48 folds and not 100: more would be empty$") as warned:
        predictor = fit(table, config_of(model="logistic", max_epochs=2), CohortSettings(folds=100, seeds=1))
    assert [warning.filename for warning in warned] == [__file__]  # where fit was called
    assert (predictor.report.n_folds, len(predictor.models)) == (48, 48)
    assert len(np.unique(predictor.out_of_fold.fold_ids)) == 10


def test_more_rows_and_classes_than_memory_holds_are_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of()
    # At the peak, for each of two configs its mean prediction and those of two seeds, and for each pair of classes.
    n_bytes = len(table.y) * 2 * (33 + 2 * (12 + 2 * 8)) + 8 * 2**2
    configs = [config_of(), config_of(learning_rate=0.01)]
    settings = CohortSettings(folds=3, seeds=2)
    monkeypatch.setattr("tabcohort.cohort.plan.machine_bytes", lambda: n_bytes)
    make_plan(table, configs, settings)
    monkeypatch.setattr("tabcohort.cohort.plan.machine_bytes", lambda: n_bytes - 1)
    with pytest.raises(TableError, match=r"2 classes and 4 predictions for each take.*join rare classes"):
        make_plan(table, configs, settings)


def test_more_classes_than_have_pairs_in_memory_are_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(n_classes=3)
    monkeypatch.setattr("tabcohort.cohort.plan.MAX_CLASSES", 3)
    make_plan(table, config_of(), SMALL)
    monkeypatch.setattr("tabcohort.cohort.plan.MAX_CLASSES", 2)
    with pytest.raises(TableError, match=r"a model has at most 2 classes, .*; the target has 3: join rare classes"):
        make_plan(table, config_of(), SMALL)
