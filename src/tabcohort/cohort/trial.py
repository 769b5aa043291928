"""Which engine trains a config's networks faster on this machine: a trial of a few steps of each."""

from __future__ import annotations

import time

from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.engines.batches import batch_size_of
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.compiled.jit import n_cores
from tabcohort.engines.protocol import MemberData
from tabcohort.network.program import Network, Program
from tabcohort.settings import Config
from tabcohort.training.member import prepare_member

N_STEPS = 8  # of the trial, at most


def faster_engine(table: Table, config: Config, program: Program, split: Split, n_members: int) -> str:
    """Return "batched" if members train faster together on the accelerator of this machine, or else "compiled".

    Both engines train on a few batches of the member's own rows: the compiled one a network on one core, the batched
    one as many as train side by side.

    Args:
        table: the rows.
        config: of the members; its device is "auto".
        program: of their networks.
        split: of one of them.
        n_members: number of members that train side by side.
    """
    rows_per_step = batch_size_of(config, len(split.train)) or len(split.train)
    every = max(1, len(split.train) // (N_STEPS * rows_per_step))  # spread over the rows, as these may be sorted
    few = Split(split.train[::every], split.validation[::every], split.test[:0])
    network, data = prepare_member(table, few, config, program, table.stored_rows())
    one_by_one = _seconds_compiled(network, data, config) * n_members / min(n_members, n_cores())
    return "batched" if _seconds_batched(network, data, config, n_members) < one_by_one else "compiled"


def _seconds_compiled(network: Network, data: MemberData, config: Config) -> float:
    """Return how long an epoch of one network takes, without compiling."""
    engine = CompiledEngine(network, data, config)
    for epoch in (1, 2):
        began = time.perf_counter()
        engine.run_epoch(epoch, [config.learning_rate] * epoch)  # one, and does not run ahead
        seconds = time.perf_counter() - began
    return seconds


def _seconds_batched(network: Network, data: MemberData, config: Config, n_members: int) -> float:
    from tabcohort.engines.batched import seconds_per_epoch  # PyTorch takes a second to import

    return seconds_per_epoch(network, data, config, n_members)
