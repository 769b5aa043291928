"""Training one member: a function of the plan and the member, whatever else is trained beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tabcohort.cohort.blocks import Blocks
from tabcohort.cohort.checkpoint_folder import CHECKPOINT
from tabcohort.cohort.plan import CohortPlan, Member
from tabcohort.data.encoder import StoredRows, row_slices
from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.compiled.inference import Inference
from tabcohort.engines.process_group import ranks
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.errors import TrainingError
from tabcohort.evaluation.metrics import log_probabilities
from tabcohort.network.program import Network
from tabcohort.network.trees import Trees
from tabcohort.settings import Config
from tabcohort.training.boosting import train_trees, trees_of_state
from tabcohort.training.checkpoint import Checkpoint
from tabcohort.training.loop import EpochCallback, TrainingState, train_network
from tabcohort.training.member import checkpoint_identity, prepare_member, releasing
from tabcohort.training.observer import with_layer_statistics
from tabcohort.types import FloatArray, IntArray


@dataclass(frozen=True)
class MemberResult:
    """What is left of a member's training so far.

    Args:
        model: its network with the weights of its best epoch, or its trees; None where its config was dropped.
        state: what happened.
        engine, device: what ran the epochs, and where.
        test_proba: its probabilities for its test rows, `(n_test, n_classes)`.
    """

    model: Network | Trees | None
    state: TrainingState
    engine: str
    device: str
    test_proba: FloatArray


def train_member(
    plan: CohortPlan,
    rows: StoredRows | None,
    folder: Path | None,
    member: Member,
    resume_from: TrainingState | None = None,
    callback: EpochCallback = lambda state: None,
    measure_layers: bool = False,
    blocks: Blocks | None = None,
) -> MemberResult:
    """Train one member of a plan.

    Args:
        plan: the cohort.
        rows: the plan's rows as all members share them; None where they are in a store, which the table knows.
        folder: where checkpoints are written and resumed from; None for no checkpoints.
        member: the member.
        resume_from: where its training paused before; it takes precedence over a checkpoint.
        callback: called after every epoch; a reason that it returns stops training.
        measure_layers: whether the callback gets figures about the layers of a network.
        blocks: of the run, if members train side by side in batched operations.

    Raises:
        TrainingError: a loss stopped being finite; the message names the member.
    """
    table, config, program = plan.table, plan.configs[member.config], plan.programs[member.config]
    split, engine_name = plan.split(member), plan.engines[member.config]
    checkpoint = None
    if folder is not None:
        checkpoint = member_checkpoint(plan, folder, member)
        resume_from = checkpoint.load() if resume_from is None else resume_from
    if program is None:
        state = resume_from
        if state is None or not state.is_finished:  # trees are grown in one go
            try:
                state = train_trees(table, split, config, callback, member.number)
            except TrainingError as error:
                raise TrainingError(f"member {member.number + 1}: {error}") from None
            if checkpoint is not None and state.is_finished:  # else it starts over
                checkpoint.save(state)
        return _result(table, split, trees_of_state(table, state), state, engine_name, "cpu")
    stored = table.stored_rows() if rows is None else rows
    network, data = prepare_member(table, split, config, program, stored, member.number)
    train = train_network if checkpoint is None else checkpoint.train
    try:
        if engine_name == "batched":
            made = (blocks or Blocks(plan)).make_engine(member.config, network, data)
        else:
            made = _make_engine(engine_name, network, data, config)
        with releasing(made) as engine:
            callback = ranks().agreed(with_layer_statistics(callback, engine) if measure_layers else callback)
            state = train(engine, data.validation, config, callback, resume_from)
    except TrainingError as error:
        raise TrainingError(f"network {member.number + 1}: {error}") from None
    return _result(table, split, network, state, engine.name, engine.device_name)


def member_checkpoint(plan: CohortPlan, folder: Path, member: Member) -> Checkpoint:
    """Return the checkpoint of a member in a folder."""
    path = folder / f"{member.config}-{member.repeat}-{member.fold}{CHECKPOINT}"
    config, engine = plan.configs[member.config], plan.engines[member.config]
    identity = checkpoint_identity(plan.table, plan.split(member), config, engine, f"member {member.number}")
    return Checkpoint(path, identity)


def _result(
    table: Table, split: Split, model: Network | Trees, state: TrainingState, engine: str, device: str
) -> MemberResult:
    """Return a trained member with its probabilities for its test rows."""
    log_proba = log_probabilities(_logits(model, table, split.test))
    return MemberResult(model, state, engine, device, np.exp(log_proba))


def _logits(model: Network | Trees, table: Table, rows: IntArray) -> FloatArray:
    """Return the logits of some rows, `(len(rows), n_outputs)`, without all of their inputs at once in 64 bits."""
    inference = Inference([model])
    logits = np.empty((len(rows), inference.n_outputs))
    for part in row_slices(len(rows)):
        logits[part] = inference.logits(table.inputs(rows[part]))[:, 0]
    return logits


def _make_engine(name: str, network: Network, data: MemberData, config: Config) -> Engine:
    if name == "compiled":
        return CompiledEngine(network, data, config)
    from tabcohort.training.module import TorchNetworkEngine  # PyTorch takes a second to import

    return TorchNetworkEngine(network, data, config)
