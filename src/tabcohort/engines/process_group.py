"""The processes of this training, to which this one connects when it first asks for them."""

from __future__ import annotations

import functools

from tabcohort.engines.ranks import Ranks, launched


@functools.cache
def ranks() -> Ranks:
    """Return the processes of this training, and connect to the others on the first call.

    Raises:
        EngineError: the environment or PyTorch does not allow it.
    """
    rank, size = launched()
    if size == 1:
        return Ranks()
    from tabcohort.engines.distributed import ConnectedRanks  # PyTorch takes a second to import

    return ConnectedRanks(rank, size)
