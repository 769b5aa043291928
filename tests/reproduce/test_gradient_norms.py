"""Norms of gradients, beside PyTorch's own clipping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tabcohort.data.encoder import plain_encoding, store_rows
from tabcohort.engines.reading import make_reading
from tabcohort.reproduce.gradient_norms import EngineWithNorms, gradient_norms
from tabcohort.reproduce.patent import DOCUMENT, pairs_table
from tabcohort.reproduce.runs import starting_module
from tabcohort.training.member import member_data

CONFIG = replace(DOCUMENT, hidden=(8,), batch_size=32, max_epochs=3, patience=None, dropout=0.0)


def test_there_is_a_norm_for_each_step_of_each_epoch() -> None:
    _, table, split = pairs_table((100, 40, 40), 0)
    epochs = []
    norms = gradient_norms(table, split, CONFIG, lambda state: epochs.append(state.n_epochs))
    assert norms.shape == (3, 4)
    assert epochs == [1, 2, 3]
    assert (norms > 0).all()


def test_a_norm_is_that_of_the_gradient_before_clipping() -> None:
    _, table, split = pairs_table((100, 40, 40), 0)
    module = starting_module(table, CONFIG)
    reading = make_reading(store_rows(table.numbers, None), plain_encoding(table.n_inputs), None)
    engine = EngineWithNorms(module[1], member_data(table, split, CONFIG, reading, True), CONFIG)
    engine.parameters.gradient.copy_(torch.arange(len(engine.parameters.gradient)))
    expected = float(np.linalg.norm(engine.parameters.gradient))
    engine._clip()
    assert engine.norms == [pytest.approx(expected)]
    assert float(torch.linalg.vector_norm(engine.parameters.gradient)) == pytest.approx(1.0, rel=1e-5)
