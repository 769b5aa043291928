"""What the result tables of the patent document claim, beside the variants that `patent_variants` measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.console import Console

from tabcohort.reproduce.claims import (
    CANNOT,
    FAILS,
    HOLDS,
    LEVEL,
    UNDECIDED,
    Claim,
    Compared,
    Measured,
    order_claim,
    quantile,
)
from tabcohort.reproduce.findings import Cell, Findings, Row, Sheet, spread
from tabcohort.reproduce.patent import DOCUMENT, N_TEST, N_TRAIN, N_VALIDATION
from tabcohort.reproduce.patent_claims import ACCOUNT, PROTOCOLS, RATE_LABEL, rate_curve
from tabcohort.reproduce.patent_pairs import Rows
from tabcohort.reproduce.patent_variants import (
    ADAM,
    BASE,
    COSINE,
    DROP_LAST,
    EXPONENTIAL,
    MIXUP_ALWAYS,
    MIXUP_UNIFORM,
    NO_CLIPPING,
    NO_MIXUP,
    PATIENCE_2,
    PATIENCE_10,
    RAW,
    RAW_BARE,
    SGD,
    STEP,
    Results,
    TableRun,
    measure,
)
from tabcohort.reproduce.pictures import Bar, Bars, Curves, Picture, loss_curves, mean_curve
from tabcohort.settings import Config

NEGLIGIBLE = 0.001  # of a log loss of 0.2
Quantity = Callable[[TableRun], float]


@dataclass(frozen=True)
class Figure:
    """A quantity of the tables: its name, how it is measured, and the format of its numbers."""

    name: str
    of: Quantity
    style: str


TO_TARGET = Figure("epochs to ROC AUC 0.95", lambda run: run.epochs_to_target, ".0f")
EPOCHS = Figure("epochs until it stopped", lambda run: len(run.history), ".0f")
CONVERGED = Figure("best epoch", lambda run: run.best_epoch, ".0f")
AUC = Figure("ROC AUC, validation rows", lambda run: run.validation["roc_auc"], ".4f")
LOSS = Figure("log loss, validation rows", lambda run: run.validation["log_loss"], ".4f")
VALIDATION = Figure("accuracy, validation rows", lambda run: run.validation["accuracy"], ".2%")
TRAIN = Figure("accuracy, training rows", lambda run: run.train["accuracy"], ".2%")
TEST_AUC = Figure("ROC AUC, test rows, expected over labels", lambda run: run.expected_auc, ".4f")

SCALING, OPTIMIZERS, PATIENCE = "feature scaling", "AdamW optimizer", "learning rate scheduler"
SCHEDULES, MIXUP, CLIPPING = "alternative schedulers", "mixup augmentation", "gradient clipping"
LOADER = "DataLoader creation"
TABLES: Mapping[str, tuple[tuple[str, ...], tuple[Figure, ...]]] = {
    SCALING: ((RAW, BASE, RAW_BARE), (TO_TARGET, AUC, TEST_AUC)),
    OPTIMIZERS: ((SGD, ADAM, BASE), (EPOCHS, CONVERGED, AUC, TEST_AUC)),
    PATIENCE: ((PATIENCE_2, BASE, PATIENCE_10), (LOSS, EPOCHS, TEST_AUC)),
    SCHEDULES: ((STEP, COSINE, EXPONENTIAL, BASE), (LOSS, EPOCHS, TEST_AUC)),
    MIXUP: ((NO_MIXUP, MIXUP_ALWAYS, MIXUP_UNIFORM, BASE), (TRAIN, VALIDATION, AUC, LOSS, TEST_AUC)),
    CLIPPING: ((NO_CLIPPING, BASE), (AUC, TEST_AUC)),
    LOADER: ((DROP_LAST, BASE), (LOSS, TEST_AUC)),
}
CLAIMED: Mapping[tuple[str, str, str], float] = {
    (SCALING, TO_TARGET.name, RAW): 65, (SCALING, TO_TARGET.name, BASE): 18,
    (SCALING, AUC.name, RAW): 0.965, (SCALING, AUC.name, BASE): 0.972,
    (OPTIMIZERS, CONVERGED.name, ADAM): 45, (OPTIMIZERS, CONVERGED.name, BASE): 38,
    (OPTIMIZERS, AUC.name, SGD): 0.951, (OPTIMIZERS, AUC.name, ADAM): 0.968, (OPTIMIZERS, AUC.name, BASE): 0.972,
    (PATIENCE, LOSS.name, PATIENCE_2): 0.153, (PATIENCE, LOSS.name, BASE): 0.146,
    (PATIENCE, LOSS.name, PATIENCE_10): 0.147, (PATIENCE, EPOCHS.name, PATIENCE_10): 75,
    (PATIENCE, EPOCHS.name, PATIENCE_2): 32, (PATIENCE, EPOCHS.name, BASE): 50,
    (MIXUP, TRAIN.name, NO_MIXUP): 0.942, (MIXUP, TRAIN.name, BASE): 0.928,
    (MIXUP, VALIDATION.name, NO_MIXUP): 0.905, (MIXUP, VALIDATION.name, BASE): 0.917,
    (MIXUP, AUC.name, NO_MIXUP): 0.965, (MIXUP, AUC.name, BASE): 0.972,
    (CLIPPING, AUC.name, NO_CLIPPING): 0.968, (CLIPPING, AUC.name, BASE): 0.972,
}  # fmt: skip
COMPARISONS = (
    ("Scaling is faster", SCALING, TO_TARGET, RAW, BASE),
    ("Scaling has a higher ROC AUC", SCALING, AUC, RAW, BASE),
    ("AdamW converges sooner than Adam", OPTIMIZERS, CONVERGED, ADAM, BASE),
    ("AdamW has a higher ROC AUC than SGD", OPTIMIZERS, AUC, SGD, BASE),
    ("AdamW has a higher ROC AUC than Adam", OPTIMIZERS, AUC, ADAM, BASE),
    ("Patience 5 has a lower loss than 2", PATIENCE, LOSS, PATIENCE_2, BASE),
    ("Patience 5 has a lower loss than 10", PATIENCE, LOSS, PATIENCE_10, BASE),
    ("Patience 5 trains longer than 2", PATIENCE, EPOCHS, PATIENCE_2, BASE),
    ("Patience 10 trains longer than 5", PATIENCE, EPOCHS, BASE, PATIENCE_10),
    ("The plateau schedule has a lower loss than the step schedule", SCHEDULES, LOSS, STEP, BASE),
    ("The plateau schedule has a lower loss than the cosine schedule", SCHEDULES, LOSS, COSINE, BASE),
    ("The plateau schedule has a lower loss than the exponential schedule", SCHEDULES, LOSS, EXPONENTIAL, BASE),
    ("Mixup lowers the accuracy of the training rows", MIXUP, TRAIN, NO_MIXUP, BASE),
    ("Mixup raises the accuracy of the validation rows", MIXUP, VALIDATION, NO_MIXUP, BASE),
    ("Mixup raises the ROC AUC", MIXUP, AUC, NO_MIXUP, BASE),
    ("Mixup in half of the batches has a lower loss than in all", MIXUP, LOSS, MIXUP_ALWAYS, BASE),
    ("Weights from Beta(0.2, 0.2) have a lower loss than uniform ones", MIXUP, LOSS, MIXUP_UNIFORM, BASE),
    ("Clipping raises the ROC AUC", CLIPPING, AUC, NO_CLIPPING, BASE),
)


def run(
    messages: Console, seeds: int = 10, rows: Rows = (N_TRAIN, N_VALIDATION, N_TEST), config: Config = DOCUMENT
) -> Findings:
    """Train every variant of the tables; Ctrl-C keeps what is done.

    Args:
        messages: where to show progress.
        seeds: number of repeats.
        rows: numbers of train, validation and test pairs.
        config: of the network, before the changes.
    """
    began = time.perf_counter()
    return findings(measure(messages, seeds, rows, config), rows, config, time.perf_counter() - began)


def findings(results: Results, rows: Rows, config: Config, seconds: float) -> Findings:
    """Return what the trainings say of the tables.

    Args:
        results: of the trainings.
        rows: numbers of train, validation and test pairs.
        config: of the network, before the changes.
        seconds: duration of the trainings.

    Raises:
        KeyboardInterrupt: nothing was trained.
    """
    if not any(results.runs.values()):
        raise KeyboardInterrupt
    n_seeds = max(map(len, results.runs.values()))
    sheets = tuple(table_sheet(results, title) for title in TABLES)
    return Findings(
        "patent tables",
        "the result tables of the patent document on synthetic pairs ({:,} train, {:,} validation, {:,} test), ".format(
            *rows
        )
        + f"seeds: {n_seeds}",
        notes(results, config),
        sheets,
        (),
        seconds,
        (
            *ACCOUNT,
            "Each table changes one thing; all other settings are the document's, and equal seeds have equal pairs.",
        ),
        PROTOCOLS,
        claims(results, config),
        pictures(results),
        is_interrupted=results.n_left > 0,
    )


def notes(results: Results, config: Config) -> tuple[str, ...]:
    """Return what the tables leave open."""
    n_runs = sum(map(len, results.runs.values()))
    return (
        "the pairs are SYNTHETIC, with a best possible ROC AUC of 0.972: differences between variants can be compared "
        "with the document's, levels cannot",
        f"{n_runs} trainings; metrics are of the best epoch's weights, training rows without mixup and dropout",
        f"'{RAW_BARE}' takes the network's first batch normalisation away as well, which the document does not do; "
        "the columns' standard deviations are all between 0.08 and 0.25, so that scaling them changes little",
        f"SGD has the learning rate of the others, {config.learning_rate:g}, and no momentum; the document names none",
        "epochs to ROC AUC 0.95: all epochs where it is never reached",
        *([f"interrupted: {results.n_left} trainings are missing"] if results.n_left else []),
    )


def table_sheet(results: Results, title: str) -> Sheet:
    """Return a table of the document beside what was measured."""
    variants, figures = TABLES[title]
    columns, rows = [], []
    for figure in figures:
        has_claims = any((title, figure.name, variant) in CLAIMED for variant in variants)
        columns += [f"{figure.name}, document"] * has_claims + [figure.name]
    for variant in variants:
        cells: list[Cell] = []
        for figure in figures:
            if f"{figure.name}, document" in columns:
                claimed = CLAIMED.get((title, figure.name, variant))
                cells.append(None if claimed is None else f"{claimed:{figure.style}}")
            value = results.spread(variant, figure.of)
            cells.append(None if value is None else value.show(figure.style))  # type: ignore[union-attr]
        rows.append(Row(variant, tuple(cells)))
    return Sheet(title, tuple(columns), tuple(rows))


def claims(results: Results, config: Config) -> tuple[Claim, ...]:
    """Return the comparisons of the tables, and the three claims that are none."""
    compared = []
    for text, table, figure, first, second in COMPARISONS:
        sides = [
            Compared(name, CLAIMED.get((table, figure.name, name)), results.by_seed(name, figure.of))
            for name in (first, second)
        ]
        compared.append(order_claim(text, f"{table}: {figure.name}", sides[0], sides[1], figure.style))
    return (*compared, epochs_of_sgd(results, config), not_finite(results), last_batch(results))


def epochs_of_sgd(results: Results, config: Config) -> Claim:
    """Return the claim that SGD needs more epochs than the document's loop has."""
    epochs = results.by_seed(SGD, EPOCHS.of)
    measured = (Measured(EPOCHS.name, spread(epochs.values()), EPOCHS.style),) if epochs else ()
    reason = f"the document's loop ends after {config.max_epochs} epochs"
    return Claim("SGD converges in more than 120 epochs", OPTIMIZERS, "120+", measured, CANNOT, reason)


