"""From a table to a trained model: roles, statistics, network, epochs, and the score on rows that nothing else saw.

A cohort of one member so far; folds, seeds and settings side by side come here.
"""

from __future__ import annotations

from pathlib import Path

from tabcohort.engines import Engine, MemberData
from tabcohort.engines.compiled import CompiledEngine, one_blas_thread
from tabcohort.errors import SettingsError
from tabcohort.evaluate import Evaluation, evaluate
from tabcohort.forward import Forward
from tabcohort.member import choose_engine, train_member, training_statistics
from tabcohort.plan import rows_of_a_step, split_roles
from tabcohort.predictor import Predictor, TrainingReport
from tabcohort.prepare import IntArray
from tabcohort.program import Network, draw_network, program_of
from tabcohort.settings import Settings
from tabcohort.table import Table
from tabcohort.training import Watcher


def fit(
    table: Table, settings: Settings, watch: Watcher = lambda progress: None, checkpoint: str | Path | None = None
) -> Predictor:
    """Train the network that the settings name on a table, and score it on rows that it never saw.

    Args:
        table: the rows; some train, some stop, some score (`settings.stop_fraction`, `settings.score_fraction`).
        settings: everything else.
        watch: called after every epoch with the progress so far.
        checkpoint: a file to write the training's position to as it goes, and to go on from when it is there.

    Raises:
        TabcohortError: the table, the settings or the checkpoint do not fit; the sentence says what to do.

    Example:
        >>> import numpy as np
        >>> from tabcohort.table import make_table
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(120, 3))
        >>> table = make_table(X, np.where(X[:, 0] > 0, "yes", "no"))
        >>> predictor = fit(table, Settings(model="logistic", max_epochs=50, learning_rate=0.05))
        >>> predictor.predict_row({"x0": 2.0, "x1": 0.0, "x2": 0.0}).label
        'yes'
    """
    _check_positive(table, settings)
    roles = split_roles(table.X, table.y, table.weight, settings, table.key)
    statistics = training_statistics(table, roles)
    program = program_of(settings, table.X.shape[1], len(table.schema.classes))
    network = draw_network(program, settings.seed).with_statistics(statistics)
    rows_a_step = rows_of_a_step(settings, len(roles.train)) or len(roles.train)
    kind = choose_engine(settings, program.n_products * rows_a_step)

    def make_engine(data: MemberData) -> Engine:
        if kind == "compiled":
            return CompiledEngine(network, data, settings)
        from tabcohort.modules import TorchNetworkEngine  # PyTorch takes a second to import

        return TorchNetworkEngine(network, data, settings)

    with one_blas_thread():
        progress, engine = train_member(
            make_engine,
            table,
            roles,
            settings,
            statistics=statistics,
            has_batch_norm=program.has_batch_norm,
            watch=watch,
            checkpoint=checkpoint,
        )
    report = TrainingReport(
        progress.history,
        progress.best_epoch,
        str(progress.stop_reason),
        n_train=len(roles.train),
        n_stop=len(roles.stop),
        n_score=len(roles.score),
        evaluation=_score(network, table, roles.score, settings.seed),
        engine=engine.name,
        device=engine.device_name,
        fingerprint=table.fingerprint(),
    )
    return Predictor(network, table.schema, settings, report)


def _score(network: Network, table: Table, rows: IntArray, seed: int) -> Evaluation:
    """Measure a trained network on the scoring rows, once."""
    logits = Forward(network).logits(table.X, rows)
    return evaluate(logits, table.y[rows], table.weight[rows], table.schema.positive, seed)


def _check_positive(table: Table, settings: Settings) -> None:
    """Raise `SettingsError` if the settings name another positive class than the table."""
    named = None if table.schema.positive is None else table.schema.classes[table.schema.positive]
    if settings.positive is not None and str(settings.positive) != str(named):
        raise SettingsError(
            f"the setting 'positive' is {settings.positive!r} and the table's positive class is {named!r}; "
            "name it where the table is made"
        )
