"""The processes that train one network together: who they are, and which rows of a step are whose.

`torchrun` starts them and tells each one its number and how many there are, in the variables RANK and WORLD_SIZE.
Nothing here imports PyTorch: one process, the usual case, needs none of `tabcohort.engines.distributed`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from tabcohort.errors import EngineError

ADDRESS = ("MASTER_ADDR", "MASTER_PORT")  # of the process that the others ask for theirs
AnyState = TypeVar("AnyState")


class Ranks:
    """The processes that train a network; this class is for a single one, which exchanges nothing.

    Args:
        rank: number of this process, counted from 0.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def share(self, n_rows: int) -> slice:
        """Return which of `n_rows` rows this process computes: one part per process, their sizes within one row.

        Examples:
            >>> [Ranks(rank, 3).share(8) for rank in range(3)]
            [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(self.rank * n_rows // self.size, (self.rank + 1) * n_rows // self.size)

    def add_up(self, tensor: Any) -> None:
        """Replace a tensor by the sum of those of all processes, the same bits in each of them."""

    def gather_rows(self, rows: Any, n_rows: int) -> Any:
        """Return all `n_rows` rows, of which each process has its share."""
        return rows

    def copy_from_first(self, tensors: Iterable[Any]) -> None:
        """Replace tensors by those of the first process."""

    def bytes_of_first(self, content: bytes) -> bytes:
        """Return what the first process gives."""
        return content

    def agreed(self, callback: Callable[[AnyState], str | None]) -> Callable[[AnyState], str | None]:
        """Return a callback that returns in each process what the given one returns in the first process."""
        return callback

    def check_same(self, digests: Mapping[str, str]) -> None:
        """Raise `TrainingError` unless all processes have the same SHA-256 of each of these things."""

    def joint_batch_norm(self, module: Any) -> AbstractContextManager[None]:
        """Return a context in which batch normalisation in training uses the rows of all processes."""
        return nullcontext()


def launched() -> tuple[int, int]:
    """Return the number of this process and of all, as `torchrun` gives them; `(0, 1)` without it.

    Raises:
        EngineError: what the environment says is not complete or not a number.
    """
    names = ("RANK", "WORLD_SIZE")
    given = [os.environ.get(name) for name in names]
    if None in given or given[1] == "1":
        return 0, 1
    try:
        rank, size = (int(str(text)) for text in given)
        is_valid = 0 <= rank < size
    except ValueError:
        is_valid = False
    if not is_valid:
        raise EngineError(
            f"RANK and WORLD_SIZE must be the number of this process and how many there are; they are {given[0]!r} and "
            f"{given[1]!r}: start the processes with torchrun, or unset both"
        )
    missing = [name for name in ADDRESS if not os.environ.get(name)]
    if missing:
        raise EngineError(
            f"RANK and WORLD_SIZE ask for {size} processes, and {missing[0]} is not set: start them with torchrun, or "
            "unset both"
        )
    return rank, size
