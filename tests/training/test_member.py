"""One member's training: what each row weighs, which rows make a step, and which engine runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers import config_of, noisy_rows, table_of, trained_on
from sklearn.utils.class_weight import compute_class_weight
from streamed_tables import labelled_frame, streamed
from torch import nn

from tabcohort import Config, EngineError, SettingsError, Split, Table, TrainingError, train
from tabcohort.data.encoder import Statistics, fit_statistics, plain_encoding, store_rows
from tabcohort.data.splits import train_validation_test_split
from tabcohort.data.streamed_splits import StreamedSplit, streamed_splits
from tabcohort.engines.compiled import blas
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.reading import Reading, make_reading
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.engines.validation import EpochResult
from tabcohort.network.program import Network, build_program, initialize_network
from tabcohort.training.checkpoint import Checkpoint
from tabcohort.training.loop import EpochCallback, TrainingState, train_network
from tabcohort.training.member import (
    MIN_PRODUCTS_FOR_ACCELERATOR,
    checkpoint_identity,
    choose_engine,
    class_weights,
    fit_on_training_rows,
    may_have_accelerator,
    member_data,
    prepare_member,
    releasing,
    soft_targets,
    with_available_devices,
)
from tabcohort.types import FloatArray

# Weights


def reading_of(X: FloatArray) -> Reading:
    """Return rows that an engine reads as they are."""
    return make_reading(store_rows(X, None), plain_encoding(X.shape[1]), None)


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    X, y = noisy_rows(100, 3)
    y[:40] = 0
    table = Table.from_arrays(X, y)
    split = train_validation_test_split(table, Config())
    actual = class_weights(table, split, Config(class_weight="balanced"))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y[split.train])
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_balanced_weights_have_the_total_of_the_rows_which_a_class_without_training_rows_leaves_as_it_is() -> None:
    table = table_of(60, 3)
    present = np.flatnonzero(table.y < 2)
    split = Split(present, np.flatnonzero(table.y == 2), present[:0])
    expected = [*compute_class_weight("balanced", classes=np.arange(2), y=table.y[present]) * 2 / 3, 1]
    for each in (1.0, 1e-3):  # a class may weigh less than one row does
        weighted = replace(table, weight=np.full(60, each))
        actual = class_weights(weighted, split, Config(class_weight="balanced"))
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_a_split_that_names_the_rows_left_out_is_one_of_rows_in_memory_too() -> None:
    table, config = table_of(60), Config(class_weight="balanced")
    left_out = np.arange(0, 60, 3)
    split = StreamedSplit(60, left_out[:10], left_out[10:])
    plain = Split(split.train, split.validation, split.test)
    np.testing.assert_array_equal(class_weights(table, split, config), class_weights(table, plain, config))
    (one, _), (other, _) = (fit_on_training_rows(table, rows) for rows in (split, plain))
    np.testing.assert_array_equal(one.center, other.center)


def test_class_weights_are_matched_to_classes_by_label() -> None:
    table = table_of(60)
    split = train_validation_test_split(table, Config())
    assert (class_weights(table, split, Config()) == 1).all()
    assert list(class_weights(table, split, Config(class_weight={0: 0.5, "1": 2.0}))) == [0.5, 2.0]
    assert list(class_weights(table, split, Config(class_weight={1: 3.0}))) == [1.0, 3.0]


def test_a_class_weight_of_an_unknown_class_is_an_error() -> None:
    with pytest.raises(SettingsError, match="class_weight has the class 'maybe'; the target has 0, 1"):
        trained_on(table_of(), config_of(class_weight={"maybe": 2.0}))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_soft_target_of_a_row_is_its_smoothed_target_times_its_weight(smoothing: float) -> None:
    y, weight = table_of(30, 3).y, np.arange(1.0, 31.0)
    actual = soft_targets(y, weight, 3, Config(label_smoothing=smoothing))
    target = np.eye(3)[y] * (1 - smoothing) + smoothing / 3
    np.testing.assert_allclose(actual, target * (weight / weight.mean())[:, None], rtol=1e-6)


def test_training_and_validation_rows_have_the_weights_of_their_classes() -> None:
    table, config = table_of(60), Config(class_weight={0: 0.5, 1: 2.0})
    split = train_validation_test_split(table, config)
    data = member_data(table, split, config, reading_of(table.X), has_batch_norm=False)
    weight = np.where(table.y[data.train] == 1, 2.0, 0.5)
    np.testing.assert_allclose(data.soft_targets.sum(axis=1), weight / weight.mean(), rtol=1e-6)
    np.testing.assert_array_equal(data.validation.y, table.y[data.validation.rows])
    np.testing.assert_array_equal(data.validation.weight, np.where(data.validation.y == 1, 2.0, 0.5))
    np.testing.assert_array_equal(np.sort(data.validation.rows), np.sort(split.validation))


# Steps


@pytest.mark.parametrize(
    ("engine", "batch_size", "momentum"), [("torch", "full", None), ("torch", 32, None), ("compiled", "full", 1.0)]
)
def test_batch_norm_has_the_mean_of_all_training_rows_also_where_many_are_equal(
    engine: str, batch_size: int | str, momentum: float | None
) -> None:
    X, y = noisy_rows(8)
    X, y = np.repeat(X, [82, 2, 2, 2, 2, 2, 2, 2], axis=0), np.repeat(np.arange(8) % 2, [82, 2, 2, 2, 2, 2, 2, 2])
    other_X, other_y = noisy_rows(20, seed=1)
    split = Split(np.arange(96), np.arange(96, 106), np.arange(106, 116))
    module = nn.Sequential(nn.BatchNorm1d(4, momentum=momentum), nn.Linear(4, 1)).double()  # a plain mean of batches
    data = np.concatenate([X, other_X]), np.concatenate([y, other_y])
    train(module, data, config_of(batch_size=batch_size, max_epochs=1, engine=engine), split=split)
    if engine == "torch":
        assert int(module[0].num_batches_tracked) == {"full": 1, 32: 3}[batch_size]
    torch.testing.assert_close(module[0].running_mean, torch.from_numpy(X.mean(axis=0)), rtol=1e-6, atol=1e-6)


def four_different_rows() -> tuple[Any, Split]:
    """A hundred rows, of which four are different, and a split of which 80 train."""
    X, y = np.repeat(np.eye(4), 25, axis=0), np.repeat([0, 1, 0, 1], 25)
    return (X, y), Split(np.arange(0, 80), np.arange(80, 90), np.arange(90, 100))


@pytest.mark.parametrize("engine", [CompiledEngine, TorchEngine])
def test_a_batch_size_that_is_given_is_kept_where_few_rows_are_different(
    engine: type[CompiledEngine | TorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, split = four_different_rows()
    sizes: list[list[int]] = []
    run_epoch = engine.run_epoch

    def recorded(self: Any, epoch: int, rates: Sequence[float]) -> EpochResult:
        result = run_epoch(self, epoch, rates)
        sizes.append(np.diff(self.batches.epoch(epoch).bounds).tolist())
        assert len(result.step_losses) == len(sizes[-1])
        return result

    monkeypatch.setattr(engine, "run_epoch", recorded)
    for module in (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1)), nn.Linear(4, 1)):
        train(module, data, config_of(batch_size=32, max_epochs=2, engine=engine.name), split=split)
    assert sizes == [[32, 32, 16]] * 4


@pytest.mark.parametrize(("batch_size", "expected"), [(32, [32, 32, 16]), ("full", [4])])
def test_a_module_sees_batches_of_the_given_size_and_equal_rows_once_in_a_full_batch(
    batch_size: int | str, expected: list[int]
) -> None:
    """Without batch norm, equal rows are one row of their total weight in a full batch."""
    data, split = four_different_rows()
    sizes: list[int] = []
    plain = nn.Linear(4, 1)
    plain.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])) if module.training else None)
    train(plain, data, config_of(batch_size=batch_size, max_epochs=1, engine="torch"), split=split)
    assert sizes == expected


def test_equal_rows_merge_to_one_row_of_their_total_weight_in_full_batches_without_batch_norm() -> None:
    (X, y), split = four_different_rows()
    table = Table.from_arrays(X, y)
    for has_batch_norm, n_rows in ((False, 4), (True, 80)):
        data = member_data(table, split, config_of(batch_size="full"), reading_of(X), has_batch_norm)
        assert len(data.train) == data.batches.n_rows == data.batches.batch_size == n_rows
    merged = member_data(table, split, config_of(batch_size="full"), reading_of(X), False)
    counts = np.array([np.sum((X[split.train] == X[row]).all(axis=1)) for row in merged.train])
    np.testing.assert_allclose(merged.soft_targets.sum(axis=1), counts / counts.mean(), rtol=1e-6)


# Members


def train_one(
    config: Config,
    member: int = 0,
    shared: bool = True,
    checkpoint: Path | None = None,
    callback: EpochCallback = lambda state: None,
    resume_from: TrainingState | None = None,
) -> tuple[TrainingState, Network]:
    """Train one network, the same for any member, on a small table whose rows may be stored for all members."""
    table = table_of()
    split = train_validation_test_split(table, config)
    statistics, _ = fit_on_training_rows(table, split)
    program = build_program(config, 4, 2)
    network = initialize_network(program, config.seed).with_statistics(statistics)
    stored = store_rows(table.X, fit_statistics(table.X, table.weight) if shared else statistics)
    reading = make_reading(stored, plain_encoding(4), statistics)
    data = member_data(table, split, config, reading, program.has_batch_norm, member)
    with releasing(CompiledEngine(network, data, config)) as engine:
        if checkpoint is None:
            return train_network(engine, data.validation, config, callback, resume_from), network
        identity = checkpoint_identity(table, split, config, engine.name, str(member))
        return Checkpoint(checkpoint, identity).train(engine, data.validation, config, callback, resume_from), network


def losses_of(state: TrainingState) -> list[tuple[float, float]]:
    return [(record.train_loss, record.val_loss) for record in state.history]


def test_each_member_has_random_streams_of_its_own() -> None:
    config = config_of(max_epochs=3, dropout=0.3, batch_size=16)
    assert losses_of(train_one(config, 1)[0]) == losses_of(train_one(config, 1)[0])
    assert losses_of(train_one(config, 1)[0]) != losses_of(train_one(config, 2)[0])


def test_a_member_that_is_not_named_is_the_first() -> None:
    table, config = mixed_table(), Config(hidden=(4,))
    split = train_validation_test_split(table, config)
    program = build_program(config, table.n_inputs, 2, table.schema.encoding(config))
    stored = table.stored_rows()
    (network, data), (first, of_first), (second, of_second) = (
        prepare_member(table, split, config, program, stored, *member) for member in ([], [0], [1])
    )
    assert data.batches == of_first.batches != of_second.batches
    np.testing.assert_array_equal(network.parameters, first.parameters)
    assert (network.parameters != second.parameters).any()
    assert member_data(table, split, config, data.reading, program.has_batch_norm).batches == of_first.batches


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
def test_a_member_of_a_table_in_a_store_has_no_list_of_its_training_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take 8 bytes a row."""
    config = config_of(class_weight="balanced", batch_size=8)
    table = streamed(labelled_frame(), tmp_path)
    split = streamed_splits(table, config, 3).split(0)

    def refuse(split: StreamedSplit) -> None:
        raise AssertionError("a list of all training rows")

    monkeypatch.setattr(StreamedSplit, "train", property(refuse))
    encoding = table.schema.encoding(config)
    program = build_program(config, table.n_inputs, 2, encoding, sum(table.bins(config)))
    _, data = prepare_member(table, split, config, program, table.stored_rows())
    assert set(data.validation.rows) <= set(split.validation)
    assert checkpoint_identity(table, split, config, "compiled", "member 0")


