"""The engine states of paused members, in files of a folder, so that memory does not grow with their number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tabcohort.cohort.plan import Member
from tabcohort.engines.protocol import State
from tabcohort.training.loop import TrainingState

PAUSED = "paused"


class StateStore:
    """Keeps the states that a paused member resumes from.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def put(self, member: Member, state: TrainingState) -> TrainingState:
        """Return a training without its engine states, which are written to a file if it paused."""
        from safetensors.numpy import save_file

        if state.stop_reason == PAUSED:
            arrays = {f"now.{name}": array for name, array in state.engine_state.items()}
            arrays.update({f"best.{name}": array for name, array in state.best_state.items()})
            save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, self._path(member))
        return replace(state, engine_state={}, best_state={})

    def take(self, member: Member, state: TrainingState) -> TrainingState:
        """Return a paused training with its engine states, ready to resume, and remove their file."""
        from safetensors.numpy import load_file

        states: dict[str, State] = {"now": {}, "best": {}}
        for key, array in load_file(self._path(member)).items():
            which, name = key.split(".", 1)
            states[which][name] = array
        self.remove(member)
        return replace(state, engine_state=states["now"], best_state=states["best"], stop_reason=None)

    def remove(self, member: Member) -> None:
        """Remove a member's file, if there is one."""
        self._path(member).unlink(missing_ok=True)

    def _path(self, member: Member) -> Path:
        return self.folder / f"{member.config}-{member.number}.safetensors"
