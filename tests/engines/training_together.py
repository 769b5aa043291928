"""What processes train together, and a single process alone: run as a script by each of them, it prints JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn as nn

from tabcohort import CohortSettings, Config, TabcohortError, Table, build_model, fit, initialize_weights, train
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.runner import run
from tabcohort.engines.ranks import launched
from tabcohort.training.loop import TrainingState

CONFIGS: dict[str, dict[str, Any]] = {
    "everything on": {
        "hidden": (16, 8), "dropout": 0.3, "mixup_alpha": 0.4, "batch_size": 43, "class_weight": "balanced",
        "clip_norm": 0.5,
    },
    "batch normalisation": {"model": "residual", "hidden": (9, 5), "dropout": 0.2, "batch_size": 32},
    "a lone last row": {"hidden": (7,), "dropout": 0.4, "batch_size": 43, "optimizer": "sgd"},
}  # fmt: skip
N_TRAIN, N_CLASSES = 130, 3


def rows(n_rows: int = 203, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 5))
    return X, (X[:, 0] + rng.normal(0, 0.7, n_rows) > 0).astype(int) + (X[:, 1] > 1)


def config_of(name: str, **changes: Any) -> Config:
    values = {**CONFIGS[name], "engine": "torch", "device": "cpu", "max_epochs": 3, "patience": None, **changes}
    return Config(**values)


def module_of(config: Config, seed: int = 3) -> nn.Module:
    module = build_model(config, 5, N_CLASSES)
    initialize_weights(module, seed)
    # The bias before batch normalisation has no gradient but rounding, which Adam makes steps of: see engines.md.
    return module.double() if config.model == "residual" else module


def losses_of(name: str) -> list[list[float]]:
    """Return the losses of each epoch; the module of the other processes begins elsewhere."""
    config = config_of(name)
    trained = train(module_of(config, seed=3 + launched()[0]), rows(), config)
    if name == "a lone last row":
        assert len(trained.split.train) % 43 == 1
    return [[record.train_loss, record.val_loss, record.val_accuracy] for record in trained.history]


def members_of_a_cohort() -> list[list[list[float]]]:
    config = config_of("a lone last row", patience=1, max_epochs=5, learning_rate=0.5)
    result = run(make_plan(Table.from_arrays(*rows()), config, CohortSettings(folds=3, seeds=1)))
    histories = [member.state.history for member in result.members.values()]
    return [[[record.train_loss, record.val_loss] for record in history] for history in histories]


def resumed(folder: Path) -> list[list[list[float]]]:
    """Return the losses of a training without a stop, and of one that was stopped; only one process has the file."""
    path = folder / "training" if launched()[0] == 0 else Path("/nowhere/training")
    config, calls = config_of("everything on"), []

    def stop(state: TrainingState) -> str | None:
        calls.append(state.n_epochs)
        return "stop" if state.n_epochs == 2 else None

    whole = train(module_of(config), rows(), config)
    assert train(module_of(config), rows(), config, callback=stop, checkpoint=path).stop_reason == "stop"
    assert calls == ([1, 2] if launched()[0] == 0 else [])
    again = train(module_of(config), rows(), config, checkpoint=path)
    return [[[record.train_loss, record.val_loss] for record in trained.history] for trained in (whole, again)]


def message_of(call: Callable[[], object]) -> str:
    try:
        call()
    except TabcohortError as error:
        return str(error)
    return "no error"


def messages() -> dict[str, str]:
    """Return what is said of tables, configs and engines that do not fit."""
    rank, config = launched()[0], config_of("everything on")
    other_config = config_of("everything on", learning_rate=0.1 if rank else 0.2)
    compiled = config_of("everything on", engine="compiled")
    table = Table.from_arrays(*rows())
    calls: dict[str, Callable[[], object]] = {
        "table": lambda: train(module_of(config), rows(seed=rank), config),
        "config": lambda: train(module_of(config), rows(), other_config),
        "module": lambda: train(module_of(config_of("everything on", hidden=(4 + rank,))), rows(), config),
        "engine": lambda: train(module_of(config), rows(), compiled),
        "trees": lambda: fit(table, Config(model="trees")),
        "budget": lambda: fit(table, config, CohortSettings(budget_seconds=9.0)),
    }
    return {name: message_of(call) for name, call in calls.items()}


def message_of_one_left_alone() -> str:
    """Return what the first process is told when the other one is gone."""
    return message_of(lambda: train(module_of(config_of("everything on")), rows(), config_of("everything on")))


if __name__ == "__main__":
    result = {
        "losses": {name: losses_of(name) for name in CONFIGS},
        "cohort": members_of_a_cohort(),
        "resumed": resumed(Path(sys.argv[1])),
        "messages": messages(),
    }
    if launched()[0] > 0:
        print(json.dumps(result), flush=True)
        os._exit(0)  # without a word to the other process
    print(json.dumps({**result, "alone": message_of_one_left_alone()}))
