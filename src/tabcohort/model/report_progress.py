"""How far the facts of a report are: they take seconds with a large table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What is done, in this order: without a table the first alone, with another than that of training no importances,
    effects and interactions.
    """

    PREDICTIONS = "predictions"
    SUBGROUPS = "subgroups"
    IMPORTANCES = "importances"
    EFFECTS = "effects"
    INTERACTIONS = "interactions"
    REASONS = "reasons"


@dataclass(frozen=True)
class ReportProgress:
    """How far the facts of a report are.

    Args:
        stage: that is being done.
        n_done, n_parts: parts of the stage that are done, and all.
    """

    stage: Stage
    n_done: int = 0
    n_parts: int = 1


ReportCallback = Callable[[ReportProgress], None]


def ignore(progress: ReportProgress) -> None:
    """Do nothing."""
