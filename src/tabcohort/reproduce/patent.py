"""The patent network at its documented size, on synthetic pairs whose best possible ROC AUC is known, and on MAGIC.

Source: the walkthrough of the patent classifier's training loop. Its patents are not public here, so `patent_pairs`
makes rows with its feature statistics and a known probability, so that a model can be compared with the optimum.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from tabcohort.data.sources import read_frame
from tabcohort.data.splits import Split, train_validation_test_split
from tabcohort.data.table import Table
from tabcohort.randomness import Purpose, make_rng
from tabcohort.reproduce.findings import Cell, Findings, Row, Sheet, spread
from tabcohort.reproduce.gradient_norms import EPOCHS_OF_NORMS, PART_FOR_NORMS, gradient_norms
from tabcohort.reproduce.patent_claims import ACCOUNT, CLAIMED, PROTOCOLS, patent_claims, patent_pictures
from tabcohort.reproduce.patent_examples import BATCH_SIZE, CLAIMED_LAYERS, count_parameters, patent_examples
from tabcohort.reproduce.patent_mistakes import patent_mistakes
from tabcohort.reproduce.patent_pairs import Pairs, Rows, consecutive_split, expected_auc, patent_pairs, true_logit
from tabcohort.reproduce.runs import metrics_of, metrics_of_logits, starting_module, train_to_the_end
from tabcohort.reproduce.side_by_side import Training, train_side_by_side
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, EpochRecord
from tabcohort.training.module import as_double, module_logits
from tabcohort.types import FloatArray

DOCUMENT = Config(
    model="residual", hidden=(256, 128), dropout=0.3, optimizer="adamw", learning_rate=2e-3, weight_decay=1e-5,
    clip_norm=1.0, schedule="plateau", schedule_factor=0.5, schedule_patience=5, batch_size=BATCH_SIZE, mixup_alpha=0.2,
    mixup_probability=0.5, max_epochs=100, patience=15, validation_fraction=0.15, test_fraction=0.15,
)  # fmt: skip
N_TRAIN, N_VALIDATION, N_TEST = 39_979, 8_567, 8_568
EXPECTED_EPOCHS, EPOCHS_ON_MAGIC = 45, 60
DATA_VARIABLE, MAGIC_FILE = "TABCOHORT_DATA", "magic_gamma.csv.gz"


@dataclass(frozen=True)
class PatentRun:
    """A training on synthetic pairs.

    Args:
        history: one record per epoch.
        n_test: numbers of negative and of positive test rows.
        n_train: number of training rows.
        validation, test: metrics of the validation rows and of the test rows.
        expected_auc: of the test rows, averaged over labels.
        best, best_expected_auc: the same for the true probability, on the same test rows.
    """

    history: tuple[EpochRecord, ...]
    n_test: tuple[int, int]
    n_train: int
    validation: dict[str, float]
    test: dict[str, float]
    expected_auc: float
    best: dict[str, float]
    best_expected_auc: float

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return len(self.history)

    @property
    def seconds_per_epoch(self) -> float:
        """Of the training, validation included."""
        return self.history[-1].seconds / self.epochs

    @property
    def seconds_per_batch(self) -> float:
        """Of the training, validation included."""
        return self.seconds_per_epoch / -(-self.n_train // BATCH_SIZE)

    @property
    def halvings(self) -> tuple[int, ...]:
        """The epochs with a lower learning rate than the one before."""
        rates = [record.learning_rate for record in self.history]
        return tuple(epoch + 2 for epoch, (old, new) in enumerate(itertools.pairwise(rates)) if new < old)


@dataclass(frozen=True)
class MagicRun:
    """A training on MAGIC with the same config: its epochs and seconds, and the metrics of the test rows."""

    epochs: int
    seconds: float
    test: dict[str, float]


Result = PatentRun | MagicRun | FloatArray


def run(
    messages: Console, seeds: int = 10, rows: Rows = (N_TRAIN, N_VALIDATION, N_TEST), config: Config = DOCUMENT
) -> Findings:
    """Train on synthetic pairs and on MAGIC, if it is available, with `seeds` seeds; Ctrl-C keeps what is done.

    Args:
        messages: where to show progress.
        seeds: number of repeats.
        rows: numbers of train, validation and test pairs.
        config: of the network.

    Raises:
        KeyboardInterrupt: no training on pairs was done.
    """
    began = time.perf_counter()
    trainings = trainings_of(seeds, rows, config)
    done = train_side_by_side(trainings, messages)
    runs = [result for result in done.values() if isinstance(result, PatentRun)]
    magic_runs = [result for result in done.values() if isinstance(result, MagicRun)]
    norms = [result for result in done.values() if isinstance(result, np.ndarray)]
    if not runs:
        raise KeyboardInterrupt
    return Findings(
        "patent",
        "the patent network on synthetic pairs ({:,} train, {:,} validation, {:,} test), ".format(*rows)
        + f"seeds: {len(runs)}",
        notes(runs, config, has_magic=bool(magic_runs)),
        (pairs_sheet(runs), *([magic_sheet(magic_runs)] if magic_runs else [])),
        patent_mistakes(runs, rows[0], rows[1]),
        time.perf_counter() - began,
        ACCOUNT,
        PROTOCOLS,
        (*patent_claims(runs, norms), *patent_examples(rows[0], rows[1])),
        patent_pictures(runs, norms),
        is_interrupted=len(done) < len(trainings),
    )


def trainings_of(seeds: int, rows: Rows, config: Config) -> dict[tuple[str, int], Training[Result]]:
    """Return the trainings by what they are on and by seed, seed after seed.

    Args:
        seeds, rows, config: as in `run`.
    """
    magic = magic_table()
    few = (rows[0] // PART_FOR_NORMS, rows[1] // PART_FOR_NORMS, rows[2] // PART_FOR_NORMS)
    trainings: dict[tuple[str, int], Training[Result]] = {}
    for seed in range(seeds):
        seeded = replace(config, seed=seed)
        expected = min(EXPECTED_EPOCHS, config.max_epochs)
        trainings["pairs", seed] = Training(partial(train_on_pairs, seeded, rows), expected)
        if magic:
            trainings["MAGIC", seed] = Training(partial(train_on_magic, magic, seeded), EPOCHS_ON_MAGIC)
        short = replace(seeded, max_epochs=min(EPOCHS_OF_NORMS, config.max_epochs), patience=None)
        trainings["gradient norms", seed] = Training(partial(norms_of_gradients, short, few), short.max_epochs)
    return trainings


def train_on_pairs(config: Config, rows: Rows, callback: EpochCallback) -> PatentRun:
    """Sample pairs and train on them; the config's seed is that of both."""
    pairs, table, split = pairs_table(rows, config.seed)
    module = starting_module(table, config)
    trained = train_to_the_end(module, table, config, split, callback)
    X, y, probability = pairs.X[split.test], pairs.y[split.test], pairs.probability[split.test]
    return PatentRun(
        trained.history,
        (int((y == 0).sum()), int((y == 1).sum())),
        len(split.train),
        validation=metrics_of(module, table, split.validation),
        test=metrics_of(module, table, split.test),
        expected_auc=expected_auc(module_logits(as_double(module), X)[:, 0], probability),
        best=metrics_of_logits(true_logit(X)[:, None], y, positive=1),
        best_expected_auc=expected_auc(probability, probability),
    )


