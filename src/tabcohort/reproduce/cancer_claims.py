"""The claims of the lessons on breast cancer with their verdicts, and the pictures of their page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from tabcohort.reproduce.cancer_weights import Weights, weight_claims, weight_picture
from tabcohort.reproduce.claims import CANNOT, Claim, Measured, machine_time, value_claim
from tabcohort.reproduce.findings import spread
from tabcohort.reproduce.pictures import Bar, Bars, Confusions, Matrix, Picture, loss_curves, mean_confusion
from tabcohort.training.module import Trained

CLAIMED_EPOCHS, CLAIMED_EPOCHS_OF_FIRST = 447, 105
CLAIMED_SECONDS = 120.0
CLAIMED_ACCURACY = {"train": 0.978, "test": 0.965}
CLAIMED_LOSSES = {1: 0.693, 10: 0.423, 50: 0.201, 100: 0.156}
CLAIMED_VAL_LOSSES = {1: 0.675, 10: 0.412, 50: 0.198, 100: 0.187}
CLAIMED_CONFUSION = ((45, 2), (2, 65))
RESULTS, PATTERN = "lesson 1B, results", "lesson 1B, learning process by numbers"
ACCOUNT = (
    "The lessons train a logistic regression on the 30 measurements of 569 biopsies: Adam at a rate of 0.001, "
    "batches of 32, until the loss of the held-out fifth of the rows has not improved for five epochs. They report "
    "97.8 % accuracy on the training rows and 96.5 % on the held-out rows, and take weights for importances.",
    "Here the same training ran with many seeds, each with another split. Measured were accuracies, losses, epochs, "
    "the confusion matrix and the weights, and what the mistakes do, also on few rows and on a network that overfits.",
)
PROTOCOLS = (
    "As the document does it: a stratified fifth of the rows both stops the training and is reported.",
    "With separate rows: a fifth of the training rows stops the training, and the reported fifth is used once.",
)


class HasMetrics(Protocol):
    """A training with the metrics of its training rows and of its test rows."""

    @property
    def trained(self) -> Trained:
        """With its history."""

    @property
    def train(self) -> Mapping[str, float]:
        """Metrics of the training rows."""

    @property
    def test(self) -> Mapping[str, float]:
        """Metrics of the test rows."""


def losses_at(runs: Sequence[HasMetrics], epoch: int, name: str) -> list[float]:
    """Return the losses of an epoch, of the runs that came so far."""
    histories = (run.trained.history for run in runs)
    return [getattr(history[epoch - 1], name) for history in histories if len(history) >= epoch]


def cancer_claims(lessons: Sequence[HasMetrics], weights: Weights, n_test: tuple[int, int]) -> tuple[Claim, ...]:
    """Return the claims of both lessons, beside the document's own protocol.

    Args:
        lessons: as the document trains.
        weights: of these trainings.
        n_test: numbers of benign and malignant test rows.
    """
    epochs = Measured("epochs", spread(len(run.trained.history) for run in lessons), ".0f")
    claims = [
        *(
            value_claim(
                f"Accuracy of the {part} rows",
                RESULTS,
                claimed,
                Measured(f"{part} accuracy", spread(getattr(run, part)["accuracy"] for run in lessons), ".1%"),
            )
            for part, claimed in CLAIMED_ACCURACY.items()
        ),
        value_claim("Epochs until it stops", RESULTS, CLAIMED_EPOCHS, epochs),
        value_claim("Epochs until it stops", f"{PATTERN} (other draft)", CLAIMED_EPOCHS_OF_FIRST, epochs),
        machine_time(
            "Training takes",
            PATTERN,
            CLAIMED_SECONDS,
            Measured("seconds", spread(run.trained.history[-1].seconds for run in lessons)),
        ),
    ]
    parts = (("training", "train_loss", CLAIMED_LOSSES), ("validation", "val_loss", CLAIMED_VAL_LOSSES))
    for what, name, losses in parts:
        for epoch, claimed in losses.items():
            if values := losses_at(lessons, epoch, name):
                measured = Measured(f"{what} loss", spread(values))
                claim = value_claim(f"The {what} loss of epoch {epoch}", PATTERN, claimed, measured)
                if len(values) < len(lessons):
                    reason = f"{claim.reason}; {len(values)} of {len(lessons)} runs came so far"
                    claim = replace(claim, reason=reason)
                claims.append(claim)
    return (*claims, confusion_claim(lessons, n_test), *weight_claims(weights))


def confusion_claim(lessons: Sequence[HasMetrics], n_test: tuple[int, int]) -> Claim:
    """Return the claim of the confusion matrix, whose classes have other sizes than any stratified fifth."""
    benign, malignant = n_test
    errors = (
        Measured(
            "benign taken for malignant", spread(benign * (1 - run.test["specificity"]) for run in lessons), ".1f"
        ),
        Measured("malignant missed", spread(malignant * (1 - run.test["sensitivity"]) for run in lessons), ".1f"),
    )
    (a, b), (c, d) = CLAIMED_CONFUSION
    return Claim(
        "The confusion matrix of the 114 test rows",
        RESULTS,
        f"[[{a} {b}] [{c} {d}]]",
        errors,
        CANNOT,
        f"its classes have {a + b} and {c + d} rows; a stratified fifth has {benign} benign and {malignant} malignant",
    )


def cancer_pictures(
    lessons: Sequence[HasMetrics], separate: Sequence[HasMetrics], weights: Weights, n_test: tuple[int, int]
) -> tuple[Picture, ...]:
    """Return losses of both protocols, the confusion matrices, weights and accuracies."""
    matrices: dict[str, Matrix] = {"document": CLAIMED_CONFUSION}
    for name, runs in (("same protocol, mean", lessons), ("separate rows, mean", separate)):
        matrices[name] = mean_confusion([run.test for run in runs], [n_test] * len(runs))
    bars = tuple(
        Bar(f"{part}, {name}", spread(getattr(run, part)["accuracy"] for run in runs), CLAIMED_ACCURACY[part])
        for part in ("train", "test")
        for name, runs in (("same protocol", lessons), ("separate rows", separate))
    )
    return (
        loss_curves(
            "Losses, same protocol", [run.trained.history for run in lessons], "test rows, which also stop the training"
        ),
        loss_curves("Losses, separate rows", [run.trained.history for run in separate]),
        Confusions(
            "Confusion matrices (rows: true class; columns: predicted class)",
            ("benign", "malignant"),
            matrices,
            "The document takes class 1 for malignant; in the data set that it loads, 0 is malignant.",
        ),
        weight_picture(weights),
        Bars("Accuracy", bars, ".1%"),
    )
