"""Writes a member's training to a file as it goes, and resumes from that file to the same bits."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.container import read_container, write_container
from tabcohort.engines.process_group import ranks
from tabcohort.engines.protocol import Engine, State
from tabcohort.engines.validation import ValidationSet
from tabcohort.errors import ModelFileError
from tabcohort.plain_values import PlainValues
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, EpochRecord, TrainingState, reason_to_stop, train_network
from tabcohort.training.schedule import Plateau

SECONDS_BETWEEN = 10.0
FINISHED = ("patience", "max_epochs")  # why a training ended that does not go on; no other reason is written


class Checkpoint:
    """One member's training in a file: written at most every ten seconds, when training ends, and on Ctrl-C.

    Of several processes that train a network together, only the first one reads and writes the file; the others get its
    content from there.

    Args:
        path: the file; it need not exist yet.
        identity: what must be equal for a checkpoint to be resumed from (config, data).
    """

    def __init__(self, path: str | Path, identity: str) -> None:
        self.path = Path(path)
        self.identity = hashlib.sha256(identity.encode()).hexdigest()
        self._written = time.perf_counter()
        self._state, self._engine_state = TrainingState(), State()

    def load(self) -> TrainingState | None:
        """Return the training where the file left off; None if there is no file.

        Raises:
            ModelFileError: the file is damaged, or belongs to another config or other data.
        """
        processes = ranks()
        exists = processes.rank == 0 and self.path.exists()
        if processes.size == 1:
            return self._read(self.path) if exists else None
        content = processes.bytes_of_first(self.path.read_bytes() if exists else b"")
        with tempfile.TemporaryDirectory(prefix="tabcohort-") as folder:
            copy = Path(folder) / self.path.name
            copy.write_bytes(content)
            return self._read(copy) if content else None

    def _read(self, path: Path) -> TrainingState:
        arrays, document = read_container(path, "checkpoint")
        if document.get("identity") != self.identity:
            raise ModelFileError(
                f"the checkpoint {str(self.path)!r} is of another config or other data; remove its folder, or name "
                "another"
            )
        try:
            return _state_of(PlainValues(document, ""), arrays)
        except ValueError as error:
            raise self._invalid(error) from None

    def _invalid(self, error: object) -> ModelFileError:
        return ModelFileError(f"the checkpoint {str(self.path)!r} is not valid: {error}; remove its folder")

    def train(
        self,
        engine: Engine,
        validation: ValidationSet,
        config: Config,
        callback: EpochCallback,
        resume_from: TrainingState | None,
    ) -> TrainingState:
        """Train as `train_network` does, and write the file as training goes and when it ends."""
        if resume_from is not None:
            self._check(resume_from, engine.snapshot(), config)
            self._state, self._engine_state = resume_from, resume_from.engine_state

        def keep(state: TrainingState) -> str | None:
            self._state, self._engine_state = state, engine.snapshot()
            if state.stop_reason is not None or time.perf_counter() - self._written >= SECONDS_BETWEEN:
                self._write()
            return callback(state)

        state = train_network(engine, validation, config, keep, resume_from)
        if not state.is_finished:
            self._write()
        return state

    def _check(self, state: TrainingState, expected: State, config: Config) -> None:
        """Raise `ModelFileError` unless a training is one of this engine and this config."""
        if state.n_epochs > config.max_epochs:
            raise self._invalid(f"it has {state.n_epochs} epochs, and at most {config.max_epochs} are trained")
        due = reason_to_stop(state.n_epochs, state.best_epoch, config)
        if state.stop_reason != due:
            raise self._invalid(f"its stop_reason is {state.stop_reason}, and of its history it must be {due}")
        for kept in filter(None, (state.best_state, state.engine_state)):
            for name in kept.keys() ^ expected.keys():
                raise self._invalid(f"the array {name!r} is missing or unknown")
            for name, array in kept.items():
                shape, dtype = expected[name].shape, expected[name].dtype
                if (array.shape, array.dtype) != (shape, dtype):
                    raise self._invalid(f"the array {name!r} is not of shape {shape} and {dtype}")
                if (np.isfinite(array) != np.isfinite(expected[name])).any():  # NaN stands for what is missing
                    raise self._invalid(f"the array {name!r} is not finite")

    def save(self, state: TrainingState) -> None:
        """Write a training that has ended, paused or been stopped; only an end of its own is kept as such."""
        stop_reason = state.stop_reason if state.is_finished else None
        self._state, self._engine_state = dataclasses.replace(state, stop_reason=stop_reason), state.engine_state
        self._write()

    def _write(self) -> None:
        """Write the last epoch that was done, whatever the engine has begun since."""
        if ranks().rank > 0:
            return
        state = self._state
        arrays = {f"now.{name}": array for name, array in self._engine_state.items()}
        arrays.update({f"best.{name}": array for name, array in state.best_state.items()})
        document = {
            "identity": self.identity,
            "history": [record._asdict() for record in state.history],
            "best_epoch": state.best_epoch,
            "plateau": dataclasses.asdict(state.plateau),
            "stop_reason": state.stop_reason,
        }
        write_container(self.path, "checkpoint", arrays, document)
        self._written = time.perf_counter()


def _state_of(values: PlainValues, arrays: dict[str, NDArray[Any]]) -> TrainingState:
    """Return the training that a checkpoint describes.

    Raises:
        ValueError: it describes none.
    """
    states: dict[str, State] = {"best": {}, "now": {}}
    for key, array in arrays.items():
        which, _, name = key.partition(".")
        if which not in states:
            raise ValueError(f"the array {key!r} is unknown")
        states[which][name] = array
    history = tuple(map(_record, values.children("history")))
    if not history or [record.epoch for record in history] != list(range(1, len(history) + 1)):
        raise ValueError("its history must have the epochs 1, 2, ...")
    plateau = values.child("plateau")
    stop_reason = None if values.is_null("stop_reason") else values.text("stop_reason", FINISHED)
    values.only(("kind", "format", "identity", "history", "best_epoch", "plateau", "stop_reason"))
    if not states["best"] or (stop_reason is None and not states["now"]):
        raise ValueError("the arrays of its best or of its last epoch are missing")
    return TrainingState(
        history=history,
        best_epoch=values.whole("best_epoch", low=1, high=len(history)),
        best_state=states["best"],
        plateau=Plateau(
            factor=plateau.number("factor", low=0, high=1),
            best=None if plateau.is_null("best") else plateau.number("best"),
            n_waited=plateau.whole("n_waited"),
        ),
        stop_reason=stop_reason,
        engine_state=states["now"],
    )


def _record(values: PlainValues) -> EpochRecord:
    values.only(EpochRecord._fields)
    numbers = {name: values.number(name) for name in EpochRecord._fields if name != "epoch"}
    return EpochRecord(epoch=values.whole("epoch", low=1), **numbers)
