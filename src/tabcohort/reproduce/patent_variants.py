"""Variants of the patent document's training, side by side: scaling, optimizers, schedules, mixup, clipping, batches.

Source: the walkthrough's result tables. Each variant changes one thing of the document's config; those of a seed train
on the same synthetic pairs, and are measured on their validation rows and on test rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch.nn as nn
from rich.console import Console

from tabcohort.data.table import Table
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.torch_loop import has_batch_norm
from tabcohort.engines.validation import EpochResult, ValidationSet
from tabcohort.errors import TrainingError
from tabcohort.evaluation.metrics import METRICS, Scorer, log_probabilities
from tabcohort.network.models import Standardize
from tabcohort.reproduce.findings import Cell, spread
from tabcohort.reproduce.patent_pairs import Pairs, Rows, consecutive_split, expected_auc, patent_pairs
from tabcohort.reproduce.runs import metrics_of, starting_module
from tabcohort.reproduce.side_by_side import STOPPED, Training, train_side_by_side
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, EpochRecord, train_network
from tabcohort.training.member import fit_on_training_rows, member_data, plain_reading, releasing
from tabcohort.training.module import CompiledModuleEngine, as_double, module_logits
from tabcohort.types import IntArray

TARGET_AUC = 0.95
EXPECTED_EPOCHS = 55


@dataclass(frozen=True)
class Variant:
    """A change of the document's training.

    Args:
        changes: of its config.
        is_scaled: whether the columns are standardized before the network.
        has_input_norm: whether the network begins with batch normalisation, as the document's does.
        drops_last: whether the last, short batch of an epoch is left out, as the document does.
    """

    changes: Mapping[str, object] = field(default_factory=dict)
    is_scaled: bool = True
    has_input_norm: bool = True
    drops_last: bool = False


BASE = "as the document"
RAW, RAW_BARE = "raw columns", "raw columns, no input norm"
SGD, ADAM = "SGD", "Adam"
PATIENCE_2, PATIENCE_10 = "plateau patience 2", "plateau patience 10"
STEP, COSINE, EXPONENTIAL = "step schedule", "cosine schedule", "exponential schedule"
NO_MIXUP, MIXUP_ALWAYS, MIXUP_UNIFORM = "without mixup", "mixup in all batches", "mixup with uniform weights"
NO_CLIPPING, DROP_LAST = "without clipping", "without the last short batch"
VARIANTS: Mapping[str, Variant] = {
    BASE: Variant(),
    RAW: Variant(is_scaled=False),
    RAW_BARE: Variant(is_scaled=False, has_input_norm=False),
    SGD: Variant({"optimizer": "sgd", "momentum": 0.0}),
    ADAM: Variant({"optimizer": "adam"}),
    PATIENCE_2: Variant({"schedule_patience": 2}),
    PATIENCE_10: Variant({"schedule_patience": 10}),
    STEP: Variant({"schedule": "step", "schedule_every": 20, "schedule_factor": 0.5}),
    COSINE: Variant({"schedule": "cosine"}),
    EXPONENTIAL: Variant({"schedule": "exponential", "schedule_factor": 0.95}),
    NO_MIXUP: Variant({"mixup_alpha": 0.0}),
    MIXUP_ALWAYS: Variant({"mixup_probability": 1.0}),
    MIXUP_UNIFORM: Variant({"mixup_alpha": 1.0}),
    NO_CLIPPING: Variant({"clip_norm": None}),
    DROP_LAST: Variant(drops_last=True),
}


class WholeBatches(BatchPlan):
    """Batches without the last short one; each epoch leaves out other rows."""

    @property
    def bounds(self) -> IntArray:
        """Where each step's rows begin, and where the last one's end, `(n_steps + 1,)`."""
        return np.arange(0, self.n_rows + 1, self.batch_size)

    def _partners(self, number: int, n_epochs: int, bounds: IntArray) -> IntArray:
        return super()._partners(number, n_epochs, np.append(bounds, self.n_rows))


@dataclass(frozen=True)
class WithRocAuc(ValidationSet):
    """Validation rows that keep the ROC AUC of each epoch, whatever is monitored."""

    roc_aucs: list[float] = field(default_factory=list)

    def score(self, result: EpochResult, monitor: str) -> float:
        """Return the monitored metric of an epoch, and keep its ROC AUC."""
        scorer = Scorer(log_probabilities(result.val_logits), self.y, self.positive)
        self.roc_aucs.append(METRICS["roc_auc"].value(scorer.weighted(self.weight)))
        return super().score(result, monitor)


@dataclass(frozen=True)
class TableRun:
    """A training, measured with the weights of its best epoch.

    Args:
        history: one record per epoch.
        roc_aucs: of the validation rows after each epoch.
        best_epoch: that with the best validation loss.
        train, validation, test: metrics of these rows.
        expected_auc: of the test rows, averaged over labels.
    """

    history: tuple[EpochRecord, ...]
    roc_aucs: tuple[float, ...]
    best_epoch: int
    train: Mapping[str, float]
    validation: Mapping[str, float]
    test: Mapping[str, float]
    expected_auc: float

    @property
    def epochs_to_target(self) -> int:
        """Epochs until the ROC AUC of the validation rows is at least 0.95; all epochs where it never is."""
        reached = (epoch for epoch, roc_auc in enumerate(self.roc_aucs, 1) if roc_auc >= TARGET_AUC)
        return next(reached, len(self.history))


@dataclass(frozen=True)
class Results:
    """The trainings of the variants.

    Args:
        runs: by variant and seed.
        n_not_finite: number of trainings of each variant whose loss stopped being finite.
        n_left: number of trainings that Ctrl-C left undone.
    """

    runs: Mapping[str, Mapping[int, TableRun]]
    n_not_finite: Mapping[str, int]
    n_left: int = 0

    def by_seed(self, variant: str, quantity: Callable[[TableRun], float]) -> dict[int, float]:
        """Return a quantity of a variant's trainings."""
        return {seed: quantity(run) for seed, run in self.runs[variant].items()}

    def spread(self, variant: str, quantity: Callable[[TableRun], float]) -> Cell:
        """Return the spread of a quantity over seeds; None where nothing was trained."""
        values = self.by_seed(variant, quantity)
        return spread(values.values()) if values else None


