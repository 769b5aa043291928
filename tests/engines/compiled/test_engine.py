"""The compiled engine works in memory that fits what it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch.nn as nn
from helpers import config_of, noisy_rows

from tabcohort import TrainingError, train
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.compiled.blas import one_blas_thread
from tabcohort.engines.compiled.engine import CompiledEngine, _libraries
from tabcohort.engines.protocol import MemberData
from tabcohort.network.program import build_program, initialize_network


def engine_of(n_rows: int) -> CompiledEngine:
    settings = config_of(model="mlp", hidden=(64,))
    rows = np.random.default_rng(0).normal(size=(n_rows, 5)).astype(np.float32)
    data = MemberData.of_inputs(rows, np.tile(np.float32([1, 0]), (n_rows, 1)), rows[:3])
    return CompiledEngine(initialize_network(build_program(settings, 5, 2), 0), data, settings)


def test_a_larger_batch_than_the_first_has_room() -> None:
    grown, fresh = engine_of(20_000), engine_of(20_000)
    grown.run_epoch(BatchPlan(20_000, 10, 0.0, 0.0, False, seed=0).epoch(1), 0.0)
    losses = [
        engine.run_epoch(BatchPlan(20_000, 20_000, 0.0, 0.0, False, seed=0).epoch(2), 0.0).step_losses
        for engine in (grown, fresh)
    ]
    np.testing.assert_array_equal(*losses)


def test_more_rates_than_epochs_are_refused() -> None:
    plans = next(BatchPlan(50, 10, 0.0, 0.0, False, seed=0).blocks(1, 1))
    with pytest.raises(ValueError, match="reshape"):
        engine_of(50).run_epochs(plans, [0.01] * 200)


@pytest.mark.parametrize("module", [nn.BatchNorm1d(4), nn.LayerNorm(4)], ids=["batch norm", "layer norm"])
def test_a_network_without_a_matrix_trains(module: nn.Module) -> None:
    X = noisy_rows()[0][:, :4]
    y = X.argmax(axis=1)
    trained = train(module, (X, y), config_of(max_epochs=2))
    assert trained.engine == "compiled"


def test_a_plan_of_other_rows_is_refused() -> None:
    with pytest.raises(TrainingError, match="the plan is of 60 rows, and 50 train"):
        engine_of(50).run_epoch(BatchPlan(60, 10, 0.0, 0.0, False, seed=0).epoch(1), 0.01)


def test_the_last_to_leave_lifts_the_limit_of_one_blas_thread() -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in _libraries().info() if library["user_api"] == "blas"]

    with _libraries().limit(limits=2, user_api="blas"):
        before, first, second = threads(), one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(threads()) == {1}
        second.__exit__(None, None, None)
        assert threads() == before
