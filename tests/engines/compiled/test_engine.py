"""The compiled engine: epochs that run ahead are those that run one by one, bit for bit, whatever happens between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch.nn as nn
from helpers import config_of, data_of_inputs, noisy_rows
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort import EngineError, TrainingError, train
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.compiled import engine as engine_module
from tabcohort.engines.compiled import jit, kernels
from tabcohort.engines.compiled.engine import MAX_EPOCHS_PER_CALL, CompiledEngine, compile_kernels
from tabcohort.engines.compiled.operations import KERNELS
from tabcohort.engines.protocol import MemberData, State
from tabcohort.engines.validation import EpochResult
from tabcohort.network.program import Builder, blank_network, build_program, initialize_network
from tabcohort.settings import Config

N_EPOCHS = 70  # more than two calls
FEW = hypothesis_settings(max_examples=40, deadline=None)
EVERYTHING: dict[str, Any] = {
    "hidden": (6, 5), "batch_norm": True, "dropout": 0.2, "mixup_alpha": 0.4, "batch_size": 8, "clip_norm": 1.0,
}  # fmt: skip


def data_of(config: Config, n_rows: int = 30, n_classes: int = 2) -> MemberData:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n_rows, 5)), rng.integers(n_classes, size=n_rows)
    batches = BatchPlan(n_rows, int(config.batch_size), config.mixup_alpha, 0.5, config.batch_norm, seed=0)
    return data_of_inputs(X, np.eye(n_classes)[y], rng.normal(size=(7, 5)), batches)


def engine_of(epochs_per_call: int = MAX_EPOCHS_PER_CALL, n_rows: int = 30, **changes: Any) -> CompiledEngine:
    """Return an engine that runs at most this many epochs in a call of the kernel."""
    config = config_of(**{**EVERYTHING, **changes})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "MAX_EPOCHS_PER_CALL", epochs_per_call)
        network = initialize_network(build_program(config, 5, 2), 0)
        return CompiledEngine(network, data_of(config, n_rows), config)


@contextmanager
def counted_blocks() -> Iterator[list[tuple[int, int]]]:
    """Note the first epoch and the number of epochs of every call of the kernel."""
    blocks: list[tuple[int, int]] = []
    real = engine_module.Batches.block

    def block(batches: Any, first: int, max_epochs: int) -> Any:
        epochs = real(batches, first, max_epochs)
        blocks.append((first, len(epochs)))
        return epochs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module.Batches, "block", block)
        yield blocks


def assert_same_state(actual: State, expected: State) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        assert actual[name].tobytes() == array.tobytes(), name


def assert_same_result(actual: EpochResult, expected: EpochResult) -> None:
    assert actual[2:] == expected[2:]
    assert actual.step_losses.tobytes() == expected.step_losses.tobytes()
    assert actual.val_logits.tobytes() == expected.val_logits.tobytes()


# Running ahead


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_epochs_that_run_ahead_are_those_that_run_one_by_one(optimizer: str) -> None:
    ahead, one_by_one = engine_of(optimizer=optimizer), engine_of(1, optimizer=optimizer)
    rates = [0.02 * 0.99**epoch for epoch in range(N_EPOCHS)]
    with counted_blocks() as blocks:
        results = [ahead.run_epoch(epoch, rates) for epoch in range(1, N_EPOCHS + 1)]
    assert blocks == [(1, 32), (33, 32), (65, 6)]  # the last call ends with the training
    for epoch, result in enumerate(results, start=1):
        assert_same_result(result, one_by_one.run_epoch(epoch, rates))
    assert_same_state(ahead.snapshot(), one_by_one.snapshot())


@pytest.mark.parametrize("n_epochs", [1, 2, 31, 32, 33, 50, 64])
def test_a_snapshot_is_of_the_last_epoch_and_not_of_those_ahead(n_epochs: int) -> None:
    ahead, one_by_one = engine_of(), engine_of(1)
    rates = [0.02] * N_EPOCHS
    for epoch in range(1, n_epochs + 1):
        ahead.run_epoch(epoch, rates)
        one_by_one.run_epoch(epoch, rates)
    assert_same_state(ahead.snapshot(), one_by_one.snapshot())


def test_a_snapshot_before_the_first_epoch_is_the_network() -> None:
    engine = engine_of()
    state = engine.snapshot()
    np.testing.assert_array_equal(state["parameters"], engine.network.parameters)
    np.testing.assert_array_equal(state["buffers"], engine.network.buffers)
    assert not state["first_moment"].any()
    assert not state["second_moment"].any()


@pytest.mark.parametrize("changed", [2, 3, 17, 32, 33, 34, 50])
def test_where_the_next_rate_turns_out_different_the_engine_goes_back(changed: int) -> None:
    ahead, one_by_one = engine_of(), engine_of(1)
    rates = [0.02] * N_EPOCHS
    with counted_blocks() as blocks:
        for epoch in range(1, 61):
            if epoch == changed:
                rates = [*rates[: epoch - 1], *[0.01] * (N_EPOCHS - epoch + 1)]
            assert_same_result(ahead.run_epoch(epoch, rates), one_by_one.run_epoch(epoch, rates))
    assert_same_state(ahead.snapshot(), one_by_one.snapshot())
    assert changed in [first for first, n_epochs in blocks if n_epochs > 1]  # a new call begins there


@given(st.lists(st.sampled_from([0.02, 0.01]), min_size=1, max_size=40), st.integers(2, 9))
@FEW
def test_any_sequence_of_rates_gives_the_bits_of_epochs_one_by_one(rates: list[float], epochs_per_call: int) -> None:
    """The engine knows rates only up to the epoch that it is at; all later ones are taken to be the same."""
    ahead, one_by_one = engine_of(epochs_per_call), engine_of(1)
    for epoch in range(1, len(rates) + 1):
        known = [*rates[:epoch], *[rates[epoch - 1]] * 40]
        assert_same_result(ahead.run_epoch(epoch, known), one_by_one.run_epoch(epoch, known))
        assert_same_state(ahead.snapshot(), one_by_one.snapshot())


@given(st.data())
@FEW
def test_going_back_and_on_again_anywhere_gives_the_same_bits(data: st.DataObject) -> None:
    """Pausing and resuming, and returning to an earlier epoch, in the middle of a block of epochs."""
    reference, rates = engine_of(1), [0.02] * 40
    results, states = [], [reference.snapshot()]
    for epoch in range(1, 41):
        results.append(reference.run_epoch(epoch, rates))
        states.append(reference.snapshot())
    engine, snapshots, epoch = engine_of(data.draw(st.integers(1, 32))), {0: states[0]}, 0
    for _ in range(data.draw(st.integers(1, 6))):
        for _ in range(min(data.draw(st.integers(1, 15)), 40 - epoch)):
            epoch += 1
            assert_same_result(engine.run_epoch(epoch, rates), results[epoch - 1])
            snapshots[epoch] = engine.snapshot()
        epoch = data.draw(st.sampled_from(sorted(snapshots)))
        engine.restore(snapshots[epoch])
        assert_same_state(engine.snapshot(), states[epoch])
    for number, state in snapshots.items():  # nothing wrote to them
        assert_same_state(state, states[number])


def test_a_state_of_one_engine_continues_in_another() -> None:
    first, second, whole = engine_of(), engine_of(5), engine_of(1)
    rates = [0.02] * N_EPOCHS
    for epoch in range(1, 14):
        first.run_epoch(epoch, rates)
    second.restore(first.snapshot())
    for epoch in range(1, 31):
        result = whole.run_epoch(epoch, rates)
        if epoch > 13:
            assert_same_result(second.run_epoch(epoch, rates), result)
    assert_same_state(second.snapshot(), whole.snapshot())


@pytest.mark.parametrize("n_epochs", [1, 5, 32])
def test_a_released_network_has_the_numbers_of_the_last_epoch_and_not_of_those_ahead(n_epochs: int) -> None:
    ahead, one_by_one = engine_of(), engine_of(1)
    rates = [0.02] * N_EPOCHS
    for engine in (ahead, one_by_one):
        for epoch in range(1, n_epochs + 1):
            engine.run_epoch(epoch, rates)
        engine.release()
    assert ahead.network.parameters.tobytes() == one_by_one.network.parameters.tobytes()
    assert ahead.network.buffers.tobytes() == one_by_one.network.buffers.tobytes()


def test_epochs_of_many_products_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running ahead is for epochs of microseconds; of longer ones, Ctrl-C and the callback should not wait."""
    rates = [0.02] * N_EPOCHS
    products = build_program(config_of(**EVERYTHING), 5, 2).n_products * 30
    for n_epochs in (1, 4):
        monkeypatch.setattr(engine_module, "PRODUCTS_PER_CALL", n_epochs * products + products // 2)
        engine = engine_of()
        with counted_blocks() as blocks:
            engine.run_epoch(1, rates)
        assert blocks == [(1, n_epochs)]


def test_a_table_that_is_drawn_epoch_by_epoch_runs_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabcohort.engines.batches.ROWS_PER_DRAW", 60)
    ahead, one_by_one = engine_of(), engine_of(1)
    with counted_blocks() as blocks:
        for epoch in range(1, 6):
            assert_same_result(ahead.run_epoch(epoch, [0.02] * 9), one_by_one.run_epoch(epoch, [0.02] * 9))
    assert {n_epochs for _, n_epochs in blocks} == {1, 2}


def test_an_epoch_ahead_that_diverges_is_not_noticed_before_its_turn() -> None:
    engine = engine_of(optimizer="sgd", clip_norm=None)
    rates, start = [0.01] * 3 + [1e30] * 10, engine.snapshot()
    results = [engine.run_epoch(epoch, rates) for epoch in range(1, 5)]
    assert [result.is_finite for result in results] == [True, True, True, False]
    lower = [0.01] * 13
    engine.restore(start)
    assert [engine.run_epoch(epoch, lower).is_finite for epoch in range(1, 14)] == [True] * 13


# Memory


def plain_engine(batch_size: int, n_rows: int = 20_000) -> CompiledEngine:
    """Return an engine of one hidden layer, which trains at rate 0."""
    return engine_of(n_rows=n_rows, batch_size=batch_size, hidden=(64,), batch_norm=False, mixup_alpha=0.0, dropout=0.0)


def test_a_step_of_any_number_of_rows_has_room() -> None:
    """The memory is laid out for the longest step; at rate 0 the steps of an epoch add up to one full pass."""
    losses = [plain_engine(batch_size).run_epoch(1, [0.0]).train_loss for batch_size in (10, 9_999, 20_000)]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-5)


