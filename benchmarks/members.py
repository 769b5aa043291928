"""Members as the benchmarks time them: one from the table on, and several pieces of work side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tabcohort import Config, Network, Split, Table, build_program
from tabcohort.engines.compiled.blas import one_blas_thread
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.engines.reading import make_reading
from tabcohort.network.program import initialize_network
from tabcohort.training.loop import EpochCallback, train_network
from tabcohort.training.member import fit_on_training_rows, member_data, releasing

MakeEngine = Callable[[Network, MemberData, Config], Engine]


def train_member(
    make_engine: MakeEngine, table: Table, split: Split, config: Config, callback: EpochCallback = lambda state: None
) -> None:
    """Train one network, from the table on.

    Args:
        make_engine: an engine's class, or a function that returns an engine.
        table: the rows.
        split: which of them train and validate.
        config: of the network, with the seed of its initial weights and batches.
        callback: called after every epoch.
    """
    encoding = table.schema.encoding(config)
    program = build_program(config, table.n_inputs, len(table.schema.classes), encoding)
    statistics, inner = fit_on_training_rows(table, split, encoding)
    network = initialize_network(program, config.seed).with_statistics(statistics)
    reading = make_reading(table.stored_rows(), network.encoding, statistics, inner)
    data = member_data(table, split, config, reading, program.has_batch_norm)
    with one_blas_thread(), releasing(make_engine(network, data, config)) as engine:
        train_network(engine, data.validation, config, callback)


def run_in_threads(jobs: Sequence[Callable[[], object]], n_threads: int) -> None:
    """Run pieces of work side by side, BLAS on one thread, in the order of the list."""
    with one_blas_thread(), ThreadPoolExecutor(n_threads) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()
