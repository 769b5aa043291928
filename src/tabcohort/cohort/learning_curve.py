"""Would more rows help? A cohort that is trained on growing shares of its rows, and where that leads."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tabcohort.cohort.plan import CohortPlan, make_plan
from tabcohort.cohort.progress import ProgressCallback, RunProgress
from tabcohort.cohort.runner import run
from tabcohort.cohort.selection import out_of_fold, select_and_calibrate
from tabcohort.data.subsample import SubsampledSplits
from tabcohort.data.table import Table
from tabcohort.errors import SettingsError, TabcohortWarning, TableError
from tabcohort.evaluation.evaluate import mean_loss_estimates
from tabcohort.evaluation.extrapolation import MIN_POINTS, RATES, CurveFit, fit_curve, forecast_gain
from tabcohort.evaluation.intervals import Estimate
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.report_file import estimate_to_dict
from tabcohort.settings import CohortSettings, Config
from tabcohort.types import FloatArray

SHARES = (0.125, 0.18, 0.25, 0.35, 0.5, 0.71)  # of the rows, the smallest first; all rows come last
MIN_TRAIN_ROWS, MIN_FOLDS = 20, 3  # of a member; of the cohort
FEW_ROWS, REPEATS_OF_FEW = 2_500, 3  # tables of up to so many rows draw each share several times
FACTORS = (2.0, 4.0)  # times the rows, for which the log loss is extrapolated
N_DRAWN = 60  # points of the curve in a figure


@dataclass(frozen=True)
class LearningCurve:
    """The out-of-fold log loss of a cohort by the number of rows that its members learn from.

    Args:
        shares: of the rows, ascending, `(n_points,)`; the last is 1.
        n_train: mean number of training rows of a member at each share, `(n_points,)`.
        losses: log loss of each row at each share, `(n_points, n_rows)`: the mean over draws of the share.
        predictions: the out-of-fold predictions of all rows.
        n_rows: of the table.
        is_complete: whether all shares were trained.
        seed: of the model, for the bootstrap.
    """

    shares: FloatArray
    n_train: FloatArray
    losses: FloatArray
    predictions: OutOfFoldPredictions
    n_rows: int
    is_complete: bool
    seed: int

    def points(self) -> list[Estimate]:
        """Return the log loss at each share with its 95 % interval; that of all rows is the one of the model."""
        own = self.predictions
        return mean_loss_estimates(self.losses, own.weight, own.group_ids, self.seed)

    def fits(self) -> list[CurveFit]:
        """Return a curve of each family through the points."""
        means = self.losses @ self.predictions.weight / self.predictions.weight.sum()
        return [fit_curve(self.shares, means, family) for family in RATES]

    def gain(self, factor: float = 2.0) -> Estimate:
        """Return how much lower the log loss would be with `factor` times the rows, extrapolated; at least 0."""
        own = self.predictions
        return forecast_gain(self.shares, self.losses, own.weight, own.fold_ids, factor)


def learning_curve(
    table: Table,
    configs: Config | Sequence[Config] | None = None,
    settings: CohortSettings | None = None,
    callback: ProgressCallback = lambda progress: None,
    whole: OutOfFoldPredictions | None = None,
) -> LearningCurve:
    """Train a cohort on growing shares of its rows, each tested on the same rows as the cohort of all rows.

    A member keeps its test rows, and learns from a share of its train and validation rows. Weights and calibration are
    chosen out-of-fold, as in `fit`. Ctrl-C ends it with the shares that are done.

    Args:
        table: as for `fit`.
        configs: as for `fit`.
        settings: as for `fit`.
        callback: called a few times a second with how far all shares together are.
        whole: the out-of-fold predictions of a model that `fit` made with the same arguments; trained when omitted.

    Raises:
        SettingsError: as `shares_to_train` does.
        TableError: as `shares_to_train` does.
        KeyboardInterrupt: Ctrl-C came before enough of the shares were done.
    """
    plan = make_plan(table, configs, settings)
    shares = shares_to_train(plan)
    n_repeats = REPEATS_OF_FEW if len(table.y) <= FEW_ROWS else 1
    runs = [(1.0, 0)] * (whole is None) + [(share, repeat) for share in shares for repeat in range(n_repeats)]
    drawn = _train(plan, runs, callback)
    predictions = drawn.pop(1.0)[0] if whole is None and 1.0 in drawn else whole
    done = sorted(drawn)
    if predictions is None or len(done) + 1 < MIN_POINTS:
        raise KeyboardInterrupt
    losses = [np.mean([own.losses() for own in drawn[share]], axis=0) for share in done]
    is_complete = sum(map(len, drawn.values())) == len(shares) * n_repeats
    all_shares, n_train = np.array([*done, 1.0]), _n_train(plan)
    return LearningCurve(
        all_shares, n_train * all_shares, np.stack([*losses, predictions.as_float64().losses()]), predictions,
        len(table.y), is_complete, plan.configs[0].seed,
    )  # fmt: skip


def shares_to_train(plan: CohortPlan) -> list[float]:
    """Return the shares of its rows that a cohort can be trained on, all of them left out.

    Raises:
        SettingsError: there is a budget, or there are no folds.
        TableError: there are too few rows.
    """
    if plan.settings.budget_seconds is not None:
        raise SettingsError("a learning curve needs training without a time limit; leave out the budget of seconds")
    if plan.splitters[0].n_folds < MIN_FOLDS:
        raise SettingsError(f"a learning curve needs folds, to test each row; ask for at least {MIN_FOLDS}")
    shares = [share for share in SHARES if share * _n_train(plan) >= MIN_TRAIN_ROWS]
    if len(shares) + 1 < MIN_POINTS:
        raise TableError(
            f"{len(plan.table.y)} rows are too few for a learning curve: there must be {MIN_TRAIN_ROWS} training rows "
            f"in each of {MIN_POINTS} shares of them"
        )
    return shares


def _n_train(plan: CohortPlan) -> float:
    """Return the mean number of training rows of a member."""
    return float(np.mean([plan.split(member).n_train for member in plan.members]))


def _train(
    plan: CohortPlan, runs: Sequence[tuple[float, int]], callback: ProgressCallback
) -> dict[float, list[OutOfFoldPredictions]]:
    """Return the out-of-fold predictions of each share, one for each draw; Ctrl-C ends with those that are done."""
    progress = _OverallProgress(callback, [share for share, _ in runs])
    drawn: dict[float, list[OutOfFoldPredictions]] = {}
    for share, repeat in runs:
        splitters = [
            SubsampledSplits(splitter, plan.table, share, plan.configs[0].seed, number * len(runs) + repeat)
            for number, splitter in enumerate(plan.splitters)
        ]
        part = replace(plan, splitters=tuple(splitters))
        try:
            with warnings.catch_warnings():  # what is to be said of these members was said of those of all rows
                warnings.simplefilter("ignore", TabcohortWarning)
                result = run(part, progress)
                if result.stop_reason is not None:
                    break
                predictions = select_and_calibrate(part, result, out_of_fold(part, result)).predictions
        except KeyboardInterrupt:
            break
        drawn.setdefault(share, []).append(predictions)
        progress.next_run()
    return drawn


class _OverallProgress:
    """Tells a callback how far several runs together are.

    Args:
        callback: called with the progress of all.
        shares: of the rows that each run trains on, in order; its time is about in proportion.
    """

    def __init__(self, callback: ProgressCallback, shares: Sequence[float]) -> None:
        self.callback, self.shares = callback, shares
        self.began = time.perf_counter()
        self._place, self._n_epochs = 0, 0
        self._latest: RunProgress | None = None

    def __call__(self, progress: RunProgress) -> None:
        """Call the callback with what this run's progress means for all."""
        self._latest = progress
        own, before = self.shares[self._place], sum(self.shares[: self._place])
        done = before + own * progress.n_done / progress.n_members
        seconds, to_come = time.perf_counter() - self.began, sum(self.shares) - done
        left = seconds / done * to_come if done else progress.seconds_left * to_come
        overall = replace(
            progress,
            n_members=len(self.shares) * progress.n_members,
            n_done=self._place * progress.n_members + progress.n_done,
            n_epochs=self._n_epochs + progress.n_epochs,
            seconds=seconds,
            seconds_left=left,
        )
        self.callback(overall)

    def next_run(self) -> None:
        """Begin with the next run."""
        self._place += 1
        self._n_epochs += 0 if self._latest is None else self._latest.n_epochs


