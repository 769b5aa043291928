"""Writes a member's training to a file as it goes, and goes on from that file to the same bits."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tabcohort.container import read_container, write_container
from tabcohort.engines.protocol import Engine
from tabcohort.errors import ModelFileError
from tabcohort.training.loop import EpochRecord, Progress
from tabcohort.training.schedule import Plateau

SECONDS_BETWEEN = 10.0


class Checkpointer:
    """Keeps one member's progress in a file: at most every ten seconds, when training ends, and on Ctrl-C.

    Args:
        path: the file; it need not be there yet.
        engine: the engine whose state is kept.
        identity: whatever must be equal for a checkpoint to be gone on from (settings, data).
    """

    def __init__(self, path: str | Path, engine: Engine, identity: str) -> None:
        self.path = Path(path)
        self.engine = engine
        self.identity = hashlib.sha256(identity.encode()).hexdigest()
        self.written = time.perf_counter()
        self.progress = Progress()
        self.state: dict[str, NDArray[np.generic]] = {}

    def resume(self) -> Progress | None:
        """Return the progress where the file left off, with the engine's state of then; None when there is no file.

        Raises:
            ModelFileError: the file is damaged, or belongs to other settings or data.
        """
        if not self.path.exists():
            return None
        arrays, document = read_container(self.path, "checkpoint")
        if document["identity"] != self.identity:
            raise ModelFileError(
                f"the checkpoint {str(self.path)!r} is of other settings or data; remove its folder, or name another"
            )
        best_state: dict[str, NDArray[np.generic]] = {name: arrays[f"best.{name}"] for name in self.engine.state}
        self.state = {name: arrays[f"now.{name}"] for name in self.engine.state}
        self.progress = Progress(
            history=tuple(EpochRecord(**record) for record in document["history"]),
            best_epoch=document["best_epoch"],
            best_state=best_state,
            plateau=Plateau(**document["plateau"]),
            stop_reason=document["stop_reason"],
            state=self.state,
        )
        return self.progress

    def go_on_from(self, progress: Progress) -> Progress:
        """Take over, and return, a progress that paused a moment ago, so that no file need be read."""
        self.progress, self.state = progress, progress.state
        return progress

    def keep(self, progress: Progress) -> None:
        """Remember the epoch that is done; write it if training is over or the last writing was long ago."""
        self.progress = progress
        self.state = {name: array.copy() for name, array in self.engine.state.items()}
        if progress.stop_reason is not None or time.perf_counter() - self.written >= SECONDS_BETWEEN:
            self.write()

    def write(self) -> None:
        """Write the last epoch that was done, whatever the engine has begun since."""
        progress = self.progress
        arrays = {f"now.{name}": array for name, array in self.state.items()}
        arrays.update({f"best.{name}": array for name, array in progress.best_state.items()})
        document = {
            "identity": self.identity,
            "history": [dataclasses.asdict(record) for record in progress.history],
            "best_epoch": progress.best_epoch,
            "plateau": dataclasses.asdict(progress.plateau),
            "stop_reason": progress.stop_reason,
        }
        write_container(self.path, "checkpoint", arrays, document)
        self.written = time.perf_counter()
