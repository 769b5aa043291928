"""Writes a member's training to a file as it goes, and resumes from that file to the same bits."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path

from tabcohort.container import read_container, write_container
from tabcohort.engines.protocol import Engine, State
from tabcohort.engines.validation import ValidationSet
from tabcohort.errors import ModelFileError
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, EpochRecord, TrainingState, train_network
from tabcohort.training.schedule import Plateau

SECONDS_BETWEEN = 10.0


class Checkpoint:
    """One member's training in a file: written at most every ten seconds, when training ends, and on Ctrl-C.

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
        if not self.path.exists():
            return None
        arrays, document = read_container(self.path, "checkpoint")
        if document["identity"] != self.identity:
            raise ModelFileError(
                f"the checkpoint {str(self.path)!r} is of another config or other data; remove its folder, or name "
                "another"
            )
        states: dict[str, State] = {"best": {}, "now": {}}
        for key, array in arrays.items():
            which, name = key.split(".", 1)
            states[which][name] = array
        return TrainingState(
            history=tuple(EpochRecord(**record) for record in document["history"]),
            best_epoch=document["best_epoch"],
            best_state=states["best"],
            plateau=Plateau(**document["plateau"]),
            stop_reason=document["stop_reason"],
            engine_state=states["now"],
        )

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

    def save(self, state: TrainingState) -> None:
        """Write a training that has ended."""
        self._state, self._engine_state = state, State()
        self._write()

    def _write(self) -> None:
        """Write the last epoch that was done, whatever the engine has begun since."""
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
