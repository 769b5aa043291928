"""What an engine sees of a table in a store; `training/test_streamed_member.py` trains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import config_of
from streamed_tables import labelled_frame, streamed

from tabcohort import TrainingError
from tabcohort.data.encoder import plain_encoding
from tabcohort.data.streamed_splits import streamed_splits
from tabcohort.engines import windows
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.reading import make_reading
from tabcohort.engines.streamed_data import StreamedData
from tabcohort.training.member import member_data


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
def test_the_rows_of_epochs_are_training_rows_with_their_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "ROWS_PER_BLOCK", 8)
    monkeypatch.setattr(windows, "ROWS_PER_WINDOW", 64)
    table = streamed(labelled_frame().select("size", "target"), tmp_path)
    split = streamed_splits(table, config_of(), 3).split(0)
    reading = make_reading(table.stored_rows(), plain_encoding(1), None)
    data = member_data(table, split, config_of(label_smoothing=0.2), reading, False)
    assert isinstance(data, StreamedData)
    orders, rows, targets = data.rows_of(data.batches.draw(0).part(0, 3))
    assert orders.shape == (3, data.batches.n_rows)
    np.testing.assert_array_equal(orders.ravel(), np.arange(orders.size))
    assert np.isin(rows, split.train).all()
    assert len(np.unique(rows)) == len(rows)
    np.testing.assert_allclose(targets[np.arange(len(rows)), table.y[rows]], 0.9, rtol=1e-6)
    assert data.n_classes == 2
    data.release()
    with pytest.raises(TrainingError, match="the batches must be a WindowPlan of the"):
        StreamedData(**{**vars(data), "batches": BatchPlan(64, 8, 0.0, 0.0, False, 0)})