def test_engines_do_not_share_memory() -> None:
    first, second, alone = engine_of(), engine_of(), engine_of()
    rates = [0.02] * 9
    for epoch in range(1, 6):
        expected = alone.run_epoch(epoch, rates)
        assert_same_result(first.run_epoch(epoch, rates), expected)
        assert_same_result(second.run_epoch(epoch, rates), expected)


@pytest.mark.parametrize("module", [nn.BatchNorm1d(4), nn.LayerNorm(4)], ids=["batch norm", "layer norm"])
def test_a_network_without_a_matrix_trains(module: nn.Module) -> None:
    X = noisy_rows()[0][:, :4]
    y = X.argmax(axis=1)
    trained = train(module, (X, y), config_of(max_epochs=2))
    assert trained.engine == "compiled"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_network_is_trained_in_its_own_precision(dtype: Any) -> None:
    config = config_of(**EVERYTHING)
    program = build_program(config, 5, 2)
    network = blank_network(program, dtype).with_named(initialize_network(program, 0).named())
    engine = CompiledEngine(network, data_of(config), config)
    result = engine.run_epoch(1, [0.02])
    assert engine.snapshot()["parameters"].dtype == result.val_logits.dtype == dtype
    assert engine.snapshot()["buffers"].dtype == np.float64
    with_less = engine_of().run_epoch(1, [0.02])
    np.testing.assert_allclose(result.val_logits, with_less.val_logits, rtol=1e-4, atol=1e-5)