def learning_curve_facts(curve: LearningCurve) -> dict[str, Any]:
    """Return a learning curve as plain JSON values.

    Returns:
        `points`: for each share of the rows, its `share`, `n_train`, the mean number of training rows of a member, and
        `log_loss`; `curves`: of each family the `family`, `limit`, `drop` and `rate` (see `CurveFit`), and `drawn`, its
        log loss at shares from the first point to four times the rows; `forecasts`: for each `factor`, `n_rows` and the
        `gain` in log loss, with its interval; `conclusion`: what follows, in words; `is_complete`: whether all shares
        were trained.
    """
    forecasts = [
        {"factor": factor, "n_rows": round(factor * curve.n_rows), "gain": estimate_to_dict(curve.gain(factor))}
        for factor in FACTORS
    ]
    places = zip(curve.shares.tolist(), curve.n_train.tolist(), curve.points(), strict=True)
    sizes = np.geomspace(curve.shares[0], FACTORS[-1], N_DRAWN)
    return {
        "points": [
            {"share": share, "n_train": n_train, "log_loss": estimate_to_dict(point)}
            for share, n_train, point in places
        ],
        "curves": [
            {**vars(fit), "drawn": [list(pair) for pair in zip(sizes.tolist(), fit.at(sizes).tolist(), strict=True)]}
            for fit in curve.fits()
        ],
        "forecasts": forecasts,
        "conclusion": _conclusion(forecasts[0]),
        "is_complete": curve.is_complete,
    }


def _conclusion(forecast: dict[str, Any]) -> str:
    """Return in words what twice the rows would bring."""
    gain = forecast["gain"]
    text = (
        f"twice the rows ({forecast['n_rows']:,}): log loss about {gain['value']:.3f} lower "
        f"({gain['low']:.3f} to {gain['high']:.3f})"
    )
    return text if gain["low"] > 0 else f"{text}; these rows cannot tell whether more would help"
