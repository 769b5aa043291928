"""Members in batched operations: the losses of each trained alone, its own stop and state, and no effect on others."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import config_of

from tabcohort import CohortSettings, Table
from tabcohort.cohort.plan import CohortPlan, make_plan
from tabcohort.cohort.runner import RunResult, run
from tabcohort.engines.batched import BatchedEngine, Block, Stack, time_epoch
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.errors import TrainingError
from tabcohort.training.member import prepare_member

FIVE = CohortSettings(folds=5, seeds=1)
CASES: dict[str, dict[str, Any]] = {
    "logistic": {"model": "logistic"},
    "mlp": {"dropout": 0.3, "mixup_alpha": 0.4, "clip_norm": 0.5, "class_weight": "balanced"},
    "batch normalisation": {"batch_norm": True, "optimizer": "sgd"},
    "residual": {"model": "residual", "dropout": 0.2, "optimizer": "sgd", "learning_rate": 0.05},
    "as in RealMLP": {
        "scaling": "robust", "periodic": 3, "input_scale": True, "bins": 4, "activation": "selu", "dropout": 0.2,
        "bias_rate_factor": 0.1, "scale_rate_factor": 6.0, "dropout_schedule": "flat_cosine", "optimizer": "adam",
        "decay_schedule": "flat_cosine", "weight_decay": 0.1,
    },
    "quantiles": {"scaling": "quantile", "label_smoothing": 0.1, "activation": "mish", "schedule": "cosine"},
    "plateau and patience": {
        "max_epochs": 12, "patience": 2, "learning_rate": 0.05, "schedule": "plateau", "schedule_patience": 1,
    },
}  # fmt: skip


def mixed_table(n_classes: int = 3, n_rows: int = 131) -> Table:
    """Return a table of numbers, one with missing cells, and a category whose vectors are learned."""
    rng = np.random.default_rng(0)
    y = np.arange(n_rows) % n_classes
    frame = {
        "age": np.where(rng.random(n_rows) < 0.1, np.nan, rng.normal(size=n_rows) + y),
        "size": rng.normal(size=n_rows),
        "city": [f"city {code}" for code in rng.integers(12, size=n_rows)],
        "y": [f"class {code}" for code in y],
    }
    return Table.from_frame(frame, "y")


def plan_of(engine: str, n_classes: int = 3, settings: CohortSettings = FIVE, **changes: Any) -> CohortPlan:
    config = config_of(**{"max_epochs": 2, "batch_size": 16, "hidden": (9, 6), "engine": engine, **changes})
    return make_plan(mixed_table(n_classes), config, settings)


def histories_of(result: RunResult) -> list[np.ndarray]:
    members = result.members.values()
    return [np.array([[record.train_loss, record.val_loss] for record in member.state.history]) for member in members]


@pytest.mark.parametrize(
    ("case", "n_classes"), [*((case, 3) for case in CASES), ("mlp", 2), ("logistic", 2), ("residual", 2)]
)
def test_members_have_the_losses_and_predictions_of_each_trained_alone(case: str, n_classes: int) -> None:
    alone, together = (run(plan_of(engine, n_classes, **CASES[case])) for engine in ("torch", "batched"))
    assert {len(plan.train) for plan in map(plan_of("torch", n_classes).split, alone.members)} == {
        83,
        84,
    }  # the last steps differ in size
    for history, expected in zip(histories_of(together), histories_of(alone), strict=True):
        np.testing.assert_allclose(history, expected, rtol=0, atol=1e-5)
    for member, result in together.members.items():
        assert (result.engine, result.device) == ("batched", "cpu")
        assert result.state.stop_reason == alone.members[member].state.stop_reason
        np.testing.assert_allclose(result.test_proba, alone.members[member].test_proba, rtol=0, atol=1e-5)
    if case == "plateau and patience":
        assert len(set(map(len, histories_of(together)))) > 1  # they stopped one after another


def members_of(n_members: int, **changes: Any) -> list[BatchedEngine]:
    """Return members of one block that have not been trained yet."""
    plan = plan_of("batched", **changes)
    config, (program,) = plan.configs[0], plan.programs
    assert program is not None
    block, stored = Block(program, config), plan.table.stored_rows()
    prepared = [
        prepare_member(plan.table, plan.split(member), config, program, stored, member.number)
        for member in plan.members[:n_members]
    ]
    return [block.make_engine(network, data) for network, data in prepared]


def stack_of(members: list[BatchedEngine]) -> Stack:
    block = members[0].block
    return Stack(members, block.program, block.config, block.device)


def assert_equal_states(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_a_state_is_that_of_the_compiled_engine_and_goes_back_unchanged() -> None:
    (member,) = members_of(1, model="residual", dropout=0.2, optimizer="sgd")
    compiled = CompiledEngine(member.network, member.data, member.config)
    before = compiled.snapshot()
    assert_equal_states(member.snapshot(), before)
    member.run_epoch(1, [0.01])
    compiled.run_epoch(1, [0.01])
    state, expected = member.snapshot(), compiled.snapshot()
    for name, array in expected.items():
        assert (state[name].shape, state[name].dtype) == (array.shape, array.dtype)
        np.testing.assert_allclose(state[name], array, rtol=0, atol=1e-4, err_msg=name)
    fixed = before["buffers"] == expected["buffers"]
    assert fixed.any()
    np.testing.assert_array_equal(state["buffers"][fixed], before["buffers"][fixed])  # statistics in 64 bits
    member.restore(state)
    assert_equal_states(member.snapshot(), state)
    member.release()
    np.testing.assert_array_equal(member.network.parameters, state["parameters"])


def test_a_member_goes_on_from_a_state_to_the_same_bits() -> None:
    first, second = members_of(2, dropout=0.3, mixup_alpha=0.4)
    stack = stack_of([first, second])
    stack.run_epoch({first: (1, 0.01), second: (1, 0.01)})
    state = first.snapshot()
    expected = stack.run_epoch({first: (2, 0.01), second: (2, 0.01)})[first]
    (again,) = members_of(1, dropout=0.3, mixup_alpha=0.4)
    again.restore(state)
    np.testing.assert_allclose(again.run_epoch(2, [0.01] * 2).step_losses, expected.step_losses, rtol=1e-5)


def test_members_may_be_in_different_epochs_at_different_rates() -> None:
    settings = {"dropout": 0.3, "decay_schedule": "flat_cosine", "dropout_schedule": "flat_cosine", "max_epochs": 3}
    first, second = members_of(2, **settings)
    stack = stack_of([first])
    for epoch in (1, 2):
        stack.run_epoch({first: (epoch, 0.02)})
    results = stack_of([first, second]).run_epoch({first: (3, 0.03), second: (1, 0.01)})
    other_first, other_second = members_of(2, **settings)
    stack = stack_of([other_first])
    for epoch, rate in ((1, 0.02), (2, 0.02), (3, 0.03)):
        expected = stack.run_epoch({other_first: (epoch, rate)})[other_first]
    np.testing.assert_allclose(results[first].step_losses, expected.step_losses, rtol=1e-5)
    alone = stack_of([other_second]).run_epoch({other_second: (1, 0.01)})[other_second]
    np.testing.assert_allclose(results[second].step_losses, alone.step_losses, rtol=1e-5)


def test_a_member_whose_loss_is_not_finite_leaves_the_others_as_they_are() -> None:
    first, second = members_of(2)
    broken = first.snapshot()
    broken["parameters"][:] = np.nan
    first.restore(broken)
    results = stack_of([first, second]).run_epoch({first: (1, 0.01), second: (1, 0.01)})
    assert not results[first].is_finite
    assert results[second].is_finite
    expected = stack_of([members_of(2)[1]])
    (alone,) = expected.run_epoch({expected.members[0]: (1, 0.01)}).values()
    np.testing.assert_allclose(results[second].step_losses, alone.step_losses, rtol=1e-5)


def test_members_wait_for_each_other_and_not_for_those_that_have_left() -> None:
    members = members_of(3)
    began = threading.Barrier(3)

    def train(member: BatchedEngine, n_epochs: int) -> int:
        began.wait()
        for epoch in range(1, n_epochs + 1):
            member.run_epoch(epoch, [0.01] * epoch)
        stacked = member.stack
        member.release()
        assert stacked is not None
        return len(stacked.members)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(train, member, n_epochs) for member, n_epochs in zip(members, (1, 1, 4), strict=True)]
    assert [future.result() for future in futures] == [3, 3, 1]  # at last it was alone


def test_an_error_of_an_epoch_is_raised_by_every_member_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Stack, asked: object) -> None:
        raise RuntimeError("the device is out of memory")

    monkeypatch.setattr(Stack, "run_epoch", fail)
    members = members_of(2)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(member.run_epoch, 1, [0.01]) for member in members]
        for future in futures:
            with pytest.raises(RuntimeError, match="out of memory"):
                future.result()


def test_logits_must_fit_the_classes() -> None:
    (member,) = members_of(1)
    data = replace(member.data, soft_targets=np.ones((len(member.data.train), 4), np.float32))
    with pytest.raises(TrainingError, match="must return logits of shape"):
        BatchedEngine(member.network, data, member.config, member.block)


def test_products_in_bfloat16_are_near_those_in_float32() -> None:
    exact, rough = (histories_of(run(plan_of("batched", precision=name))) for name in ("float32", "bfloat16"))
    for history, expected in zip(rough, exact, strict=True):
        np.testing.assert_allclose(history, expected, rtol=0.02)
        assert (history != expected).all()


def test_a_time_is_that_of_an_epoch() -> None:
    assert 0 < time_epoch(members_of(2)) < 60


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_graphs_on_cuda_give_the_losses_of_the_cpu() -> None:
    plan = plan_of("batched", dropout=0.3, mixup_alpha=0.4)
    config = replace(plan.configs[0], device="cuda")
    on_cuda = run(replace(plan, configs=(config,)))
    for history, expected in zip(histories_of(on_cuda), histories_of(run(plan)), strict=True):
        np.testing.assert_allclose(history, expected, rtol=0, atol=1e-3)
