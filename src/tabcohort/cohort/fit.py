"""From a table to a trained model. `fit` is the main path: its calls, in order, are the system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tabcohort.cohort.build import build_predictor
from tabcohort.cohort.executors import Executor
from tabcohort.cohort.plan import CohortPlan, make_plan
from tabcohort.cohort.progress import ProgressCallback
from tabcohort.cohort.runner import run
from tabcohort.cohort.selection import out_of_fold, select_and_calibrate
from tabcohort.data.table import Table
from tabcohort.engines.process_group import ranks
from tabcohort.model.predictor import Predictor
from tabcohort.settings import CohortSettings, Config
from tabcohort.training.observer import TrainingObserver

# Called with the plan and the model at the end of each `fit`, such as by autologging.
FIT_CALLBACKS: list[Callable[[CohortPlan, Predictor], None]] = []


def fit(
    table: Table,
    configs: Config | Sequence[Config] | None = None,
    settings: CohortSettings | None = None,
    callback: ProgressCallback = lambda progress: None,
    checkpoint: str | Path | None = None,
    executor: Executor | None = None,
    observer: TrainingObserver | None = None,
) -> Predictor:
    """Train a cohort of networks and boosted trees on a table, and test each row with members that never saw it.

    Under `torchrun`, the processes train one network after another together and all return the same model.

    Args:
        table: the rows.
        configs: one or several configs to try; the ensemble uses those that are best together. The candidates of
            `settings.preset` when omitted.
        settings: how many members there are, how they are run, and how the model answers.
        callback: called a few times a second with how far the cohort is.
        checkpoint: a folder to write every member's training to as it goes, and to resume from.
        executor: where members run; threads when omitted.
        observer: called after every epoch of each member, such as a `TrainingRecorder` or a `LivePage`.

    Raises:
        TabcohortError: the table, a config, the settings or the checkpoint are invalid; the message says what to do.

    Examples:
        >>> import numpy as np
        >>> from tabcohort import Table
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(120, 3))
        >>> table = Table.from_arrays(X, np.where(X[:, 0] > 0, "yes", "no"))
        >>> predictor = fit(table, Config(model="logistic", max_epochs=50, learning_rate=0.05))
        >>> predictor.predict_row({"x0": 2.0, "x1": 0.0, "x2": 0.0}).label
        'yes'
    """
    plan = make_plan(table, configs, settings)
    predictor = fit_plan(plan, callback, checkpoint, executor, observer)
    for on_end in FIT_CALLBACKS if ranks().rank == 0 else ():
        on_end(plan, predictor)
    return predictor


def fit_plan(
    plan: CohortPlan,
    callback: ProgressCallback = lambda progress: None,
    checkpoint: str | Path | None = None,
    executor: Executor | None = None,
    observer: TrainingObserver | None = None,
) -> Predictor:
    """Train the cohort of a plan; see `fit`. No autologging sees it."""
    result = run(plan, callback, checkpoint, executor, observer)
    predictions = out_of_fold(plan, result)
    selection = select_and_calibrate(plan, result, predictions)
    return build_predictor(plan, result, predictions, selection)
