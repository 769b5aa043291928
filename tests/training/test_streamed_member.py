"""Members of a table in a store: they learn what they learn in memory, and read one window after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, config_of
from streamed_tables import labelled_frame, streamed

from tabcohort import CohortSettings, Config, Predictor, SettingsError, Split, Table, fit
from tabcohort.cohort.executors import ThreadExecutor
from tabcohort.data.splits import make_splits
from tabcohort.data.streamed_splits import StreamedSplit, streamed_splits
from tabcohort.engines import streamed_data, windows
from tabcohort.engines.compiled import kernels
from tabcohort.training.member import class_weights, fit_on_training_rows
from tabcohort.training.streamed_member import rows_for_trees

pytestmark = pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Table, Table]:
    """Return a table in a store, and the same one in memory."""
    frame = labelled_frame()
    return streamed(frame, tmp_path), Table.from_frame(frame, "target")


def splits_of(tables: tuple[Table, Table], config: Config) -> tuple[StreamedSplit, Split]:
    on_disk, in_memory = tables
    return streamed_splits(on_disk, config, 3).split(0), make_splits(in_memory, config, 3).split(0)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_statistics_are_those_of_the_same_rows_in_memory(tables: tuple[Table, Table], scaling: str) -> None:
    config = config_of(bins=8)
    encoding = tables[0].schema.encoding(config)
    fitted = [
        fit_on_training_rows(table, split, encoding, table.bins(config), scaling)[0]
        for table, split in zip(tables, splits_of(tables, config), strict=True)
    ]
    for name, ours in vars(fitted[0]).items():
        theirs = vars(fitted[1])[name]
        if name == "inverse":  # of widths, some of which are rounding errors
            ours, theirs = (1 / np.maximum(own, 1e-3) for own in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=name)


def test_balanced_class_weights_are_those_in_memory(tables: tuple[Table, Table]) -> None:
    config = config_of(class_weight="balanced")
    factors = [class_weights(*own, config) for own in zip(tables, splits_of(tables, config), strict=True)]
    np.testing.assert_allclose(factors[0], factors[1])


def losses_of(predictor: Predictor) -> list[float]:
    return [record.train_loss for member in predictor.report.members for record in member.history]


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_full_batches_train_as_in_memory(tmp_path: Path, engine: str) -> None:
    """Without categories of many levels, whose inner folds are others."""
    frame = labelled_frame().drop("many", "count")
    tables = streamed(frame, tmp_path), Table.from_frame(frame, "target")
    config = config_of(model="logistic", batch_size="full", max_epochs=30, engine=engine)
    ours, theirs = (fit(table, config, SMALL) for table in tables)
    np.testing.assert_allclose(losses_of(ours), losses_of(theirs), rtol=1e-4)
    np.testing.assert_array_equal(ours.out_of_fold.rows, theirs.out_of_fold.rows)
    np.testing.assert_allclose(ours.out_of_fold.log_proba, theirs.out_of_fold.log_proba, atol=1e-3)
    assert ours.report.fingerprint == theirs.report.fingerprint


@pytest.fixture
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "ROWS_PER_BLOCK", 8)
    monkeypatch.setattr(windows, "ROWS_PER_WINDOW", 64)


@pytest.mark.usefixtures("_small_windows")
def test_both_engines_see_the_same_windows(tables: tuple[Table, Table]) -> None:
    changes: dict[str, Any] = {"batch_size": 16, "max_epochs": 6, "mixup_alpha": 0.3, "mixup_probability": 0.5}
    changes |= {"label_smoothing": 0.1, "class_weight": "balanced", "dropout": 0.2}
    ours, torch = (
        fit(tables[0], config_of(engine=engine, **changes), SMALL) for engine in ("compiled", "torch")
    )  # fmt: skip
    np.testing.assert_allclose(losses_of(ours), losses_of(torch), rtol=2e-4)


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("is_small", [True, False])
def test_a_network_does_not_depend_on_the_parts_that_its_rows_are_read_in(
    tables: tuple[Table, Table], monkeypatch: pytest.MonkeyPatch, engine: str, is_small: bool
) -> None:
    if is_small:
        monkeypatch.setattr(windows, "ROWS_PER_BLOCK", 8)
        monkeypatch.setattr(windows, "ROWS_PER_WINDOW", 64)
    config = config_of(
        engine=engine, batch_size=8, max_epochs=5, mixup_alpha=0.3, mixup_probability=0.5, dropout=0.2,
        label_smoothing=0.1,
    )  # fmt: skip
    whole = fit(tables[0], config, SMALL)
    n_kernels = len(kernels.run_epochs.signatures)
    monkeypatch.setattr(streamed_data, "MIN_BYTES_PER_PART", 0)
    for n_bytes in (1, 2_500):
        monkeypatch.setattr(streamed_data, "BYTES_PER_PART", n_bytes)
        in_parts = fit(tables[0], config, SMALL)
        assert losses_of(in_parts) == losses_of(whole)
        np.testing.assert_array_equal(in_parts.out_of_fold.log_proba, whole.out_of_fold.log_proba)
    assert len(kernels.run_epochs.signatures) == n_kernels


@pytest.mark.usefixtures("_small_windows")
def test_windows_do_not_depend_on_the_number_of_threads(tables: tuple[Table, Table]) -> None:
    config = config_of(batch_size=16, max_epochs=4)
    one, two = (fit(tables[0], config, SMALL, executor=ThreadExecutor(n)) for n in (1, 2))
    np.testing.assert_array_equal(one.out_of_fold.log_proba, two.out_of_fold.log_proba)


@pytest.mark.usefixtures("_small_windows")
def test_a_step_of_all_rows_is_refused_where_there_are_several_windows(tables: tuple[Table, Table]) -> None:
    with pytest.raises(SettingsError, match="batch_size 'full' needs all rows in memory"):
        fit(tables[0], config_of(batch_size="full"), SMALL)


def test_trees_grow_on_a_sample_that_the_memory_holds(
    tables: tuple[Table, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = splits_of(tables, config_of())[0]
    table, whole = rows_for_trees(tables[0], split, 0, 0)
    assert len(whole.train) == split.n_train
    np.testing.assert_array_equal(table.y[whole.validation], tables[1].y[split.validation])
    monkeypatch.setattr("tabcohort.training.streamed_member.BYTES_PER_TREE_CELL", 1_000_000_000 / 8 / 50)
    table, some = rows_for_trees(tables[0], split, 0, 0)
    assert len(some.train) == 50 // table.n_inputs
    assert table.disk is None
    assert rows_for_trees(tables[1], whole, 0, 0) == (tables[1], whole)


def test_a_preset_trains_all_its_kinds(tables: tuple[Table, Table]) -> None:
    predictor = fit(tables[0], settings=CohortSettings(preset="fast", folds=3))
    assert [config.config.model for config in predictor.report.configs] == ["logistic", "trees", "mlp"]
    assert predictor.report.evaluation.n_rows == 300
