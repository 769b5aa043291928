"""The claims of the patent document on its network as a whole, with their verdicts, and the pictures of its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabcohort.reproduce.claims import CANNOT, HOLDS, Claim, Measured, value_claim
from tabcohort.reproduce.findings import Spread, spread
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
from tabcohort.reproduce.worked_examples import patent_examples
from tabcohort.training.loop import EpochRecord

if TYPE_CHECKING:
    from tabcohort.reproduce.patent import PatentRun

CLAIMED = {"roc_auc": 0.972, "accuracy": 0.917, "log_loss": 0.146, "epochs": 50.0}
LABELS = {"roc_auc": "ROC AUC", "accuracy": "accuracy", "log_loss": "log loss"}
WHERE = {"roc_auc": "scaling, optimizer and mixup tables", "accuracy": "mixup table", "log_loss": "patience table"}
CLAIMED_LAYERS = {
    "input norm": 20, "block 10-256": 68_608, "block 256-128": 49_408, "output norm": 256, "output": 129,
}  # fmt: skip
CLAIMED_LEFTOVER = 27
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


def patent_claims(runs: Sequence[PatentRun], n_parameters: int, n_left_over: int) -> tuple[Claim, ...]:
    """Return the claims on the validation rows, the number of parameters and the last batch.

    Args:
        runs: the trainings.
        n_parameters: of the network.
        n_left_over: rows that fill no batch.
    """
    claims = [
        value_claim(
            f"Validation {label}",
            WHERE[metric],
            CLAIMED[metric],
            Measured(f"{label}, validation rows", spread(run.validation[metric] for run in runs), ".4f"),
        )
        for metric, label in LABELS.items()
    ]
    epochs = Measured("epochs", spread(run.epochs for run in runs), ".0f")
    claims.append(value_claim("Epochs until early stopping", "learning rate scheduler", CLAIMED["epochs"], epochs))
    total = sum(CLAIMED_LAYERS.values())
    claims.append(_counted("Parameters of the network", "model creation", total, n_parameters))
    claims.append(_counted("Rows left over by the last batch", "DataLoader creation", CLAIMED_LEFTOVER, n_left_over))
    return (*claims, *patent_examples())


def _counted(text: str, where: str, claimed: int, counted: int) -> Claim:
    """Return a claim of a number that can be counted."""
    is_right = claimed == counted
    reason = "counted" if is_right else f"there are {counted:,}, whatever is trained"
    measured = (Measured("counted", Spread(float(counted), None, 1), ",.0f"),)
    return Claim(text, where, f"{claimed:,}", measured, HOLDS if is_right else CANNOT, reason)


def patent_pictures(runs: Sequence[PatentRun]) -> tuple[Picture, ...]:
    """Return losses, the learning rate, the confusion of the test rows, and ROC AUC beside the best possible one."""
    bars = (
        Bar("validation rows", spread(run.validation["roc_auc"] for run in runs), CLAIMED["roc_auc"]),
        Bar("test rows", spread(run.test["roc_auc"] for run in runs)),
        Bar("test rows, best possible", spread(run.best["roc_auc"] for run in runs)),
    )
    matrix = mean_confusion([run.test for run in runs], [run.n_test for run in runs])
    return (
        loss_curves("Losses", [run.history for run in runs]),
        Curves("Learning rate, seed 0", ("epoch", RATE_LABEL), (rate_curve("learning rate", runs[0].history),)),
        Confusions(
            "Confusion matrix of the test rows, mean (rows: true class; columns: predicted class)",
            ("not similar", "similar"),
            {"ours": matrix},
        ),
        Bars("ROC AUC", bars, ".4f"),
    )


def rate_curve(name: str, history: Sequence[EpochRecord]) -> Curve:
    """Return 1,000 times the learning rate of each epoch of one training."""
    return mean_curve(name, [[1_000 * record.learning_rate for record in history]])
