"""From a table to a trained model: folds x seeds x settings, trained side by side, and judged on rows they never saw.

`fit` is the main path. Its calls are the system: who does what (`roles`), each member's training (`member`), all of
them (`running`), what they say of rows that they never saw (`ensemble`), and what is made of that (`predictor`).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tabcohort.decide import parse_aim
from tabcohort.engines import Engine, MemberData
from tabcohort.engines.compiled import CompiledEngine
from tabcohort.ensemble import OutOfFold, choose_ensemble, cross_fit, mean_log_proba
from tabcohort.errors import SettingsError, TabcohortWarning
from tabcohort.evaluate import UNKNOWN, Z95, Estimate, Scorer, log_probabilities, standard_error_of_mean
from tabcohort.forward import Forward
from tabcohort.member import choose_engine, class_weights, train_member, training_statistics
from tabcohort.predictor import (
    CalibrationReport,
    CohortReport,
    Judged,
    MemberReport,
    Predictor,
    SettingReport,
    decide,
    measure,
    measure_sets,
)
from tabcohort.prepare import FloatArray, IntArray, fit_statistics, store_rows
from tabcohort.program import draw_network, program_of
from tabcohort.roles import Roles, divide, size_of_cohort
from tabcohort.running import Ended, Member, RunWatcher, Trained, in_threads, run_members
from tabcohort.settings import CohortSettings, Settings
from tabcohort.table import Table
from tabcohort.training import ENDINGS, Progress


def fit(
    table: Table,
    settings: Settings | Sequence[Settings] | None = None,
    cohort: CohortSettings | None = None,
    watch: RunWatcher = lambda progress: None,
    checkpoint: str | Path | None = None,
) -> Predictor:
    """Train a cohort of networks on a table, and judge each row by those that never saw it.

    Args:
        table: the rows.
        settings: of the networks; of several, the ensemble takes those that are best together.
        cohort: how many networks, and what they are to answer with.
        watch: called a few times a second with how far the cohort is.
        checkpoint: a folder to write every member's position to as it goes, and to go on from what is there.

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
    members = Cohort(table, settings or Settings(), cohort or CohortSettings(), checkpoint)
    ended = run_members(members.all, members.train, members.cohort, members.max_epochs, watch)
    members.warn_of(ended)
    return members.conclude(ended)


