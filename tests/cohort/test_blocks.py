"""The blocks of a run: one for each config, and of its own in another process."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from helpers import config_of, table_of

from tabcohort.cohort.blocks import Blocks
from tabcohort.cohort.executors import ThreadExecutor
from tabcohort.cohort.fit import fit
from tabcohort.cohort.plan import MAX_SIDE_BY_SIDE, make_plan
from tabcohort.cohort.runner import run
from tabcohort.engines.batched import BatchedEngine
from tabcohort.errors import EngineError
from tabcohort.settings import CohortSettings
from tabcohort.training.member import prepare_member

SETTINGS = CohortSettings(folds=3, seeds=1)


def test_members_of_a_config_are_in_one_block() -> None:
    plan = make_plan(table_of(), [config_of(engine="batched"), config_of(engine="batched", dropout=0.0)], SETTINGS)
    blocks, made = Blocks(plan), []
    for member in plan.members:
        program = plan.programs[member.config]
        assert program is not None
        config, split = plan.configs[member.config], plan.split(member)
        network, data = prepare_member(plan.table, split, config, program, plan.table.stored_rows(), member.number)
        made.append(blocks.make_engine(member.config, network, data))
    assert all(isinstance(engine, BatchedEngine) for engine in made)
    assert len({id(engine.block) for engine in made[:3]}) == len({id(engine.block) for engine in made[3:]}) == 1
    assert made[0].block is not made[3].block
    assert pickle.loads(pickle.dumps(blocks))._blocks == {}


def test_members_train_side_by_side_unless_another_number_is_set() -> None:
    config = config_of(engine="batched")
    assert make_plan(table_of(), config, SETTINGS).settings.threads == MAX_SIDE_BY_SIDE
    assert make_plan(table_of(), config, CohortSettings(threads=3)).settings.threads == 3
    assert make_plan(table_of(), [config, config_of(engine="torch")], SETTINGS).settings.threads == 1


def test_other_executors_and_pauses_give_the_same_to_rounding() -> None:
    rates = (0.03, 0.02, 0.01, 0.005, 1e-5)
    configs = [config_of(engine="batched", max_epochs=7, learning_rate=rate) for rate in rates]
    plan = make_plan(table_of(), configs, SETTINGS)
    together, apart = run(plan), run(plan, executor=ThreadExecutor(1))
    assert together.members.keys() == apart.members.keys()
    assert together.dropped == apart.dropped
    assert together.dropped == {4: 5}  # the others paused after five epochs
    for member, result in together.members.items():
        losses, expected = ([record.val_loss for record in of.state.history] for of in (result, apart.members[member]))
        np.testing.assert_allclose(losses, expected, atol=1e-4)


@pytest.mark.parametrize("engine", ["auto", "torch", "compiled"])
def test_a_precision_that_an_engine_does_not_have_is_refused(engine: str) -> None:
    with pytest.raises(EngineError, match=f"^the precision 'bfloat16' needs the engine 'batched'; it is {engine!r}$"):
        make_plan(table_of(), config_of(engine=engine, precision="bfloat16"), SETTINGS)


def test_a_batched_cohort_reports_its_engine() -> None:
    report = fit(table_of(), config_of(engine="batched", max_epochs=2), SETTINGS).report
    assert (report.engine, report.device) == ("batched", "cpu")
