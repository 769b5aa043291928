"""The models that a server answers for: loaded from their files, and again when these change."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from tabcohort.container import fingerprint_of, replace_file
from tabcohort.data.inputs import row_inputs, table_inputs
from tabcohort.data.table import Schema
from tabcohort.errors import ModelFileError, SettingsError, TabcohortError, TableError, listed, printable
from tabcohort.model.explainer import Explainer
from tabcohort.model.file import load
from tabcohort.model.predictor import Predictor
from tabcohort.model.report_facts import report_facts
from tabcohort.model.shapley import ROWS_BUDGET
from tabcohort.model.typical import common_ranges, typical_record
from tabcohort.server.nearest import NearestRows
from tabcohort.server.problems import Problem
from tabcohort.server.record_input import RecordReader

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
LOAD_ATTEMPTS = 5
FileState = tuple[int, int, int] | None  # None where there is no file
ReadRows = Callable[[], Any]  # gives a frame
Check = Callable[[Schema], None]  # raises SettingsError for a model that must not take the place of another


@dataclass(frozen=True)
class ServedModel:
    """One version of a model, ready to answer.

    Args:
        name: by which requests ask for it.
        path: its file.
        fingerprint: SHA-256 of what the file holds, as hexadecimal digits.
        predictor: the model.
        background: reads the rows that explanations compare with, if there are any.
        loaded: when.
    """

    name: str
    path: Path
    fingerprint: str
    predictor: Predictor
    background: ReadRows | None = None
    loaded: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def version(self) -> str:
        """The first digits of the fingerprint, which answers carry."""
        return self.fingerprint[:12]

    @property
    def version_header(self) -> dict[str, str]:
        """The header that names the version in a response."""
        return {"x-model-version": self.version}

    @functools.cached_property
    def reader(self) -> RecordReader:
        """The reader of its records."""
        return RecordReader(self.predictor.schema)

    @functools.cached_property
    def explainer(self) -> Explainer | None:
        """The explainer of its predictions; None without rows to compare with."""
        return None if self._rows is None else self.predictor.explainer(self._rows)

    @functools.cached_property
    def quick_explainer(self) -> Explainer | None:
        """The same with fewer permutations, for people who wait; None without rows to compare with."""
        return None if self._rows is None else self.predictor.explainer(self._rows, budget=ROWS_BUDGET)

    @functools.cached_property
    def nearest(self) -> NearestRows | None:
        """The search for similar rows; None without rows to compare with."""
        return None if self._rows is None else NearestRows(self.predictor, self._rows)

    @functools.cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of most values of each number column.

        It is taken from the rows to compare with if there are any, otherwise from the model file.
        """
        return common_ranges(self.predictor) if self.nearest is None else self.nearest.ranges()

    @property
    def can_explain(self) -> bool:
        """Whether there are rows to compare with that have the model's columns."""
        return self._rows is not None

    @functools.cached_property
    def _rows(self) -> Any:
        """The rows to compare with; None, with a message, where they cannot be used."""
        if self.background is None:
            return None
        try:
            rows = self.background()
            table_inputs(rows, self.predictor.schema.columns)
            if not len(rows):
                raise TableError("the table has no rows")
        except TabcohortError as error:
            print(f"tabcohort: {self.name} has no explanations: {printable(str(error))}", file=sys.stderr, flush=True)
            return None
        return rows

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """The facts of its report, which take a while."""
        return report_facts(self.predictor)

    @functools.cached_property
    def page(self) -> str:
        """Its report as HTML."""
        from tabcohort.reporting.report_page import report_page

        return report_page(self.facts, self.path.name)

    @functools.cached_property
    def card(self) -> str:
        """Its model card as Markdown."""
        from tabcohort.reporting.model_card import model_card

        return model_card(self.facts, self.name, self.path.name)

    @functools.cached_property
    def example(self) -> dict[str, Any]:
        """A record of typical cells, which need not be like any row."""
        return typical_record(self.predictor)

    @functools.cached_property
    def typical_row(self) -> dict[str, Any]:
        """The background row closest to `example`, or `example` if there are no background rows."""
        if self.nearest is None:
            return self.example
        return self.nearest.record(row_inputs(self.example, self.predictor.schema.columns)[0])


