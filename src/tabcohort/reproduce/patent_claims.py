"""The claims of the patent document on its network as a whole, with their verdicts, and the pictures of its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tabcohort.reproduce.claims import Claim, Measured, machine_time, value_claim
from tabcohort.reproduce.findings import spread
from tabcohort.reproduce.pictures import (
    Bar,
    Bars,
    Confusions,
    Curve,
    Curves,
    Picture,
    loss_curves,
    mean_confusion,
    mean_curve,
)
from tabcohort.training.loop import EpochRecord
from tabcohort.types import FloatArray

if TYPE_CHECKING:
    from tabcohort.reproduce.patent import PatentRun

CLAIMED = {"roc_auc": 0.972, "accuracy": 0.917, "log_loss": 0.146, "epochs": 50.0}
LABELS = {"roc_auc": "ROC AUC", "accuracy": "accuracy", "log_loss": "log loss"}
WHERE = {"roc_auc": "scaling, optimizer and mixup tables", "accuracy": "mixup table", "log_loss": "patience table"}
SECONDS_PER_BATCH, SECONDS_PER_EPOCH = 0.22, 35.0
HALVINGS, LARGE_NORM = (21, 36, 45), 28.5  # of the learning rate; of a gradient
SCHEDULER, CLIPPING, BATCH = "learning rate scheduler", "gradient clipping", "complete training batch"
RATE_LABEL = "learning rate × 1,000"
ACCOUNT = (
    "The document walks through the training of a residual network on 39,979 pairs of patents with ten features: AdamW "
    "at a rate of 0.002 that is halved on a plateau, batches of 256, mixup, clipped gradients, early stopping. It "
    "reports a validation ROC AUC of 0.972.",
    "The patents are not public here. The same training ran on synthetic pairs with the document's feature means and "
    "scales, whose labels were drawn from known probabilities with a best possible ROC AUC of 0.972. The figures show "
    "how the training behaves, not what it would reach on patents.",
)
PROTOCOLS = (
    "As the document does it: the validation rows halve the rate, stop the training and are reported.",
    "With separate rows: test rows, which nothing else touched, are measured once.",
)


def patent_claims(runs: Sequence[PatentRun], norms: Sequence[FloatArray]) -> tuple[Claim, ...]:
    """Return the claims on the training as a whole.

    Args:
        runs: the trainings.
        norms: of the gradients of other trainings, each `(n_epochs, n_steps)`.
    """
    epochs = Measured("epochs", spread(run.epochs for run in runs), ".0f")
    return (
        *validation_claims(runs),
        value_claim("Epochs until early stopping", SCHEDULER, CLAIMED["epochs"], epochs),
        *halving_claims(runs),
        *clipping_claims(norms),
        machine_time(
            "A batch takes", BATCH, SECONDS_PER_BATCH,
            Measured("seconds", spread(run.seconds_per_batch for run in runs), ".5f"),
        ),
        machine_time(
            "An epoch takes", BATCH, SECONDS_PER_EPOCH,
            Measured("seconds", spread(run.seconds_per_epoch for run in runs), ".3f"),
        ),
    )  # fmt: skip


def validation_claims(runs: Sequence[PatentRun]) -> list[Claim]:
    """Return the claims on the validation rows; of the loss also what these labels allow."""
    claims = [
        value_claim(
            f"Validation {label}",
            WHERE[metric],
            CLAIMED[metric],
            Measured(f"{label}, validation rows", spread(run.validation[metric] for run in runs), ".4f"),
        )
        for metric, label in LABELS.items()
    ]
    lowest = Measured("lowest possible, test rows", spread(run.best["log_loss"] for run in runs), ".4f")
    loss = claims[-1]
    if CLAIMED["log_loss"] < lowest.value.mean:
        reason = (
            f"no model can be below {lowest.value.mean:.3f} on these pairs, whose best ROC AUC is the document's: its "
            "loss, ROC AUC and accuracy are not of labels like these"
        )
        loss = replace(loss, reason=reason)
    return [*claims[:-1], replace(loss, measured=(*loss.measured, lowest))]


def halving_claims(runs: Sequence[PatentRun]) -> list[Claim]:
    """Return when the plateau schedule halves the learning rate first, and how often it does."""
    claims = [
        value_claim(
            "Times that the learning rate is halved", SCHEDULER, len(HALVINGS),
            Measured("halvings", spread(len(run.halvings) for run in runs), ".1f"),
        )
    ]  # fmt: skip
    if first := [run.halvings[0] for run in runs if run.halvings]:
        measured = Measured("epoch", spread(first), ".1f")
        claims.append(value_claim("First epoch with half the rate", SCHEDULER, HALVINGS[0], measured))
    return claims


def clipping_claims(norms: Sequence[FloatArray]) -> list[Claim]:
    """Return how large gradients become in a training whose gradients are clipped."""
    if not norms:
        return []
    quantities = (
        Measured("largest norm of a run", spread(norm.max() for norm in norms), ".2f"),
        Measured("median norm", spread(float(np.median(norm)) for norm in norms), ".2f"),
        Measured("steps that are clipped", spread(float(np.mean(norm > 1)) for norm in norms), ".1%"),
    )
    claim = value_claim("Norm of a rare, large gradient", CLIPPING, LARGE_NORM, quantities[0])
    return [replace(claim, measured=quantities)]


def patent_pictures(runs: Sequence[PatentRun], norms: Sequence[FloatArray]) -> tuple[Picture, ...]:
    """Return losses, rates, gradient norms, the confusion of the test rows, and ROC AUC beside the best possible one.

    Args:
        runs: the trainings.
        norms: of the gradients of other trainings, each `(n_epochs, n_steps)`.
    """
    bars = (
        Bar("validation rows", spread(run.validation["roc_auc"] for run in runs), CLAIMED["roc_auc"]),
        Bar("test rows", spread(run.test["roc_auc"] for run in runs)),
        Bar("test rows, best possible", spread(run.best["roc_auc"] for run in runs)),
    )
    matrix = mean_confusion([run.test for run in runs], [run.n_test for run in runs])
    return (
        loss_curves("Losses", [run.history for run in runs]),
        Curves("Learning rate, one seed", ("epoch", RATE_LABEL), (rate_curve("learning rate", runs[0].history),)),
        *norm_pictures(norms),
        Confusions(
            "Confusion matrix of the test rows, mean (rows: true class; columns: predicted class)",
            ("not similar", "similar"),
            {"ours": matrix},
        ),
        Bars("ROC AUC", bars, ".4f"),
    )


def norm_pictures(norms: Sequence[FloatArray]) -> list[Picture]:
    """Return the median and the largest gradient norm of each epoch."""
    if not norms:
        return []
    curves = (
        mean_curve("largest of an epoch", [norm.max(axis=1).tolist() for norm in norms]),
        mean_curve("median of an epoch", [np.median(norm, axis=1).tolist() for norm in norms]),
    )
    return [Curves("Norm of the gradient before it is clipped to 1", ("epoch", "norm"), curves)]


def rate_curve(name: str, history: Sequence[EpochRecord]) -> Curve:
    """Return 1,000 times the learning rate of each epoch of one training."""
    return mean_curve(name, [[1_000 * record.learning_rate for record in history]])