def measure(
    messages: Console, seeds: int, rows: Rows, config: Config, variants: Mapping[str, Variant] = VARIANTS
) -> Results:
    """Train every variant with every seed, seed after seed; Ctrl-C keeps what is done.

    Args:
        messages: where to show progress.
        seeds: number of repeats, each with pairs of its own.
        rows: numbers of train, validation and test pairs.
        config: of the network, before the changes.
        variants: what is trained, by name.
    """
    tables = functools.lru_cache(maxsize=2)(lambda seed: patent_pairs(sum(rows), seed))
    trainings = {
        (name, seed): Training(
            functools.partial(train_variant, variant, replace(config, seed=seed), tables, rows),
            config.max_epochs if name == SGD else min(EXPECTED_EPOCHS, config.max_epochs),
        )
        for seed in range(seeds)
        for name, variant in variants.items()
    }
    done = train_side_by_side(trainings, messages)
    runs: dict[str, dict[int, TableRun]] = {name: {} for name in variants}
    n_not_finite = dict.fromkeys(variants, 0)
    for (name, seed), run in done.items():
        if run is None:
            n_not_finite[name] += 1
        else:
            runs[name][seed] = run
    return Results(runs, n_not_finite, len(trainings) - len(done))


def train_variant(
    variant: Variant, config: Config, pairs_of: Callable[[int], Pairs], rows: Rows, callback: EpochCallback
) -> TableRun | None:
    """Train a variant; None if a loss stopped being finite.

    Args:
        variant: what differs.
        config: of the document's network; its seed is also that of the pairs.
        pairs_of: returns the pairs of a seed.
        rows: numbers of train, validation and test pairs.
        callback: called after every epoch.
    """
    config = replace(config, **variant.changes)  # type: ignore[arg-type]
    pairs = pairs_of(config.seed)
    table, split = Table.from_arrays(pairs.X, pairs.y), consecutive_split(rows)
    module = starting_module(table, config)
    standardize, network = module
    assert isinstance(standardize, Standardize)
    if not variant.has_input_norm:
        network.input_norm = nn.Identity()
    statistics = None
    if variant.is_scaled:
        statistics, _ = fit_on_training_rows(table, split)
        standardize.set_statistics(statistics)
    reading = plain_reading(table, statistics)
    data = member_data(table, split, config, reading, has_batch_norm(network))
    validation = WithRocAuc(**vars(data.validation))
    batches = WholeBatches(**vars(data.batches)) if variant.drops_last else data.batches
    data = replace(data, validation=validation, batches=batches)
    try:
        with releasing(CompiledModuleEngine(network, data, config)) as engine:
            state = train_network(engine, validation, config, callback)
    except TrainingError:
        return None
    if state.stop_reason == STOPPED:
        return None
    module.eval()
    train, validated, test = (metrics_of(module, table, part) for part in (split.train, split.validation, split.test))
    logits = module_logits(as_double(module), pairs.X[split.test])[:, 0]
    return TableRun(
        state.history,
        tuple(validation.roc_aucs),
        state.best_epoch,
        train,
        validated,
        test,
        expected_auc(logits, pairs.probability[split.test]),
    )