def load_model(name: str, path: Path, background: ReadRows | None = None) -> ServedModel:
    """Return the model of a file, with the fingerprint of exactly what was loaded.

    Raises:
        ModelFileError: it cannot be loaded, or changes all the time.
    """
    for _ in range(LOAD_ATTEMPTS):
        fingerprint = fingerprint_of(path)
        predictor = load(path)
        if fingerprint == fingerprint_of(path):
            model = ServedModel(name, path, fingerprint, predictor, background)
            predictor.predict_inputs(row_inputs(model.example, predictor.schema.columns))  # compiles what must be
            return model
    raise ModelFileError(f"{str(path)!r} changes while it is read")


class Reload(NamedTuple):
    """The outcome of reloading a changed model file.

    Args:
        label: name of the model, with "(shadow)" for a shadow model.
        is_replaced: whether the new version is served.
        message: one line for the log.
    """

    label: str
    is_replaced: bool
    message: str


class ModelStore:
    """The models of a server, by name.

    Args:
        paths: the file of each.
        shadows: files of models that answer the same requests beside that of a name, and whose answers are compared and
            not given.
        background: for each model, or for some, what reads the rows that explanations compare with.

    Raises:
        ModelFileError: a file cannot be loaded.
        SettingsError: there are no models, a name cannot be part of an address, or a shadow has other inputs.
    """

    def __init__(
        self,
        paths: Mapping[str, str | Path],
        shadows: Mapping[str, str | Path] | None = None,
        background: Mapping[str, ReadRows] | None = None,
    ) -> None:
        if not paths:
            raise SettingsError("name at least one model")
        self._checks: dict[str, Check] = {}
        self._shared_errors: Path | None = None
        self._lock = threading.Lock()  # of loading; `models` is replaced, never changed
        self._seen: dict[tuple[bool, str], FileState] = {}  # by whether it is a shadow model, and name
        self._errors: dict[str, str] = {}
        self._models: dict[str, ServedModel] = {}
        self._shadows: dict[str, ServedModel] = {}
        for name, path in paths.items():
            self._seen[False, name] = _state_of(Path(path))
            self._models[name] = load_model(_checked(name), Path(path), (background or {}).get(name))
        for name, path in (shadows or {}).items():
            if name not in self._models:
                raise SettingsError(f"there is no model {name!r} for which {str(path)!r} could be the shadow model")
            self._seen[True, name] = _state_of(Path(path))
            self._shadows[name] = load_model(name, Path(path))
            require_same_inputs(self._models[name], self._shadows[name])

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """The models by name."""
        return self._models

    def get(self, name: str) -> ServedModel:
        """Return the model of a name as it is now.

        Raises:
            Problem: 404, there is none.
        """
        model = self._models.get(name)
        if model is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no such model; there are {listed(self._models, 20)}")
        return model

    def shadow_of(self, name: str) -> ServedModel | None:
        """Return the model that is in the shadow of another, if there is one."""
        return self._shadows.get(name)

    @property
    def errors(self) -> dict[str, str]:
        """Why files could not be loaded, by the label of the model."""
        if self._shared_errors is None:
            return self._errors
        try:
            errors: dict[str, str] = json.loads(self._shared_errors.read_bytes())
            return errors
        except FileNotFoundError:
            return self._errors

    def share_errors(self, path: Path) -> None:
        """Store reload errors in a file, so that forked workers can report them."""
        self._shared_errors = path

    def require(self, name: str, check: Check) -> None:
        """Check a model, and from now on each version of it before it takes the place of another.

        Raises:
            SettingsError: the model does not pass.
        """
        check(self._models[name].predictor.schema)
        self._checks[name] = check

    def changed(self) -> bool:
        """Return whether a file has changed since it was last looked at."""
        return any(
            _state_of(self._loaded(is_shadow, name).path) != state for (is_shadow, name), state in self._seen.items()
        )

    def reload(self) -> list[Reload]:
        """Load the files that have changed; one that cannot be loaded leaves the model that is there."""
        with self._lock:
            before = dict(self._errors)
            outcomes = [self._reload(is_shadow, self._loaded(is_shadow, name)) for is_shadow, name in self._seen]
            if self._shared_errors is not None and self._errors != before:
                self._write_errors(self._shared_errors)
            return [outcome for outcome in outcomes if outcome is not None]

    def _write_errors(self, path: Path) -> None:
        try:
            replace_file(path, lambda file: file.write(json.dumps(self._errors).encode()))
        except ModelFileError as error:
            print(f"tabcohort: workers do not know of reload errors: {error}", file=sys.stderr, flush=True)

    def _loaded(self, is_shadow: bool, name: str) -> ServedModel:
        return self._shadows[name] if is_shadow else self._models[name]

    def _reload(self, is_shadow: bool, model: ServedModel) -> Reload | None:
        label = f"{model.name} (shadow)" if is_shadow else model.name
        state, before = _state_of(model.path), self._seen[is_shadow, model.name]
        if state == before and label not in self._errors:
            return None
        self._seen[is_shadow, model.name] = state
        try:
            new = load_model(model.name, model.path, model.background)
            if is_shadow:
                require_same_inputs(self._models[model.name], new)
            else:
                if model.name in self._checks:
                    self._checks[model.name](new.predictor.schema)
                if model.name in self._shadows:
                    require_same_inputs(new, self._shadows[model.name])
        except (ModelFileError, SettingsError) as error:
            self._errors[label] = str(error)
            message = f"{label}: keeping version {model.version}: {error}"
            return None if state == before else Reload(label, False, message)
        self._errors.pop(label, None)
        if new.fingerprint == model.fingerprint:
            return None
        if is_shadow:
            self._shadows = {**self._shadows, model.name: new}
        else:
            self._models = {**self._models, model.name: new}
        own, other = model.predictor.schema, new.predictor.schema
        differs = (own.features, own.target, own.classes) != (other.features, other.target, other.classes)
        warning = "; NOTE: its columns, target or classes are others" if differs else ""
        return Reload(label, True, f"{label}: replaced version {model.version} with {new.version}{warning}")


