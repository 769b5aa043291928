"""What the second draft of lesson 1B wishes for, and where each is now."""

from __future__ import annotations

from dataclasses import dataclass

from tabcohort.reproduce.findings import Row, Sheet


@dataclass(frozen=True)
class Wish:
    """A wish of the document: what it is, what answers it here, and the command that shows it."""

    what: str
    answer: str
    command: str


WISHES = (
    Wish("uncertainty", "calibrated probabilities, intervals, prediction sets",
         "tabcohort predict cancer.tabcohort TABLE"),
    Wish("interactions of columns", "networks and trees beside linear models, and their effects in the report",
         "tabcohort fit TABLE --report report.html"),
    Wish("deeper networks", "any hidden layers, residual networks", "tabcohort fit TABLE --model residual"),
    Wish("more training data", "a learning curve says what more rows would bring",
         "tabcohort fit TABLE --learning-curve"),
    Wish("augmentation", "mixup, measured by `reproduce scratch`", "tabcohort fit TABLE --settings FILE.toml"),
    Wish("cross-validation", "every figure comes from rows that no part of training saw", "tabcohort fit TABLE"),
    Wish("a screen for doctors", "pages for records, files and what-if questions", "tabcohort serve cancer.tabcohort"),
    Wish("explanations", "Shapley values of every prediction", "tabcohort explain cancer.tabcohort TABLE --row 1"),
    Wish("medical records", "FHIR, CDS Hooks", "tabcohort serve cancer.tabcohort --fhir-mapping MAP.toml"),
)  # fmt: skip


def wish_sheet() -> Sheet:
    """Return the wishes as a table."""
    rows = tuple(Row(wish.what, (wish.answer, wish.command)) for wish in WISHES)
    return Sheet("wishes of the second draft, and where they are now", ("here", "command"), rows)