class Cohort:
    """All members of a run: what each is trained on, and what is made of them.

    Args:
        table, settings, cohort, checkpoint: as in `fit`.

    Raises:
        TabcohortError: they do not fit each other.
    """

    def __init__(
        self,
        table: Table,
        settings: Settings | Sequence[Settings],
        cohort: CohortSettings,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.table = table
        self.candidates = (settings,) if isinstance(settings, Settings) else tuple(settings)
        if not self.candidates:
            raise SettingsError("there must be settings to train with; the list of them is empty")
        first = self.candidates[0]
        _check_positive(table, first)
        _check_aim(table, cohort)
        n_classes, n_features = len(table.schema.classes), table.X.shape[1]
        self.programs = [program_of(each, n_features, n_classes) for each in self.candidates]
        n_rows = len(table.y)
        self.engines = [
            choose_engine(each, program, n_rows) for each, program in zip(self.candidates, self.programs, strict=True)
        ]
        if "torch" in self.engines:  # which has threads of its own, and one state for all
            cohort = replace(cohort, threads=1)
        self.cohort = cohort
        n_folds, n_seeds = size_of_cohort(n_rows, cohort.folds, cohort.seeds, table.time is not None)
        self.divisions = [
            divide(table.X, table.y, table.weight, first, n_folds, repeat, table.key, table.time)
            for repeat in range(n_seeds)
        ]
        self.stored = store_rows(table.X, fit_statistics(table.X, table.weight))
        self.checkpoint = None if checkpoint is None else _folder(checkpoint)
        self.all = [
            Member(setting, repeat, fold, repeat * division.n_folds + fold, float(program.n_products))
            for setting, program in enumerate(self.programs)
            for repeat, division in enumerate(self.divisions)
            for fold in range(division.n_folds)
        ]

    @property
    def max_epochs(self) -> int:
        """The highest limit of epochs."""
        return max(each.max_epochs for each in self.candidates)

    def roles(self, member: Member) -> Roles:
        """Return which rows do what for a member."""
        return self.divisions[member.repeat].roles(member.fold)

    def train(
        self,
        member: Member,
        resume_from: Progress | None = None,
        watch: Callable[[Progress], str | None] = lambda progress: None,
    ) -> Trained:
        """Train one member, alone: its numbers are the same whatever else is trained beside it."""
        settings, program = self.candidates[member.setting], self.programs[member.setting]
        roles = self.roles(member)
        statistics = training_statistics(self.table, roles)
        network = draw_network(program, settings.seed, member.number).with_statistics(statistics)

        def make_engine(data: MemberData) -> Engine:
            if self.engines[member.setting] == "compiled":
                return CompiledEngine(network, data, settings)
            from tabcohort.modules import TorchNetworkEngine  # PyTorch takes a second to import

            return TorchNetworkEngine(network, data, settings)

        progress, engine = train_member(
            make_engine,
            self.table,
            roles,
            settings,
            statistics=statistics,
            has_batch_norm=program.has_batch_norm,
            stored=self.stored,
            member=member.number,
            identity=f"member {member.number}",
            watch=watch,
            checkpoint=self.checkpoint and self.checkpoint / f"{member.setting}-{member.repeat}-{member.fold}",
            resume_from=resume_from,
        )
        if progress.stop_reason in ENDINGS:  # nobody will go on from there
            progress = replace(progress, best_state={}, state={})
        return Trained(network, progress, engine.name, engine.device_name)

    def warn_of(self, ended: Ended) -> None:
        """Say what ended before its time."""
        for setting, sentence in ended.failed.items():
            which = (
                f"settings {setting + 1} of {len(self.candidates)} are left out: " if len(self.candidates) > 1 else ""
            )
            warnings.warn(f"{which}{sentence}", TabcohortWarning, stacklevel=3)
        if ended.reason:
            words = {"interrupted": "interrupted", "budget": "the budget of seconds is spent"}[ended.reason]
            at_their_end = sum(each.progress.stop_reason in ENDINGS for each in ended.trained.values())
            warnings.warn(
                f"{words}: {len(ended.trained)} of {len(self.all)} members have weights, {at_their_end} of them were "
                "trained to their end; the model is made of these",
                TabcohortWarning,
                stacklevel=3,
            )

    def conclude(self, ended: Ended) -> Predictor:
        """Make the model of what was trained: the ensemble, its corrections, and what is known of how good it is."""
        del self.stored  # nobody trains any more
        by_setting = self._predictions(ended.trained)
        usable = self._usable(ended, by_setting)
        scored = np.all([by_setting[each][1] for each in usable], axis=0)
        rows = np.flatnonzero(scored)
        table, part = self.table, self.divisions[0].parts()[rows]
        log_proba = np.stack([by_setting[each][0][rows] for each in usable])
        # What is chosen weighs classes as the networks did; what is reported does not.
        factor = class_weights(table, self.roles(self.all[0]), self.candidates[0])
        found = OutOfFold(log_proba, table.y[rows], table.weight[rows] * factor[table.y[rows]], part)
        ensemble, honest = choose_ensemble(found), cross_fit(found)
        judged = Judged(rows, honest.astype(np.float32), found.y, table.weight[rows], part)
        positive, seed = table.schema.positive, self.candidates[0].seed
        decision = decide(judged, positive, self.cohort.threshold, self.cohort.coverage)
        weight = dict(zip(usable, ensemble.weight.tolist(), strict=True))
        order = sorted(ended.trained, key=self.all.index)
        some = next(iter(ended.trained.values()))
        report = CohortReport(
            members=tuple(self._member_report(each, ended.trained[each]) for each in order),
            settings=self._setting_reports(ended, by_setting, weight),
            evaluation=measure(judged, decision, positive, seed),
            calibration=_calibration_report(found, ensemble.weight, judged),
            sets=measure_sets(judged, self.cohort.coverage),
            n_rows=len(table.y),
            engine=some.engine,
            device=some.device,
            reason=ended.reason,
            seconds=ended.seconds,
            seconds_saved=ended.seconds_saved,
            fingerprint=table.fingerprint(),
        )
        chosen = [(number, each) for number, each in enumerate(order) if weight.get(each.setting, 0.0) > 0]
        networks = [ended.trained[each].network for _, each in chosen]
        numbers = [number for number, _ in chosen]
        return Predictor(networks, numbers, table.schema, ensemble.calibrator, decision, judged, report)

    def _predictions(self, trained: Mapping[Member, Trained]) -> dict[int, tuple[FloatArray, np.ndarray]]:
        """Return each setting's log of the mean probability over seeds, `(n_rows, n_classes)`, and who has one."""
        members = sorted(trained, key=self.all.index)

        def proba_of(member: Member) -> tuple[IntArray, FloatArray]:
            rows = self.roles(member).score
            logits = Forward([trained[member].network]).logits(self.table.X, rows)[:, 0]
            return rows, np.exp(log_probabilities(logits))

        found = in_threads([functools.partial(proba_of, each) for each in members], self.cohort.threads)
        shape = (len(self.table.y), len(self.table.schema.classes))
        totals: dict[int, tuple[FloatArray, FloatArray]] = {}
        for member, (rows, proba) in zip(members, found, strict=True):
            total, count = totals.setdefault(member.setting, (np.zeros(shape), np.zeros(shape[0])))
            total[rows] += proba
            count[rows] += 1
        tiny = np.finfo(np.float64).tiny
        return {
            setting: (np.log(np.maximum(total / np.maximum(count, 1)[:, None], tiny)), count > 0)
            for setting, (total, count) in totals.items()
        }

    def _usable(self, ended: Ended, by_setting: Mapping[int, tuple[FloatArray, np.ndarray]]) -> list[int]:
        """Return the settings that may answer: not dropped, not failed, and as complete as any."""
        in_race = [each for each in by_setting if each not in ended.dropped and each not in ended.failed]
        n_scored = {each: int(by_setting[each][1].sum()) for each in in_race}
        return [each for each in in_race if n_scored[each] == max(n_scored.values())]

    def _member_report(self, member: Member, trained: Trained) -> MemberReport:
        roles, progress = self.roles(member), trained.progress
        return MemberReport(
            member.setting,
            member.repeat,
            member.fold,
            n_train=len(roles.train),
            n_stop=len(roles.stop),
            n_score=len(roles.score),
            best_epoch=progress.best_epoch,
            stop_reason=str(progress.stop_reason),
            history=progress.history,
        )

    def _setting_reports(
        self,
        ended: Ended,
        by_setting: Mapping[int, tuple[FloatArray, np.ndarray]],
        weight: Mapping[int, float],
    ) -> tuple[SettingReport, ...]:
        """Return how each of the settings did, beside the best of those that were trained to the end."""
        y, row_weight = self.table.y, self.table.weight
        losses = {each: -log_proba[np.arange(len(y)), y] for each, (log_proba, _) in by_setting.items()}

        def estimate(values: FloatArray, rows: np.ndarray) -> Estimate:
            if not rows.any():
                return UNKNOWN
            share = row_weight[rows] / row_weight[rows].sum()
            mean, half = float(share @ values[rows]), Z95 * standard_error_of_mean(values[rows], row_weight[rows])
            return Estimate(mean, mean - half, mean + half)

        def report(number: int, settings: Settings) -> SettingReport:
            if number not in by_setting:
                return SettingReport(settings, UNKNOWN, UNKNOWN, {}, 0.0, None, ended.failed.get(number))
            log_proba, rows = by_setting[number]
            return SettingReport(
                settings,
                log_loss=estimate(losses[number], rows),
                behind=estimate(losses[number] - losses[best], rows & by_setting[best][1]),
                metrics=Scorer(log_proba[rows], y[rows], self.table.schema.positive).metrics(row_weight[rows]),
                weight=weight.get(number, 0.0),
                dropped_after=ended.dropped.get(number),
                failed=ended.failed.get(number),
            )

        best = min(weight, key=lambda each: estimate(losses[each], by_setting[each][1]).value)
        return tuple(report(number, settings) for number, settings in enumerate(self.candidates))


def _calibration_report(found: OutOfFold, weight: FloatArray, judged: Judged) -> CalibrationReport:
    before = mean_log_proba(found.log_proba, weight)
    one, other = (
        Scorer(each, found.y, None).metrics(found.weight) for each in (before, judged.log_proba.astype(np.float64))
    )
    return CalibrationReport(one["log_loss"], other["log_loss"], one["ece"], other["ece"])


def _folder(path: str | Path) -> Path:
    """Return a checkpoint's folder, made if it is not there.

    Raises:
        SettingsError: there is something else of that name, or it cannot be made.
    """
    try:
        Path(path).mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the checkpoint {str(path)!r} must be a folder, for a file of each member: {error.strerror or error}"
        ) from None
    return Path(path)


def _check_positive(table: Table, settings: Settings) -> None:
    """Raise `SettingsError` if the settings name another positive class than the table."""
    named = None if table.schema.positive is None else table.schema.classes[table.schema.positive]
    if settings.positive is not None and str(settings.positive) != str(named):
        raise SettingsError(
            f"the setting 'positive' is {settings.positive!r} and the table's positive class is {named!r}; "
            "name it where the table is made"
        )


def _check_aim(table: Table, cohort: CohortSettings) -> None:
    """Raise `SettingsError` before anything is trained if no threshold could be chosen at the end."""
    if cohort.threshold is not None:
        parse_aim(cohort.threshold)
        if len(table.schema.classes) != 2:
            raise SettingsError(f"a threshold is for two classes; there are {len(table.schema.classes)}")
