"""The experiments by name. Nothing heavy is imported before one runs: the command line takes the names from here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tabcohort.errors import SettingsError, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from tabcohort.reproduce.findings import Findings

EXPERIMENTS = ("cancer", "descents", "wine", "patent", "scratch")


def run(name: str, seeds: int | None, messages: Console) -> Findings:
    """Run one experiment.

    Args:
        name: one of `EXPERIMENTS`.
        seeds: number of repeats, with seeds 0, 1, ...; the experiment's own number when omitted.
        messages: where to show progress.

    Raises:
        SettingsError: there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise SettingsError(
            f"there is no experiment {name!r}{nearest(name, EXPERIMENTS)}; there are {', '.join(EXPERIMENTS)}"
        )
    messages.print(f"{name}: loading PyTorch and scikit-learn")
    importlib.import_module("torch")
    messages.print(f"{name}: starting")
    experiment = importlib.import_module(f"tabcohort.reproduce.{name}")
    findings: Findings = experiment.run(messages) if seeds is None else experiment.run(messages, seeds)
    return findings


def run_grid(messages: Console, halving: bool) -> Findings:
    """Run the tuning of the patent network as one cohort.

    Args:
        messages: where to show progress.
        halving: whether configs with a high loss are dropped early.
    """
    from tabcohort.reproduce.patent_grid import run as run_experiment

    return run_experiment(messages, halving)


def run_tables(seeds: int | None, messages: Console) -> Findings:
    """Train the variants of the patent document's result tables.

    Args:
        seeds: number of repeats; ten when omitted.
        messages: where to show progress.
    """
    from tabcohort.reproduce.patent_tables import run as run_experiment

    return run_experiment(messages) if seeds is None else run_experiment(messages, seeds)
