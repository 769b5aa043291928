"""The norm of the gradient in every step of a training, before clipping."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn as nn

from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.torch_loop import TorchEngine, has_batch_norm
from tabcohort.reproduce.runs import starting_module
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, train_network
from tabcohort.training.member import fit_on_training_rows, member_data, plain_reading
from tabcohort.types import FloatArray

EPOCHS_OF_NORMS, PART_FOR_NORMS = 25, 4  # a quarter of the rows: PyTorch trains here, and it is slow


class EngineWithNorms(TorchEngine):
    """PyTorch's engine, which also keeps the norm of each step's gradient before it is clipped."""

    def __init__(self, module: nn.Module, data: MemberData, config: Config) -> None:
        super().__init__(module, data, config, torch.device("cpu"))
        self.norms: list[float] = []

    def _clip(self) -> None:
        self.norms.append(float(torch.linalg.vector_norm(self.parameters.gradient)))
        super()._clip()


def gradient_norms(table: Table, split: Split, config: Config, callback: EpochCallback) -> FloatArray:
    """Train a config's network and return the norm of the gradient of all parameters in each step.

    Args:
        table: the rows.
        split: which of them train and validate.
        config: of the network and its training.
        callback: called after every epoch.

    Returns:
        `(n_epochs, n_steps)`.
    """
    module = starting_module(table, config)
    statistics, _ = fit_on_training_rows(table, split)
    reading = plain_reading(table, statistics)
    data = member_data(table, split, config, reading, has_batch_norm(module))
    engine = EngineWithNorms(module[1], data, config)
    state = train_network(engine, data.validation, config, callback)
    return np.array(engine.norms).reshape(state.n_epochs, -1)