# Errors


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_only_matrices_decay(optimizer: str) -> None:
    """In one step, decay moves matrices by its formula, and changes no bit of a vector, at any rate of these."""
    after = []
    for decay in (0.0, 0.25):
        config = Config(
            hidden=(4,), optimizer=optimizer, momentum=0.0, weight_decay=decay, input_scale=True, bias_rate_factor=0.5,
            batch_size=30,
        )  # fmt: skip
        network = initialize_network(build_program(config, 5, 2), 0)
        start = network.parameters.copy()
        engine = CompiledEngine(network, data_of(config), config)
        engine.run_epoch(1, [0.1])
        engine.release()
        after.append(network.parameters)
    without, decayed = after
    n = network.program.n_in_matrices
    np.testing.assert_array_equal(decayed[n:], without[n:])
    if optimizer == "adamw":
        np.testing.assert_allclose(decayed[:n] - without[:n], -0.1 * 0.25 * start[:n], rtol=1e-4, atol=1e-6)
    assert (decayed[:n] != without[:n]).mean() > 0.5


@pytest.mark.parametrize(("n_classes", "words"), [(3, r"\(n, 3\) for 3 classes; for 2 rows it returned \(2, 1\)")])
def test_logits_of_another_number_of_classes_are_an_error(n_classes: int, words: str) -> None:
    config = config_of(**EVERYTHING)
    network = initialize_network(build_program(config, 5, 2), 0)
    with pytest.raises(TrainingError, match=f"the module must return logits of shape {words}"):
        CompiledEngine(network, data_of(config, n_classes=n_classes), config)


