"""Breast cancer with logistic regression: the two lessons' figures, and what early stopping on test rows adds to them.

Source: the two drafts of lesson 1B, logistic regression in PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from tabcohort.data.table import Table
from tabcohort.reproduce.cancer_batches import batch_claims, batch_sheet, prediction_claims
from tabcohort.reproduce.cancer_claims import (
    ACCOUNT,
    CLAIMED_ACCURACY,
    CLAIMED_EPOCHS,
    CLAIMED_LOSSES,
    CLAIMED_VAL_LOSSES,
    PROTOCOLS,
    cancer_claims,
    cancer_pictures,
    losses_at,
)
from tabcohort.reproduce.cancer_first_lesson import first_lesson_claims
from tabcohort.reproduce.cancer_mistakes import cancer_mistakes
from tabcohort.reproduce.cancer_runs import (
    DOCUMENT,
    FEW_ROWS,
    NETWORK,
    TRAININGS_PER_SEED,
    CancerRuns,
    FewRowsRun,
    LessonRun,
    train_all,
)
from tabcohort.reproduce.cancer_weights import weight_sheet
from tabcohort.reproduce.claims import Claim
from tabcohort.reproduce.findings import Cell, Findings, Row, Sheet, spread
from tabcohort.reproduce.runs import Ticker, sample_table
from tabcohort.reproduce.wishes import wish_sheet
from tabcohort.reproduce.worked_examples import lesson_claims
from tabcohort.settings import Config


def run(messages: Console, seeds: int = 20, config: Config = DOCUMENT, network: Config = NETWORK) -> Findings:
    """Train as the lessons do and with separate validation and test rows, and measure the lessons' mistakes.

    Args:
        messages: where to show progress.
        seeds: number of splits, each with its own initial weights and batches.
        config: of the lessons' model.
        network: config of a larger model, which overfits, for the same mistakes.
    """
    table = sample_table("breast-cancer")
    with Ticker(messages, TRAININGS_PER_SEED * seeds) as ticker:
        runs = train_all(table, seeds, config, network, ticker)
        ticker.say("measuring the mistakes")
        test = runs.splits[0][1]
        n_malignant = int((table.y[test] == table.schema.positive).sum())
        n_test = (len(test) - n_malignant, n_malignant)
        sheets = (
            accuracy_sheet(runs.lessons, runs.separate),
            optimism_sheet(runs.lessons, runs.separate, runs.few, runs.few_network),
            weight_sheet(runs.weights),
            batch_sheet(runs.by_size),
            wish_sheet(),
        )
        return Findings(
            "cancer",
            f"breast cancer (569 rows, 30 columns), logistic regression, seeds: {seeds}",
            notes(runs.lessons, network),
            sheets,
            cancer_mistakes(runs, table),
            ticker.seconds,
            ACCOUNT,
            PROTOCOLS,
            all_claims(runs, table, n_test),
            cancer_pictures(runs.lessons, runs.separate, runs.weights, n_test),
        )


def all_claims(runs: CancerRuns, table: Table, n_test: tuple[int, int]) -> tuple[Claim, ...]:
    """Return the claims of both drafts.

    Args:
        runs: the trainings.
        table: breast cancer.
        n_test: numbers of benign and malignant test rows.
    """
    accuracies = [lesson.test["accuracy"] for lesson in runs.lessons]
    losses = [[record.train_loss for record in lesson.trained.history] for lesson in runs.lessons]
    return (
        *cancer_claims(runs.lessons, runs.weights, n_test),
        *first_lesson_claims(runs.first, accuracies, losses),
        *batch_claims(runs.by_size, runs.noise),
        *prediction_claims([lesson.trained.module for lesson in runs.lessons], table),
        *lesson_claims(table),
    )


def accuracy_sheet(lessons: Sequence[LessonRun], separate: Sequence[LessonRun]) -> Sheet:
    """Return the lessons' claims beside what their protocol and separate validation and test rows give."""
    both: tuple[Sequence[LessonRun], ...] = (lessons, separate)

    def row(what: str, claim: Cell, metric: str, style: str) -> Row:
        return Row(what, (claim, *(spread(run.test[metric] for run in runs) for runs in both)), style)

    train_accuracy = (spread(run.train["accuracy"] for run in runs) for runs in both)
    epochs = (spread(len(run.trained.history) for run in runs) for runs in both)
    seconds = (spread(run.trained.history[-1].seconds for run in runs) for runs in both)
    rows = [
        Row("train accuracy", (CLAIMED_ACCURACY["train"], *train_accuracy), ".1%"),
        row("test accuracy", CLAIMED_ACCURACY["test"], "accuracy", ".1%"),
        row("test log loss", None, "log_loss", ".3f"),
        Row("epochs until it stopped", (float(CLAIMED_EPOCHS), *epochs), ".0f"),
        Row("seconds of training", (120.0, *seconds), ".2f"),
    ]
    for what, name, claims in (("train", "train_loss", CLAIMED_LOSSES), ("validation", "val_loss", CLAIMED_VAL_LOSSES)):
        for epoch, claim in claims.items():
            losses = (losses_at(runs, epoch, name) for runs in both)
            cells = (spread(values) if values else None for values in losses)
            rows.append(Row(f"{what} loss of epoch {epoch}", (claim, *cells)))
    columns = ("document", "same protocol, measured", "separate validation and test rows")
    return Sheet("accuracy and epochs, mean ± standard deviation over seeds", columns, tuple(rows))


def optimism_sheet(
    lessons: Sequence[LessonRun],
    separate: Sequence[LessonRun],
    few: Sequence[FewRowsRun],
    few_network: Sequence[FewRowsRun],
) -> Sheet:
    """Return what the lessons' protocol reports minus what unseen rows say, with all rows and with few."""
    rows = []
    for metric, style in (("accuracy", "+.2%"), ("log_loss", "+.3f")):
        paired = spread(
            lesson.test[metric] - other.test[metric] for lesson, other in zip(lessons, separate, strict=True)
        )
        of_few, of_network = (spread(run.optimism(metric) for run in runs) for runs in (few, few_network))
        rows.append(Row(metric.replace("_", " "), (paired, of_few, of_network), style))
    columns = ("569 rows, logistic", f"{FEW_ROWS} rows, logistic", f"{FEW_ROWS} rows, network")
    return Sheet("optimism: metric of the rows used for early stopping, minus that of unseen rows", columns, tuple(rows))


def notes(lessons: Sequence[LessonRun], network: Config) -> tuple[str, ...]:
    """Return what the figures mean, and where they differ from the lessons'."""
    epochs = [len(run.trained.history) for run in lessons]
    hidden = "-".join(str(width) for width in network.hidden)
    n_as_long = sum(n_epochs >= CLAIMED_EPOCHS for n_epochs in epochs)
    return (
        f"the document claims {CLAIMED_EPOCHS} epochs; measured {spread(epochs).show('.0f')}, from {min(epochs)} to "
        f"{max(epochs)}, and at least {CLAIMED_EPOCHS} with {n_as_long} of {len(epochs)} seeds. The other lesson claims "
        "105 epochs for the same hyperparameters and the same accuracies",
        "all figures are of the best epoch's weights, which the document means to keep (see the first mistake)",
        "optimism with 569 rows: the unseen rows are the same test rows, and the model that never saw them has separate "
        f"validation rows and fewer training rows; with {FEW_ROWS} rows: the same model on the rows that it never saw",
        f"the network is {hidden}, Adam {network.learning_rate:g}, patience {network.patience}: our choice, to show "
        "the same mistakes on a model that overfits",
    )
