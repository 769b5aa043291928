"""Mistakes of the lessons on breast cancer, with their measured effect."""

from __future__ import annotations

from collections.abc import Sequence

from tabcohort.data.table import Table
from tabcohort.reproduce.cancer_claims import CLAIMED_CONFUSION
from tabcohort.reproduce.cancer_runs import FEW_ROWS, CancerRuns, FewRowsRun, LessonRun, ShallowCopyRun
from tabcohort.reproduce.cancer_weights import weights_as_importances
from tabcohort.reproduce.findings import Mistake, spread
from tabcohort.reproduce.mistakes import epsilon_under_root, loss_on_probabilities, xavier_bound
from tabcohort.types import IntArray


def cancer_mistakes(runs: CancerRuns, table: Table) -> tuple[Mistake, ...]:
    """Return all of them.

    Args:
        runs: the trainings.
        table: breast cancer.
    """
    return (
        shallow_copy(runs.shallow, runs.shallow_network),
        stopping_on_test_rows(runs.few, runs.few_network),
        reversed_labels(runs.separate, table, runs.splits[0][1]),
        weights_as_importances(runs.weights),
        xavier_bound(),
        epsilon_under_root(),
        loss_on_probabilities(),
    )


def shallow_copy(logistic: Sequence[ShallowCopyRun], network: Sequence[ShallowCopyRun]) -> Mistake:
    """Compare the best log loss that was recorded with that of the weights that a shallow copy restores."""
    figures = {}
    for name, runs in (("logistic", logistic), ("network", network)):
        figures[f"{name}_recorded_loss"] = spread(run.recorded_loss for run in runs).mean
        figures[f"{name}_restored_loss"] = spread(run.restored_loss for run in runs).mean
        figures[f"{name}_runs"] = float(len(runs))
        figures[f"{name}_runs_restored_to_last"] = float(sum(run.restored_last for run in runs))
    effect = (
        "best log loss recorded {logistic_recorded_loss:.4f}, restored {logistic_restored_loss:.4f} (logistic, all "
        f"rows); {{network_recorded_loss:.3f}} and {{network_restored_loss:.3f}} (network, {FEW_ROWS} rows); the "
        "restored weights were the last epoch's in {logistic_runs_restored_to_last:.0f} of {logistic_runs:.0f} and "
        "{network_runs_restored_to_last:.0f} of {network_runs:.0f} runs"
    ).format(**figures)
    return Mistake("keeps its best weights by state_dict().copy(), which shares their memory", effect, figures)


def stopping_on_test_rows(few: Sequence[FewRowsRun], few_network: Sequence[FewRowsRun]) -> Mistake:
    """Return by how much early stopping on the test rows flatters a model of few rows."""
    figures = {}
    for name, runs in (("logistic", few), ("network", few_network)):
        for metric in ("accuracy", "log_loss"):
            optimism = spread(run.optimism(metric) for run in runs)
            figures[f"{name}_{metric}"], figures[f"{name}_{metric}_error"] = optimism.mean, optimism.error
    effect = (
        f"at {FEW_ROWS} rows, reported minus true (and its standard error): accuracy {{logistic_accuracy:+.1%}} "
        "({logistic_accuracy_error:.1%}), log loss {logistic_log_loss:+.3f} ({logistic_log_loss_error:.3f}) for the "
        "logistic model; {network_accuracy:+.1%} ({network_accuracy_error:.1%}), {network_log_loss:+.3f} "
        "({network_log_loss_error:.3f}) for the network"
    ).format(**figures)
    return Mistake("stops early on its test rows and reports the same rows", effect, figures)


def reversed_labels(separate: Sequence[LessonRun], table: Table, test: IntArray) -> Mistake:
    """Compare the recall of scikit-learn's class 1, which the lesson takes for malignant, with the sensitivity."""
    figures = {
        "recall_of_class_1": spread(run.test["specificity"] for run in separate).mean,
        "malignant_sensitivity": spread(run.test["sensitivity"] for run in separate).mean,
        "n_test": float(len(test)),
        "n_malignant": float((table.y[test] == table.schema.positive).sum()),
    }
    effect = (
        "the recall of class 1 is {recall_of_class_1:.1%}, and it is of benign rows; of the cancers "
        "{malignant_sensitivity:.1%} are detected. {n_malignant:.0f} of {n_test:.0f} test rows are malignant; in the "
        f"document's confusion matrix there are {sum(CLAIMED_CONFUSION[1])}"
    ).format(**figures)
    return Mistake("takes label 1 for malignant (in scikit-learn's table 0 is malignant)", effect, figures)