def test_rows_that_members_share_train_like_rows_of_ones_own() -> None:
    losses = [losses_of(train_one(config_of(max_epochs=5), shared=shared)[0]) for shared in (True, False)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_a_member_that_its_callback_stopped_resumes_to_the_same_bits(with_checkpoint: bool, tmp_path: Path) -> None:
    config = config_of(max_epochs=12, dropout=0.3, batch_size=16, schedule="plateau", schedule_patience=1)
    whole, network = train_one(config)
    checkpoint = tmp_path / "kept" if with_checkpoint else None
    part, _ = train_one(
        config, checkpoint=checkpoint, callback=lambda state: "paused" if state.n_epochs == 5 else None
    )  # fmt: skip
    assert (part.stop_reason, len(part.history)) == ("paused", 5)
    again, other = train_one(config, checkpoint=checkpoint, resume_from=replace(part, stop_reason=None))  # no warning
    assert (again.stop_reason, losses_of(again)) == (whole.stop_reason, losses_of(whole))
    assert other.parameters.tobytes() == network.parameters.tobytes()


@pytest.mark.parametrize("shared", [True, False])
def test_a_members_inputs_are_the_standardized_rows(shared: bool) -> None:
    table, config = table_of(), Config()
    split = train_validation_test_split(table, config)
    statistics, _ = fit_on_training_rows(table, split)
    stored = store_rows(table.X, fit_statistics(table.X, table.weight) if shared else None)
    data = member_data(table, split, config, make_reading(stored, plain_encoding(4), statistics), True)
    expected = (table.X - statistics.center) * statistics.scale
    np.testing.assert_allclose(data.reading.inputs(data.train), expected[data.train], rtol=1e-5, atol=1e-5)
    plain = member_data(table, split, config, make_reading(stored, plain_encoding(4), None), True)
    np.testing.assert_allclose(plain.reading.inputs(plain.train), table.X[plain.train], rtol=1e-5, atol=1e-5)


def test_statistics_are_those_of_the_training_rows() -> None:
    table = table_of()
    split = train_validation_test_split(table, Config())
    statistics, inner = fit_on_training_rows(table, split)
    assert inner is None
    expected = Statistics(table.X[split.train].mean(axis=0), 1 / table.X[split.train].std(axis=0))
    np.testing.assert_allclose(statistics.center, expected.center, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(statistics.scale, expected.scale, rtol=1e-12)


def mixed_table(n_rows: int = 200, seed: int = 0) -> Table:
    """Return a table with a number that is missing here and there, two levels, and a category of 20 levels."""
    rng = np.random.default_rng(seed)
    number = rng.normal(size=n_rows)
    number[rng.random(n_rows) < 0.1] = np.nan
    frame = pl.DataFrame(
        {
            "number": pl.Series(number).fill_nan(None),
            "side": rng.choice(["left", "right"], n_rows),
            "city": [f"city {number}" for number in rng.integers(0, 20, n_rows)],
            "y": rng.choice(["no", "yes"], n_rows),
        }
    )
    return Table.from_frame(frame, "y")


def test_no_row_but_the_training_rows_changes_what_is_fitted() -> None:
    """Encoding included: a statistic of validation or test rows, or of their classes, would leak."""
    table = mixed_table()
    split = train_validation_test_split(table, Config())
    encoding = table.schema.encoding(Config())
    others = np.concatenate([split.validation, split.test])
    numbers, codes, y = table.numbers.copy(), table.codes.copy(), table.y.copy()
    numbers[others] = 1e6
    codes[others] = 0
    y[others] = 1 - y[others]
    fitted, inner = fit_on_training_rows(table, split, encoding)
    other, other_inner = fit_on_training_rows(replace(table, numbers=numbers, codes=codes, y=y), split, encoding)
    for name, values in vars(fitted).items():
        np.testing.assert_array_equal(values, vars(other)[name], err_msg=name)
    assert inner is not None
    assert other_inner is not None
    np.testing.assert_array_equal(inner.fold, other_inner.fold)
    np.testing.assert_array_equal(inner.lookups, other_inner.lookups)
    assert (inner.fold[split.train] > 0).all()
    assert (inner.fold[others] == 0).all()
    numbers[split.train[0]] = 1e6
    assert fit_on_training_rows(replace(table, numbers=numbers), split, encoding)[0].center[0] != fitted.center[0]


def test_there_are_as_many_bins_as_are_asked_for() -> None:
    table = mixed_table()
    split, encoding = train_validation_test_split(table, Config()), table.schema.encoding(Config())
    for config, n_bins in ((Config(), 0), (Config(bins=5), 5)):
        statistics, _ = fit_on_training_rows(table, split, encoding, table.bins(config))
        assert len(statistics.column) == len(statistics.lower) == len(statistics.inverse) == n_bins


def test_rows_that_belong_together_are_in_one_inner_fold() -> None:
    table = replace(mixed_table(), group_ids=np.arange(200) // 4)
    split = train_validation_test_split(table, Config())
    _, inner = fit_on_training_rows(table, split, table.schema.encoding(Config()))
    assert inner is not None
    for group in range(50):
        assert len(set(inner.fold[split.train][split.train // 4 == group])) <= 1
    assert set(inner.fold[split.train]) == {1, 2, 3, 4, 5}


class Releasing:
    """What `releasing` needs of an engine."""

    name, device_name, n_released = "releasing", "cpu", 0

    def release(self) -> None:
        self.n_released += 1


def n_blas_threads() -> set[int]:
    return {library["num_threads"] for library in blas._libraries().info() if library["user_api"] == "blas"}


def test_an_engine_trains_with_one_blas_thread_and_is_released_after_an_error_too() -> None:
    engine, n_threads = Releasing(), []

    def diverge() -> None:
        with releasing(engine):  # type: ignore[arg-type]
            n_threads.append(n_blas_threads())
            raise TrainingError("the loss stopped being finite")

    with blas._libraries().limit(limits=2, user_api="blas"):
        with pytest.raises(TrainingError, match="the loss stopped being finite"):
            diverge()
        assert (engine.n_released, n_threads) == (1, [{1}])
        assert n_blas_threads() != {1}


# What a checkpoint belongs to


def test_a_checkpoint_belongs_to_its_rows_config_engine_and_network() -> None:
    table, config = table_of(), Config()
    split = train_validation_test_split(table, config)
    moved = Split(split.train, split.test, split.validation)
    identities = [
        checkpoint_identity(table, split, config, "torch", "member 0"),
        checkpoint_identity(table_of(seed=1), split, config, "torch", "member 0"),
        checkpoint_identity(table, moved, config, "torch", "member 0"),
        checkpoint_identity(table, split, replace(config, patience=3), "torch", "member 0"),
        checkpoint_identity(table, split, config, "compiled", "member 0"),
        checkpoint_identity(table, split, config, "torch", "member 1"),
    ]
    assert len(set(identities)) == 6
    assert checkpoint_identity(table_of(), split, Config(), "torch", "member 0") == identities[0]


# Engines


@pytest.mark.parametrize(
    ("engine", "device", "expected"),
    [
        ("torch", "auto", "torch"),
        ("torch", "cpu", "torch"),
        ("torch", "cuda", "torch"),
        ("compiled", "auto", "compiled"),
        ("compiled", "cpu", "compiled"),
        ("auto", "cpu", "compiled"),
        ("auto", "auto", "compiled"),
        ("auto", "cuda", "torch"),
        ("auto", "mps", "torch"),
    ],
)
def test_a_small_network_is_compiled_unless_pytorch_or_its_device_is_asked_for(
    engine: str, device: str, expected: str
) -> None:
    program = build_program(Config(model="logistic"), 4, 2)
    assert choose_engine(Config(engine=engine, device=device), program, 1000) == expected


@pytest.mark.parametrize(("available", "expected"), [("cpu", "compiled"), ("cuda", "torch"), ("mps", "torch")])
def test_a_large_network_goes_to_an_accelerator_where_there_is_one(
    available: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = {"auto": torch.device(available)}
    monkeypatch.setattr("tabcohort.engines.torch_loop.choose_device", devices.__getitem__)
    large = Config(hidden=(1000, 999), batch_size=200)
    program = build_program(large, 1000, 2)
    monkeypatch.setattr("tabcohort.training.member.MIN_PRODUCTS_FOR_ACCELERATOR", program.n_products * 200)
    assert choose_engine(large, program, 1000) == expected
    assert choose_engine(replace(large, batch_size=199), program, 1000) == "compiled"
    assert choose_engine(replace(large, device="cpu"), program, 1000) == "compiled"
    # A full batch is of as many rows as there are.
    assert choose_engine(replace(large, batch_size="full"), program, 200) == expected
    assert choose_engine(replace(large, batch_size="full"), program, 199) == "compiled"


def test_a_network_that_is_worth_an_accelerator_is_a_large_one() -> None:
    small, large = Config(hidden=(256, 128)), Config(hidden=(2048, 2048))
    rows = 256
    assert build_program(small, 100, 2).n_products * rows < MIN_PRODUCTS_FOR_ACCELERATOR
    assert build_program(large, 100, 2).n_products * rows > MIN_PRODUCTS_FOR_ACCELERATOR


def test_several_processes_train_a_network_by_pytorch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    program = build_program(Config(), 4, 2)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    for engine in ("auto", "torch"):
        assert choose_engine(Config(engine=engine), program, 1000) == "torch"
    for engine in ("compiled", "batched"):
        words = f"^only the engine 'torch' trains a network in several processes, .* 'engine' is '{engine}': leave it"
        with pytest.raises(EngineError, match=words):
            choose_engine(Config(engine=engine), program, 1000)


def test_half_precision_is_for_the_batched_engine() -> None:
    program = build_program(Config(), 4, 2)
    assert choose_engine(Config(engine="batched", precision="bfloat16"), program, 1000) == "batched"
    for engine in ("auto", "torch"):
        with pytest.raises(
            EngineError, match=f"^the precision 'bfloat16' needs the engine 'batched'; it is '{engine}'$"
        ):
            choose_engine(Config(engine=engine, precision="bfloat16"), program, 1000)


@pytest.mark.parametrize(
    ("platform", "path", "tool", "expected"),
    [
        ("linux", "", "", False),
        ("linux", "/dev/nvidiactl", "", True),
        ("linux", "/dev/kfd", "", True),
        ("win32", "", "nvidia-smi", True),
        ("darwin", "", "", True),
    ],
)
def test_an_accelerator_is_possible_on_a_mac_or_where_its_driver_is(
    platform: str, path: str, tool: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.platform", platform)
        patch.setattr("os.path.exists", path.__eq__)
        patch.setattr("shutil.which", {tool: tool}.get)
        actual = may_have_accelerator()
    assert actual == expected


def test_devices_that_are_asked_for_are_looked_for_once_by_name_and_replaced_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_for: list[str] = []

    def choose_device(name: str) -> torch.device:
        looked_for.append(name)
        return torch.device("mps" if name == "mps" else "cpu")

    monkeypatch.setattr("tabcohort.engines.torch_loop.choose_device", choose_device)
    of_compiled = Config(engine="compiled", device="cuda")
    assert with_available_devices([of_compiled, Config(), Config(device="cpu")]) == (
        of_compiled,
        Config(),
        Config(device="cpu"),
    )
    assert looked_for == []
    configs = [Config(engine=engine, device=device) for device in ("mps", "cuda") for engine in ("auto", "torch")]
    on_cpu = [replace(config, device="cpu") for config in configs]
    assert with_available_devices([*configs, of_compiled]) == (*configs[:2], *on_cpu[2:], of_compiled)
    assert looked_for == ["cuda", "mps"]


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_the_compiled_engine_is_for_the_cpu(device: str) -> None:
    words = f"the compiled engine runs on the CPU, not on {device}; leave out device"
    with pytest.raises(EngineError, match=words):
        choose_engine(Config(engine="compiled", device=device), build_program(Config(), 4, 2), 1000)
    X, y = noisy_rows(60)
    with pytest.raises(EngineError, match=words):
        train(nn.Linear(4, 1), (X, y), Config(engine="compiled", device=device))