def not_finite(results: Results) -> Claim:
    """Return the claim that training without clipping is occasionally not finite."""
    n_failed = results.n_not_finite[NO_CLIPPING]
    n_runs = len(results.runs[NO_CLIPPING]) + n_failed
    failed = [1.0] * n_failed + [0.0] * (n_runs - n_failed)
    measured = (Measured("trainings with NaN", spread(failed), ".0%"),) if failed else ()
    verdict, reason = UNDECIDED, "not measured"
    if n_failed:
        verdict, reason = HOLDS, f"{n_failed} of {n_runs} trainings without clipping stopped being finite"
    elif n_runs:
        highest = 1 - (1 - LEVEL) ** (1 / n_runs)
        reason = f"none of {n_runs} trainings stopped being finite, which excludes only shares above {highest:.0%}"
    return Claim("Without clipping a loss is occasionally NaN", CLIPPING, "occasional NaN", measured, verdict, reason)


def last_batch(results: Results) -> Claim:
    """Return the claim that leaving out the last short batch changes nothing that matters."""
    text = "Leaving out the last short batch is negligible"
    without, base = (results.by_seed(name, LOSS.of) for name in (DROP_LAST, BASE))
    differences = [without[seed] - base[seed] for seed in sorted(without.keys() & base.keys())]
    if not differences:
        return Claim(text, LOADER, "", (), UNDECIDED, "not measured")
    difference = spread(differences)
    measured = (Measured("difference of the log loss, validation rows", difference, "+.5f"),)
    if difference.deviation is None:
        return Claim(text, LOADER, "", measured, UNDECIDED, "one seed has no spread to compare with")
    half = quantile(difference.n) * difference.error
    lowest, highest = abs(difference.mean) - half, abs(difference.mean) + half
    verdict = HOLDS if highest < NEGLIGIBLE else FAILS if lowest > NEGLIGIBLE else UNDECIDED
    reason = f"the 95% interval of the mean difference reaches {highest:.5f}, beside {NEGLIGIBLE:g}"
    return Claim(text, LOADER, "", measured, verdict, reason)