def model_names(arguments: list[str]) -> dict[str, str]:
    """Return the file of each model by its name: what stands before "=", or the file's name without its ending.

    Raises:
        SettingsError: two have one name.

    Examples:
        >>> model_names(["models/cancer.tabcohort", "new=models/cancer-2.tabcohort"])
        {'cancer': 'models/cancer.tabcohort', 'new': 'models/cancer-2.tabcohort'}
    """
    paths: dict[str, str] = {}
    for argument in arguments:
        name, is_named, path = argument.partition("=")
        if is_named and not MODEL_NAME.fullmatch(name) and not Path(argument).exists():
            raise SettingsError(f"a model's name has letters, digits and ._@-, and {name!r} has others")
        if not is_named or not MODEL_NAME.fullmatch(name):
            name, path = re.sub(r"[^A-Za-z0-9._@-]+", "-", Path(argument).stem).strip("-._@") or "model", argument
        if name in paths:
            raise SettingsError(f"two models are called {name!r}; name one of them: NAME={path}")
        paths[name] = path
    return paths


def require_same_inputs(model: ServedModel, shadow: ServedModel) -> None:
    """Raise `SettingsError` unless what one model is asked can be asked of the other."""
    own, other = model.predictor.schema, shadow.predictor.schema
    columns = {column.name: column for column in own.columns}
    lacking = [name for name in other.features if name not in columns]
    unlike = [column.name for column in other.columns if type(columns.get(column.name, column)) is not type(column)]
    if lacking or unlike or own.classes != other.classes:
        what = "its classes differ"
        if lacking or unlike:
            names = listed(map(repr, lacking or unlike), 5)
            what = f"it needs {names}" if lacking else f"its columns {names} are of another type"
        raise SettingsError(f"{str(shadow.path)!r} cannot be the shadow model of {model.name!r}: {what}")


def _checked(name: str) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise SettingsError(f"a model's name has letters, digits and ._@-, and {name!r} has others")
    return name


def _state_of(path: Path) -> FileState:
    """Return what tells whether a file has changed; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
