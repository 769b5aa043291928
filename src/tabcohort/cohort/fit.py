"""From a table to a trained model: folds x seeds x settings, trained side by side, and judged on rows they never saw.

`fit` is the main path. Its calls are the system: who does what (`roles`), each member's training (`member`), all of
them (`running`), and what is made of what they say of rows that they never saw (`conclude`).
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from tabcohort.cohort.build import conclude
from tabcohort.cohort.progress import Member, RunWatcher, Trained
from tabcohort.cohort.runner import Ended, run_members
from tabcohort.data.encoder import fit_statistics, store_rows
from tabcohort.data.splits import Division, FoldsInTime, Roles, divide, size_of_cohort
from tabcohort.data.table import Table, positive_code
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.compiled.inference import Forward
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.errors import SettingsError, TabcohortWarning, TableError
from tabcohort.evaluation.decision import check_aim
from tabcohort.evaluation.metrics import log_probabilities
from tabcohort.model.predictor import Predictor
from tabcohort.network.program import draw_network, program_of
from tabcohort.settings import CohortSettings, Settings
from tabcohort.training.loop import ENDINGS, Progress
from tabcohort.training.member import choose_engine, train_member, training_statistics

CHECKPOINT = ".checkpoint"


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
        >>> from tabcohort.data.table import make_table
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(120, 3))
        >>> table = make_table(X, np.where(X[:, 0] > 0, "yes", "no"))
        >>> predictor = fit(table, Settings(model="logistic", max_epochs=50, learning_rate=0.05))
        >>> predictor.predict_row({"x0": 2.0, "x1": 0.0, "x2": 0.0}).label
        'yes'
    """
    settings = Settings() if settings is None else settings
    members = Cohort(table, settings, CohortSettings() if cohort is None else cohort, checkpoint)
    ended = run_members(members.all, members.train, members.cohort, members.max_epochs, watch)
    members.warn_of(ended)
    candidates, divisions, cohort = members.candidates, members.divisions, members.cohort
    del members  # with the rows that it stored: nobody trains any more
    _give_memory_back()
    try:
        return conclude(table, candidates, cohort, divisions, ended)
    except KeyboardInterrupt:  # all that takes long is done, and would be lost
        words = "interrupted when training was over: what was trained is being measured; once more ends without a model"
        warnings.warn(words, TabcohortWarning, stacklevel=2)
        return conclude(table, candidates, cohort, divisions, ended)


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
        _check_same(self.candidates)
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
        _check_roles(self.divisions)
        if cohort.folds is not None and self.divisions[0].n_folds < cohort.folds:
            words = f"there are {self.divisions[0].n_folds} folds and not {cohort.folds}: more would be empty"
            warnings.warn(words, TabcohortWarning, stacklevel=3)
        _give_memory_back()  # dividing took about as much as the rows in float32 will
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
            from tabcohort.training.module import TorchNetworkEngine  # PyTorch takes a second to import

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
            checkpoint=self._checkpoint_of(member),
            resume_from=resume_from,
        )
        logits = Forward([network]).logits(self.table.X, roles.score)[:, 0]
        return Trained(network, progress, engine.name, engine.device_name, np.exp(log_probabilities(logits)))

    def _checkpoint_of(self, member: Member) -> Path | None:
        """Return the file that a member's position is kept in, if there is a folder for them."""
        name = f"{member.setting}-{member.repeat}-{member.fold}{CHECKPOINT}"
        return None if self.checkpoint is None else self.checkpoint / name

    def warn_of(self, ended: Ended) -> None:
        """Say what ended before its time."""
        for setting, sentence in ended.failed.items():
            n_tried = len(self.candidates)
            which = f"number {setting + 1} of the {n_tried} settings is left out: " if n_tried > 1 else ""
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


def _give_memory_back() -> None:
    """Let the system have what was freed; the C library of Linux keeps it, and takes more for the next large array."""
    with suppress(OSError, AttributeError, TypeError):  # other systems have no such function, and no such need
        ctypes.CDLL(None).malloc_trim(0)


def _folder(path: str | Path) -> Path:
    """Return a checkpoint's folder, made if it is not there.

    Raises:
        SettingsError: there is something else of that name, or it cannot be made.
    """
    try:
        Path(path).mkdir(exist_ok=True)
        names = [each.name for each in Path(path).iterdir()]
    except OSError as error:
        raise SettingsError(
            f"the checkpoint {str(path)!r} must be a folder, for a file of each member: {error.strerror or error}"
        ) from None
    n_members = sum(name.endswith(CHECKPOINT) for name in names)
    if names and not n_members:
        raise SettingsError(f"the folder {str(path)!r} holds other things and no checkpoint; name a new one")
    if n_members:
        words = f"going on from the checkpoint {str(path)!r}: {n_members} networks left their positions there"
        warnings.warn(words, TabcohortWarning, stacklevel=4)
    return Path(path)


def _check_same(candidates: Sequence[Settings]) -> None:
    """Raise `SettingsError` if settings differ in what is one for the whole cohort: its folds and its losses."""
    for name in ("stop_fraction", "score_fraction", "class_weight", "positive"):
        values = [getattr(each, name) for each in candidates]
        other = next((value for value in values if value != values[0]), values[0])
        if other != values[0]:
            raise SettingsError(
                f"settings that are tried side by side must have the same {name!r}, as they are judged on the same "
                f"rows and by the same loss; there are {values[0]!r} and {other!r}"
            )


def _check_roles(divisions: Sequence[Division]) -> None:
    """Raise `TableError`, before anything is trained, if a fold in time has no rows left to stop or score on."""
    n_scored = [
        len(division.roles(fold).score)
        for division in divisions[:1]
        if isinstance(division, FoldsInTime)
        for fold in range(division.n_folds)
    ]
    if n_scored and not any(n_scored):
        raise TableError(
            "in time no rows are left to score on: all later ones are of keys or groups that were there before; ask "
            "for other folds, or leave the group out"
        )


def _check_positive(table: Table, settings: Settings) -> None:
    """Raise `SettingsError` if the settings name another positive class than the table."""
    schema = table.schema
    named = None if schema.positive is None else schema.classes[schema.positive]
    if settings.positive is None:
        return
    if positive_code(schema.classes, settings.positive, schema.target) != schema.positive:
        raise SettingsError(
            f"the setting 'positive' is {settings.positive!r} and the table's positive class is {named!r}; "
            "name it where the table is made"
        )


def _check_aim(table: Table, cohort: CohortSettings) -> None:
    """Raise `SettingsError` before anything is trained if no threshold could be chosen at the end."""
    if cohort.threshold is not None:
        check_aim(cohort.threshold, len(table.schema.classes))