def test_an_operation_without_kernels_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(KERNELS, "tanh")
    builder = Builder(5)
    value = builder.add("tanh", "tanh", builder.add("linear", "first", 0, d_out=3), constants=(0.0,))
    network = blank_network(builder.finish(builder.add("linear", "last", value, d_out=1)))
    config = config_of(**{**EVERYTHING, "batch_norm": False})
    with pytest.raises(EngineError, match=r"^the operation 'tanh' has no kernels; add them to KERNELS$"):
        CompiledEngine(network, data_of(config), config)


# Compiling


def test_the_kernels_that_are_compiled_ahead_are_those_that_a_training_uses() -> None:
    """Otherwise the first training on a machine would compile them again."""
    config = config_of(**EVERYTHING)
    engine_of().run_epoch(1, [0.02])
    program = build_program(config, 5, 2)
    network = blank_network(program, np.float64).with_named(initialize_network(program, 0).named())
    CompiledEngine(network, data_of(config), config).run_epoch(1, [0.02] * 3)
    known = set(kernels.run_epochs.signatures)
    for dtype in ("float32", "float64"):
        compile_kernels(dtype)
    assert set(kernels.run_epochs.signatures) == known


def test_a_training_waits_for_the_kernels_before_its_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Any] = []
    monkeypatch.setattr(jit, "ensure_compiled", lambda jobs, use: checked.extend(jobs))
    program = engine_of().network.program
    kinds = {op.kind for op in program.operations} & KERNELS.keys()
    own = {kernel for kind in kinds for kernel in (KERNELS[kind].forward, KERNELS[kind].backward)}
    assert {kernels.run_epochs, *own} <= {job.kernel for job in checked}
    assert {job.variant for job in checked} == {"float32"}
