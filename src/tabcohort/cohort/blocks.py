"""The blocks of a run: members of one config that the batched engine trains side by side."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tabcohort.cohort.plan import CohortPlan
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.network.program import Network

if TYPE_CHECKING:
    from tabcohort.engines.batched import Block


class Blocks:
    """Makes the engines of members, those of one config in one block.

    Args:
        plan: of the cohort.
    """

    def __init__(self, plan: CohortPlan) -> None:
        self.plan = plan
        self._blocks: dict[int, Block] = {}
        self._lock = threading.Lock()

    def make_engine(self, config: int, network: Network, data: MemberData) -> Engine:
        """Return the engine of a member of a config, counted from 0, which joins those that train now."""
        from tabcohort.engines.batched import Block  # PyTorch takes a second to import

        with self._lock:
            if config not in self._blocks:
                self._blocks[config] = Block(network.program, self.plan.configs[config])
        return self._blocks[config].make_engine(network, data)

    def __reduce__(self) -> tuple[Any, ...]:
        return Blocks, (self.plan,)  # another process has blocks of its own
