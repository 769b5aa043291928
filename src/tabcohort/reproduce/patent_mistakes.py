"""Mistakes of the patent document, with their measured effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabcohort.reproduce.findings import Mistake, spread
from tabcohort.reproduce.mistakes import adamw_decay, loss_on_probabilities
from tabcohort.reproduce.patent_examples import BATCH_SIZE, CLAIMED_LAYERS, CLAIMED_LEFTOVER, count_parameters

if TYPE_CHECKING:
    from tabcohort.reproduce.patent import PatentRun


def patent_mistakes(runs: Sequence[PatentRun], n_train: int, n_validation: int) -> tuple[Mistake, ...]:
    """Return all of them.

    Args:
        runs: the trainings.
        n_train, n_validation: numbers of rows.
    """
    return (
        parameter_sum(),
        rows_left_over(n_train),
        reports_validation_rows(runs, n_validation),
        adamw_decay(),
        loss_on_probabilities(),
    )


def parameter_sum() -> Mistake:
    """Compare the number of the network's parameters with the document's table of them."""
    figures = {"claimed": float(sum(CLAIMED_LAYERS.values())), "counted": float(count_parameters())}
    effect = (
        "the layers of `ResidualMLP`, one linear layer and a projected skip per block, have {counted:,.0f}; the "
        "document's {claimed:,.0f} counts a second, square matrix per block instead of the skip's projection"
    ).format(**figures)
    return Mistake("sums its parameters over layers that do not exist", effect, figures)


def rows_left_over(n_train: int) -> Mistake:
    """Count the rows that the document's `drop_last` leaves out of every epoch."""
    figures = {"left_over": float(n_train % BATCH_SIZE), "claimed": float(CLAIMED_LEFTOVER)}
    effect = (
        f"{n_train:,} rows in batches of {BATCH_SIZE} leave {{left_over:.0f}} rows, not {{claimed:.0f}}; they are "
        "different ones in every epoch, so this does little harm; our training uses them"
    ).format(**figures)
    return Mistake("drops the last short batch of every epoch", effect, figures)


def reports_validation_rows(runs: Sequence[PatentRun], n_validation: int) -> Mistake:
    """Compare the metrics of the validation rows with those of the test rows."""
    figures = {
        metric: spread(run.validation[metric] - run.test[metric] for run in runs).mean
        for metric in ("roc_auc", "accuracy")
    }
    effect = (
        f"validation minus test rows: ROC AUC {{roc_auc:+.4f}}, accuracy {{accuracy:+.2%}}; with {n_validation:,} rows "
        "this is sampling noise, with few rows it is a bias (see `reproduce cancer`)"
    ).format(**figures)
    return Mistake("reports metrics of its validation rows", effect, figures)
