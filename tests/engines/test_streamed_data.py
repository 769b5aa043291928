"""What an engine sees of a table in a store; `training/test_streamed_member.py` trains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import config_of
from streamed_tables import labelled_frame, streamed

from tabcohort import TrainingError
from tabcohort.data.streamed_splits import streamed_splits
from tabcohort.engines import windows
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.reading import make_reading
from tabcohort.engines.streamed_data import StreamedData
from tabcohort.training.member import fit_on_training_rows, member_data


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StreamedData:
    """Return what an engine sees of 300 rows in windows of 64, of which the rows of three steps fit in memory."""
    monkeypatch.setattr(windows, "ROWS_PER_BLOCK", 8)
    monkeypatch.setattr(windows, "ROWS_PER_WINDOW", 64)
    table = streamed(labelled_frame().select("size", "many", "target"), tmp_path)
    split = streamed_splits(table, config_of(), 3).split(0)
    encoding = table.schema.encoding(config_of())
    reading = make_reading(table.stored_rows(), encoding, *fit_on_training_rows(table, split, encoding))
    data = member_data(table, split, config_of(label_smoothing=0.2, batch_size=8), reading, False)
    assert isinstance(data, StreamedData)
    monkeypatch.setattr("tabcohort.engines.streamed_data.MIN_BYTES_PER_PART", 0)
    monkeypatch.setattr("tabcohort.engines.streamed_data.BYTES_PER_PART", 24 * data._row_bytes)
    return data


def rows_of(data: StreamedData) -> tuple[list[slice], np.ndarray, np.ndarray]:
    """Return the steps of the parts of the first epoch, and the inputs and targets of its rows in their order."""
    parts = list(data.parts(data.batches.draw(0).part(0, 1)))
    inputs = [part.reading.inputs(part.train[part.orders[0]]) for part in parts]
    targets = [part.soft_targets[part.orders[0]] for part in parts]
    return [part.steps for part in parts], np.concatenate(inputs), np.concatenate(targets)


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
def test_the_parts_of_an_epoch_are_its_steps_with_their_rows_and_targets(data: StreamedData) -> None:
    steps, inputs, targets = rows_of(data)
    assert data.is_in_parts
    assert [(part.start, part.stop) for part in steps] == [(0, 3), (3, 6), (6, 7)]
    block = data.batches.draw(0).part(0, 1)
    rows = data.train_rows(block.orders.ravel())
    np.testing.assert_array_equal(inputs, data.reading.inputs(rows))
    y = data.disk.blocks.take("y", rows)
    np.testing.assert_allclose(targets[np.arange(len(rows)), y], 0.9, rtol=1e-6)
    assert data.n_classes == 2
    with pytest.raises(TrainingError, match="the batches must be a WindowPlan of the"):
        StreamedData(**{**vars(data), "batches": BatchPlan(64, 8, 0.0, 0.0, False, 0)})


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
@pytest.mark.parametrize("n_rows", [1, 8, 40, 10_000])
def test_what_is_trained_on_does_not_depend_on_the_rows_that_fit_in_memory(
    data: StreamedData, n_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, inputs, targets = rows_of(data)
    monkeypatch.setattr("tabcohort.engines.streamed_data.BYTES_PER_PART", n_rows * data._row_bytes)
    steps, *others = rows_of(data)
    assert len(steps) == {1: 7, 8: 7, 40: 2, 10_000: 1}[n_rows]
    assert data.is_in_parts is (n_rows < 10_000)
    np.testing.assert_array_equal(inputs, others[0])
    np.testing.assert_array_equal(targets, others[1])


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
def test_validation_rows_are_in_memory(data: StreamedData) -> None:
    reading, rows = data.validation_rows()
    np.testing.assert_array_equal(reading.inputs(rows), data.reading.inputs(data.validation.rows))
    assert len(reading.stored) == len(data.validation.rows)
