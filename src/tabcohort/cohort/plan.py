"""The plan of a cohort: every member that will be trained, and on which rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tabcohort.cohort.presets import preset_cohort
from tabcohort.cohort.trial import faster_engine
from tabcohort.data.memory import machine_bytes
from tabcohort.data.splits import Split, Splitter, TimeFolds, cohort_size, make_splits
from tabcohort.data.streamed_splits import MAX_TESTED, streamed_splits
from tabcohort.data.table import Table, positive_code
from tabcohort.engines.ranks import launched
from tabcohort.engines.windows import n_windows_of
from tabcohort.errors import EngineError, SettingsError, TabcohortWarning, TableError, warn_caller
from tabcohort.evaluation.decision import check_objective
from tabcohort.evaluation.evaluate import MAX_CLASSES
from tabcohort.network.program import Program, build_program
from tabcohort.settings import CohortSettings, Config
from tabcohort.training.member import choose_engine, may_have_accelerator, with_available_devices
from tabcohort.training.streamed_member import max_rows_for_trees

# Network multiplications that take as long as growing a tree of no rows, and as each of its rows and inputs more.
PRODUCTS_PER_TREE, PRODUCTS_PER_CELL = 1.5e7, 140.0
PRODUCTS_PER_ROW = 400.0  # that take as long as reading a row, and as its share of a step
MAX_SIDE_BY_SIDE = 32  # members that the batched engine trains together
# Of a row and a class, measured with 9,140 rows of 2,808 classes: at the peak of weighing, calibrating and measuring,
# for the mean prediction of each config, and for what its members predict in each repeat.
BYTES_AT_PEAK, BYTES_PER_CONFIG, BYTES_PER_PREDICTION = 33, 12, 8
BYTES_PER_PAIR = 8  # of classes, in the confusion matrix


@dataclass(frozen=True)
class Member:
    """One member of a cohort: a network, or boosted trees.

    Args:
        config: number of its config, counted from 0.
        repeat, fold: which seed's folds, and which of these, counted from 0.
        number: selects its random streams: the same member of another config has the same number and sees the same
            rows.
        cost: multiplications and additions of an epoch, for the order in which members are trained and the time left.
        is_trees: whether it is trees; these are grown in one go, and cannot pause.
    """

    config: int
    repeat: int
    fold: int
    number: int
    cost: float
    is_trees: bool = False


@dataclass(frozen=True)
class CohortPlan:
    """What a run trains. It is data: training a member is a function of the plan and the member.

    Args:
        table: the rows.
        configs: the configs that are tried.
        settings: of the cohort.
        programs: the network of each config; None where it is trees.
        engines: what trains each config, "compiled", "torch" or "scikit-learn".
        splitters: the folds of each repeat.
        members: all of them, by config, repeat and fold.
    """

    table: Table
    configs: tuple[Config, ...]
    settings: CohortSettings
    programs: tuple[Program | None, ...]
    engines: tuple[str, ...]
    splitters: tuple[Splitter, ...]
    members: tuple[Member, ...]

    @property
    def max_epochs(self) -> int:
        """The highest limit of epochs of all configs."""
        return max(config.max_epochs for config in self.configs)

    def split(self, member: Member) -> Split:
        """Return which rows train, validate and test a member."""
        return self.splitters[member.repeat].split(member.fold)


def make_plan(
    table: Table, configs: Config | Sequence[Config] | None = None, settings: CohortSettings | None = None
) -> CohortPlan:
    """Return the plan of a cohort: folds x seeds x configs.

    Args:
        table: the rows.
        configs: to try; those of the settings' preset when omitted.
        settings: of the cohort; the default ones when omitted.

    Raises:
        TabcohortError: table, configs and settings do not fit each other; the message says what to do.
    """
    settings = CohortSettings() if settings is None else settings
    is_preset = configs is None
    configs = () if configs is None else tuple(configs) if isinstance(configs, Iterable) else (configs,)
    _check_types(table, configs, settings)
    if is_preset:
        configs, settings = preset_cohort(table, Config(), settings)
    if not configs:
        raise SettingsError("there must be a config to train with; the list of them is empty")
    configs = with_available_devices(configs)
    if launched()[1] > 1:
        _check_for_processes(configs, settings)
    _check_same(configs)
    _check_positive(table, configs[0])
    if settings.threshold is not None:
        check_objective(settings.threshold, len(table.schema.classes))
    programs = [_program(table, config) for config in configs]
    splitters = _splitters(table, configs, settings)
    _check_size(table, len(configs), len(splitters))
    if None in programs:
        _warn_of_sampled_rows(table)
    n_members = sum(splitter.n_folds for splitter in splitters)
    engines = [
        "scikit-learn" if program is None else _engine(table, config, program, splitters[0], n_members)
        for config, program in zip(configs, programs, strict=True)
    ]
    if "torch" in engines:  # it has threads of its own, and one state for all
        settings = replace(settings, threads=1)
    elif {"batched"} <= set(engines) <= {
        "batched",
        "scikit-learn",
    } and settings.threads is None:  # its members wait for each other, not for a core
        settings = replace(settings, threads=MAX_SIDE_BY_SIDE)
    members = [
        Member(config, repeat, fold, repeat * splitter.n_folds + fold, _cost(table, program), is_trees=program is None)
        for config, program in enumerate(programs)
        for repeat, splitter in enumerate(splitters)
        for fold in range(splitter.n_folds)
    ]
    return CohortPlan(
        table, configs, settings, tuple(programs), tuple(engines), tuple(splitters), tuple(members)
    )  # fmt: skip


def _warn_of_sampled_rows(table: Table) -> None:
    """Warn if boosted trees, which need their rows in memory, will be grown on a sample of those of a store."""
    n_rows = len(table.y)
    n_held = n_rows if table.disk is None else max_rows_for_trees(table.disk.memory, table.n_inputs)
    if n_held < n_rows:
        warn_caller(
            f"boosted trees are grown on uniform samples of at most {n_held:,} of the {n_rows:,} rows, as they need "
            "them in memory; a larger --memory allows more"
        )


def _check_size(table: Table, n_configs: int, n_seeds: int) -> None:
    """Raise `TableError` if predictions, which have a number for each row and class, or classes are too many.

    Args:
        table: the rows.
        n_configs, n_seeds: of the cohort; each config has a prediction for each row and seed.
    """
    n_rows, n_classes = len(table.y), len(table.schema.classes)
    if n_classes > MAX_CLASSES:
        raise TableError(
            f"a model has at most {MAX_CLASSES:,} classes, as there is a number for each pair of them; the target "
            f"has {n_classes:,}: join rare classes, or choose another target"
        )
    if table.disk is not None:
        n_rows = min(n_rows, MAX_TESTED)
    n_bytes = BYTES_AT_PEAK + n_configs * (BYTES_PER_CONFIG + n_seeds * BYTES_PER_PREDICTION)
    needed = n_rows * n_classes * n_bytes + BYTES_PER_PAIR * n_classes**2
    available = machine_bytes()
    if needed > available:
        raise TableError(
            f"{n_rows:,} rows with {n_classes:,} classes and {n_configs * n_seeds} predictions for each take about "
            f"{needed / 1e9:,.0f} GB, and this machine has {available / 1e9:,.0f} GB: join rare classes, or train on "
            "fewer rows, with fewer configs or fewer seeds"
        )


def _program(table: Table, config: Config) -> Program | None:
    """Return the network of a config; None where it is trees."""
    if config.model == "trees":
        return None
    schema = table.schema
    return build_program(
        config, table.n_inputs, len(schema.classes), schema.encoding(config), sum(table.bins(config))
    )  # fmt: skip


def _engine(table: Table, config: Config, program: Program, splitter: Splitter, n_members: int) -> str:
    """Return what trains a config's networks: on an accelerator the batched engine, and for "auto" the faster one."""
    if table.disk is not None and (config.engine == "batched" or config.precision != "float32"):
        raise EngineError(
            "the engine 'batched', which other precisions need, holds all rows in memory, and the rows are in a store; "
            "leave out 'engine' and 'precision'"
        )
    is_open = config.engine == "auto" and config.device != "cpu" and launched()[1] == 1
    if not is_open or not may_have_accelerator() or table.disk is not None:  # the batched engine holds all rows
        return choose_engine(config, program, len(table.y))
    if config.device != "auto" or config.precision != "float32":
        return "batched"
    return faster_engine(table, config, program, splitter.split(0), min(n_members, MAX_SIDE_BY_SIDE))


