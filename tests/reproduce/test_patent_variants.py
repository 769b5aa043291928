"""Variants of the patent network's training, at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reproduce_helpers import silent_console
from sklearn.metrics import roc_auc_score

from tabcohort.engines.validation import EpochResult
from tabcohort.reproduce import patent, patent_variants
from tabcohort.reproduce.patent_pairs import patent_pairs
from tabcohort.reproduce.patent_variants import (
    BASE,
    DROP_LAST,
    NO_CLIPPING,
    RAW,
    RAW_BARE,
    VARIANTS,
    Results,
    TableRun,
    Variant,
    WholeBatches,
    WithRocAuc,
    train_variant,
)
from tabcohort.training.loop import EpochCallback, TrainingState

TINY = replace(patent.DOCUMENT, hidden=(8,), batch_size=32, max_epochs=4)
ROWS = (300, 100, 101)


def train(variant: Variant, callback: EpochCallback = lambda state: None) -> TableRun | None:
    return train_variant(variant, TINY, lambda seed: patent_pairs(sum(ROWS), seed), ROWS, callback)


def test_the_document_and_its_variants_differ_in_what_they_say() -> None:
    runs = {name: train(VARIANTS[name]) for name in (BASE, RAW, RAW_BARE)}
    losses = {name: run.history[0].train_loss for name, run in runs.items() if run}
    assert len(set(losses.values())) == 3
    assert abs(losses[RAW] - losses[BASE]) < 0.02  # batch normalisation scales raw columns all the same
    assert replace(TINY, **VARIANTS[NO_CLIPPING].changes) == replace(TINY, clip_norm=None)  # type: ignore[arg-type]


def test_a_run_is_measured_with_the_weights_of_its_best_epoch() -> None:
    run = train(VARIANTS[BASE])
    assert run is not None
    assert len(run.roc_aucs) == len(run.history) == 4
    assert run.best_epoch == 1 + int(np.argmin([record.val_loss for record in run.history]))
    assert run.validation["log_loss"] == pytest.approx(run.history[run.best_epoch - 1].val_loss, abs=1e-5)
    assert run.validation["roc_auc"] == pytest.approx(run.roc_aucs[run.best_epoch - 1], abs=1e-6)
    assert 0.5 < run.expected_auc < 0.98


def test_the_roc_auc_of_each_epoch_is_scikit_learns_and_the_loss_is_monitored() -> None:
    rng = np.random.default_rng(0)
    y, logits = rng.integers(2, size=50), rng.normal(size=(50, 1))
    validation = WithRocAuc(np.arange(50), y, np.ones(50), 1)
    assert validation.score(EpochResult(np.zeros(1), logits, 0.0, 0.25, 0.5), "log_loss") == 0.25
    assert validation.roc_aucs == [pytest.approx(roc_auc_score(y, logits[:, 0]))]


def test_a_loss_that_is_not_finite_and_a_stop_leave_no_run() -> None:
    assert train(Variant({"optimizer": "sgd", "learning_rate": 1e30, "clip_norm": None})) is None

    def stop(state: TrainingState) -> str:
        return patent_variants.STOPPED

    assert train(VARIANTS[BASE], stop) is None


def test_epochs_to_the_target_are_all_where_it_is_never_reached() -> None:
    run = train(VARIANTS[BASE])
    assert run is not None
    assert replace(run, roc_aucs=(0.9, 0.95, 0.94, 0.96)).epochs_to_target == 2
    assert replace(run, roc_aucs=(0.9, 0.91, 0.94, 0.94)).epochs_to_target == 4


def test_what_is_measured_is_counted_by_variant_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Variant({"optimizer": "sgd", "learning_rate": 1e30, "clip_norm": None})
    results = patent_variants.measure(silent_console(), 2, ROWS, TINY, {BASE: VARIANTS[BASE], "broken": broken})
    assert (sorted(results.runs[BASE]), results.runs["broken"]) == ([0, 1], {})
    assert results.n_not_finite == {BASE: 0, "broken": 2}
    assert results.n_left == 0
    assert results.spread("broken", lambda run: 1.0) is None
    assert results.by_seed(BASE, lambda run: run.best_epoch).keys() == {0, 1}
    monkeypatch.setattr(patent_variants, "train_side_by_side", lambda trainings, messages: {})
    left = patent_variants.measure(silent_console(), 2, ROWS, TINY)
    assert left == Results({name: {} for name in VARIANTS}, dict.fromkeys(VARIANTS, 0), 2 * len(VARIANTS))


def test_whole_batches_leave_other_rows_out_in_each_epoch_and_mix_only_rows_of_a_batch() -> None:
    plan = WholeBatches(10, 4, 0.2, 1.0, True, seed=3)
    assert plan.bounds.tolist() == [0, 4, 8]
    block = plan.draw(0)
    left_out = {frozenset(order[8:]) for order in block.orders[:20].tolist()}
    assert len(left_out) > 5
    assert sorted(block.orders[0].tolist()) == list(range(10))
    assert all(sorted(partners[:4]) == sorted(partners[4:8]) == [0, 1, 2, 3] for partners in block.partners.tolist())
    assert WholeBatches(8, 4, 0.2, 1.0, True, seed=3).bounds.tolist() == [0, 4, 8]


def test_without_the_last_batch_training_differs_and_has_fewer_steps() -> None:
    whole, fewer = train(VARIANTS[BASE]), train(VARIANTS[DROP_LAST])
    assert whole is not None
    assert fewer is not None
    assert whole.history[0].val_loss != fewer.history[0].val_loss
