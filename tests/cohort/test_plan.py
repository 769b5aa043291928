"""The plan of a cohort: which networks there are, on which rows, and what is refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SINGLE, SMALL, config_of, noisy_rows, table_of
from torch import nn

from tabcohort.cohort.fit import fit
from tabcohort.cohort.plan import PRODUCTS_PER_ROW, Member, make_plan
from tabcohort.cohort.presets import preset_configs
from tabcohort.cohort.progress import RunProgress
from tabcohort.data.table import Table
from tabcohort.errors import SettingsError, TabcohortError, TabcohortWarning, TableError
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


# What is refused


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
    # At the peak, and for each of two configs its mean prediction, and those of two seeds.
    n_bytes = len(table.y) * len(table.schema.classes) * (40 + 2 * (12 + 2 * 8))
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