def _cost(table: Table, program: Program | None) -> float:
    """Return what an epoch on all rows costs."""
    if program is not None:
        n_windows = 1 if table.disk is None else n_windows_of(len(table.y))
        return (PRODUCTS_PER_ROW + program.n_products) * len(table.y) / n_windows
    return table.schema.n_outputs * (PRODUCTS_PER_TREE + PRODUCTS_PER_CELL * len(table.y) * table.n_inputs)


def _splitters(table: Table, configs: Sequence[Config], settings: CohortSettings) -> list[Splitter]:
    """Return the folds of each repeat.

    Raises:
        TableError: there are too few rows, or in time no rows are left to test on.

    Warns:
        TabcohortWarning: there are fewer folds than were asked for.
    """
    in_time = table.time is not None
    n_folds, n_seeds = cohort_size(len(table.y), settings.folds, settings.seeds, in_time, len(configs))
    divide = make_splits if table.disk is None else streamed_splits
    splitters = [divide(table, configs[0], n_folds, repeat) for repeat in range(n_seeds)]
    first = splitters[0]
    if isinstance(first, TimeFolds) and not any(len(first.split(fold).test) for fold in range(first.n_folds)):
        raise TableError(
            "in time no rows are left to test on: all later ones are of keys or groups that occurred before; ask for "
            "other folds, or leave the group out"
        )
    if settings.folds is not None and first.n_folds < settings.folds:
        message = f"there are {first.n_folds} folds and not {settings.folds}: more would be empty"
        warnings.warn(message, TabcohortWarning, stacklevel=4)
    return splitters