def pairs_table(rows: Rows, seed: int) -> tuple[Pairs, Table, Split]:
    """Return synthetic pairs, the same as a table, and which of them train, validate and test."""
    pairs = patent_pairs(sum(rows), seed)
    return pairs, Table.from_arrays(pairs.X, pairs.y), consecutive_split(rows)


def norms_of_gradients(config: Config, rows: Rows, callback: EpochCallback) -> FloatArray:
    """Return the gradient norm of each step of a training on fewer pairs, `(n_epochs, n_steps)`."""
    _, table, split = pairs_table(rows, config.seed)
    return gradient_norms(table, split, config, callback)


def magic_table() -> Table | None:
    """Return the MAGIC gamma telescope table from the folder that TABCOHORT_DATA names; None if it is not there."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not (Path(folder) / MAGIC_FILE).is_file():
        return None
    return Table.from_frame(read_frame(Path(folder) / MAGIC_FILE), "label", positive="g")


def train_on_magic(table: Table, config: Config, callback: EpochCallback) -> MagicRun:
    """Train on 70 % of the rows of MAGIC, validate on 15 % and test on 15 %."""
    split = train_validation_test_split(table, config)
    trained = train_to_the_end(starting_module(table, config), table, config, split, callback)
    return MagicRun(len(trained.history), trained.history[-1].seconds, metrics_of(trained.module, table, split.test))


def pairs_sheet(runs: Sequence[PatentRun]) -> Sheet:
    """Return the claims beside our metrics and the best possible ones."""

    def row(what: str, claim: Cell, repository: Cell, metric: str) -> Row:
        ours, best = spread(run.test[metric] for run in runs), spread(run.best[metric] for run in runs)
        return Row(what, (claim, repository, ours, best), ".4f")

    expected = (spread(run.expected_auc for run in runs), spread(run.best_expected_auc for run in runs))
    return Sheet(
        "real patents (claims) and synthetic pairs (measured on the test rows)",
        ("document", "its repository", "ours", "optimum"),
        (
            row("ROC AUC, sampled labels", CLAIMED["roc_auc"], 0.970, "roc_auc"),
            Row("ROC AUC, expected over labels", (None, None, *expected), ".4f"),
            row("accuracy", CLAIMED["accuracy"], 0.912, "accuracy"),
            row("log loss", CLAIMED["log_loss"], None, "log_loss"),
            Row("epochs until it stopped", (CLAIMED["epochs"], None, spread(run.epochs for run in runs), None), ".0f"),
            Row("seconds per epoch", (35.0, None, spread(run.seconds_per_epoch for run in runs), None), ".2f"),
            Row("parameters", (float(sum(CLAIMED_LAYERS.values())), None, float(count_parameters()), None), ",.0f"),
        ),
    )


def magic_sheet(runs: Sequence[MagicRun]) -> Sheet:
    """Return the metrics of the same config on MAGIC."""
    rows = [
        Row(what, (spread(run.test[metric] for run in runs),), ".4f")
        for what, metric in (("ROC AUC", "roc_auc"), ("accuracy", "accuracy"), ("log loss", "log_loss"))
    ]
    rows.append(Row("epochs until it stopped", (spread(run.epochs for run in runs),), ".0f"))
    rows.append(Row("seconds of training", (spread(run.seconds for run in runs),), ".1f"))
    return Sheet("MAGIC gamma telescope (19,020 real rows; no claim exists), the same config", ("ours",), tuple(rows))


def notes(runs: Sequence[PatentRun], config: Config, has_magic: bool) -> tuple[str, ...]:
    """Return what a reader must know: the data are synthetic, how close the optimum is, what was left out."""
    gap = spread(run.best_expected_auc - run.expected_auc for run in runs)
    sampled = spread(run.best["roc_auc"] - run.test["roc_auc"] for run in runs)
    alpha = config.mixup_alpha
    fraction = np.mean(np.abs(make_rng(0, Purpose.SAMPLE).beta(alpha, alpha, 100_000) - 0.5) > 0.45)
    left_out = () if has_magic else (f"MAGIC was left out: {_reason_for_no_magic()}",)
    return (
        "the pairs are SYNTHETIC: the patents are not public here. They have the document's feature means and scales, "
        "and labels sampled from a known probability, whose ROC AUC of 0.972 is the best possible; our figures show "
        "that the network and its training come close to the optimum here, not that they would on patents",
        f"ROC AUC, optimum minus ours: {gap.show('.4f')} expected over labels, {sampled.show('.4f')} with the sampled "
        "labels",
        "the document's figures are of its validation rows, the repository's of its test pairs",
        f"mixup weights from Beta({alpha:g}, {alpha:g}): {fraction:.0%} lie within 0.05 of "
        "0 or 1, so most mixed batches are hardly mixed",
        *left_out,
    )


def _reason_for_no_magic() -> str:
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        return f"{DATA_VARIABLE} is not set; it may name a folder with {MAGIC_FILE}"
    return f"there is no {MAGIC_FILE} in {folder!r}, the folder that {DATA_VARIABLE} names"