def pictures(results: Results) -> tuple[Picture, ...]:
    """Return losses, learning rates and ROC AUC of the variants."""
    drawn: list[Picture] = []
    if base := list(results.runs[BASE].values()):
        drawn.append(loss_curves("Losses, as the document", [run.history for run in base]))
    first = {name: next(iter(runs.values())) for name, runs in results.runs.items() if runs}
    patience = [name for name in (PATIENCE_2, BASE, PATIENCE_10) if name in first]
    if patience:
        rates = tuple(rate_curve(name, first[name].history) for name in patience)
        drawn.append(Curves("Learning rate by plateau patience, one seed", ("epoch", RATE_LABEL), rates))
    if schedules := [name for name in TABLES[SCHEDULES][0] if name in first]:
        rates = tuple(rate_curve(name, first[name].history) for name in schedules)
        drawn.append(Curves("Learning rate by schedule, one seed", ("epoch", RATE_LABEL), rates))
    for title in (OPTIMIZERS, SCALING, SCHEDULES, MIXUP):
        names = [name for name in TABLES[title][0] if results.runs[name]]
        curves = tuple(mean_curve(name, [run.roc_aucs for run in results.runs[name].values()]) for name in names)
        if curves:
            drawn.append(Curves(f"Validation ROC AUC: {title}", ("epoch", "ROC AUC"), curves))
    for title, (variants, figures) in TABLES.items():
        for figure in figures:
            bars = []
            for variant in variants:
                if values := results.by_seed(variant, figure.of):
                    bars.append(Bar(variant, spread(values.values()), CLAIMED.get((title, figure.name, variant))))
            if figure is not TEST_AUC and bars:
                drawn.append(Bars(f"{title}: {figure.name}", tuple(bars), figure.style))
    return tuple(drawn)