def _check_types(table: Any, configs: Sequence[Any], settings: Any) -> None:
    """Raise `TabcohortError` if an argument of `fit` is something else, such as X or y."""
    if not isinstance(table, Table):
        raise TableError(
            f"the first argument must be a Table, not {type(table).__name__}; make one by Table.from_frame(frame, "
            "target) or Table.from_arrays(X, y), or call CohortClassifier().fit(X, y)"
        )
    wrong = next((config for config in configs if not isinstance(config, Config)), None)
    if wrong is not None:
        raise SettingsError(
            f"the second argument must be a Config or a list of them, such as Config(dropout=0.3); it has "
            f"{type(wrong).__name__}"
        )
    if not isinstance(settings, CohortSettings):
        raise SettingsError(
            f"the settings of the cohort must be CohortSettings, such as CohortSettings(folds=5), not "
            f"{type(settings).__name__}"
        )


def _check_for_processes(configs: Sequence[Config], settings: CohortSettings) -> None:
    """Raise `SettingsError` for what several processes, as `torchrun` starts them, cannot do together."""
    if any(config.model == "trees" for config in configs):
        raise SettingsError(
            "several processes, as torchrun starts them, train networks and no boosted trees: name a model such as "
            "'mlp', or take the networks of a preset (kinds='networks', --nets-only)"
        )
    if settings.budget_seconds is not None:
        raise SettingsError(
            "several processes, as torchrun starts them, must train the same epochs, which a budget of seconds does "
            "not ensure: leave it out, and set 'max_epochs'"
        )


def _check_same(configs: Sequence[Config]) -> None:
    """Raise `SettingsError` if configs differ in what the whole cohort shares: its folds and its loss."""
    for name in ("validation_fraction", "test_fraction", "class_weight", "positive"):
        values = [getattr(config, name) for config in configs]
        other = next((value for value in values if value != values[0]), values[0])
        if other != values[0]:
            raise SettingsError(
                f"configs that are tried side by side must have the same {name!r}, as they are compared on the same "
                f"rows and by the same loss; there are {values[0]!r} and {other!r}"
            )


def _check_positive(table: Table, config: Config) -> None:
    """Raise `SettingsError` if a config names another positive class than the table."""
    schema = table.schema
    if config.positive is None or positive_code(schema.classes, config.positive, schema.target) == schema.positive:
        return
    named = None if schema.positive is None else schema.classes[schema.positive]
    raise SettingsError(
        f"the setting 'positive' is {config.positive!r} and the table's positive class is {named!r}; "
        "name it where the table is made"
    )
