"""What the tests share: small tables, quick trainings, random networks and a clock."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import tabcohort
from tabcohort import (
    CohortSettings,
    Predictor,
    Settings,
    Table,
    Trained,
    build_model,
    draw_weights,
    make_table,
    train,
)
from tabcohort.network.lower import ACTIVATIONS
from tabcohort.network.program import Builder, Network, Program, blank_network
from tabcohort.training.module import as_double, module_logits
from tabcohort.types import FloatArray, IntArray

SMALL = CohortSettings(folds=3, seeds=1)  # the fewest networks that judge every row
SINGLE = CohortSettings(folds=1, seeds=1)  # one network, and a single split of the rows
QUICK: dict[str, Any] = {"max_epochs": 3, "hidden": (8,), "learning_rate": 0.02}


def make_rows(n_rows: int = 90, n_features: int = 3, n_classes: int = 2, seed: int = 0) -> tuple[Any, Any]:
    """Return features `(n_rows, n_features)` and class codes `(n_rows,)`, which the features tell with some noise."""
    draw = np.random.default_rng(seed)
    codes = np.arange(n_rows) % n_classes
    X = draw.normal(size=(n_rows, n_features))
    X[:, 0] += 2.0 * codes
    return X, codes


def make_small_table(n_classes: int = 2, labels: Any = None, **sizes: Any) -> Table:
    """Return a table of `make_rows`; `labels` are the names of its classes."""
    X, codes = make_rows(n_classes=n_classes, **sizes)
    names = np.array(labels if labels is not None else ["no", "yes", "may", "who"][:n_classes])
    return tabcohort.make_table(X, names[codes])


def fit_quickly(table: Table | None = None, cohort: CohortSettings = SMALL, **settings: Any) -> Predictor:
    """Return a predictor of three networks after a few epochs."""
    return tabcohort.fit(table or make_small_table(), Settings(**{**QUICK, **settings}), cohort)


def settings_of(**choices: Any) -> Settings:
    """Return the settings of twenty quick epochs, with these changes."""
    quick = {"hidden": (8,), "max_epochs": 20, "patience": None, "learning_rate": 0.02, "device": "cpu"}
    return Settings(**{**quick, **choices})


def noisy_rows(
    n_rows: int = 120, n_classes: int = 2, n_features: int = 4, seed: int = 0
) -> tuple[FloatArray, IntArray]:
    """Return features `(n_rows, n_features)` and class codes `(n_rows,)`, told by the first feature with noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    edges = np.quantile(X[:, 0], np.arange(1, n_classes) / n_classes)
    return X, np.digitize(X[:, 0] + rng.normal(0, 0.8, n_rows), edges)


def table_of(n_rows: int = 120, n_classes: int = 2, seed: int = 0) -> Table:
    """Return a table of `noisy_rows`."""
    return make_table(*noisy_rows(n_rows, n_classes, seed=seed))


def trained_on(data: Any, settings: Settings, n_classes: int = 2, **extra: Any) -> Trained:
    """Return the module that the settings name, trained on a table or arrays."""
    module = build_model(settings, data[0].shape[1] if isinstance(data, tuple) else data.X.shape[1], n_classes)
    draw_weights(module, settings.seed)
    return train(module, data, settings, **extra)


def logits_of(trained: Trained, X: FloatArray) -> FloatArray:
    """Return the logits of a trained module in double precision."""
    return module_logits(as_double(trained.module), X)


class Clock:
    """Stands for the module `time`: time passes when a stand-in for training says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


def assert_same(one: Predictor, other: Predictor) -> None:
    """Assert that two models are the same to the bit, but for the time they took."""
    assert one.members == other.members
    for network, alike in zip(one.networks, other.networks, strict=True):
        assert network.parameters.tobytes() == alike.parameters.tobytes()
        assert network.buffers.tobytes() == alike.buffers.tobytes()
    for name, values in vars(one.judged).items():
        assert values.tobytes() == vars(other.judged)[name].tobytes(), name
    assert repr((one.calibrator, one.decision)) == repr((other.calibrator, other.decision))
    reports = [replace(each.report, members=(), seconds=0.0, seconds_saved=0.0) for each in (one, other)]
    assert repr(reports[0]) == repr(reports[1])
    histories = [
        [replace(each, history=tuple(replace(record, seconds=0.0) for record in each.history)) for each in run]
        for run in (one.report.members, other.report.members)
    ]
    assert histories[0] == histories[1]


def digest_of_a_run(engine: str, seed: int = 0, precision: torch.dtype = torch.float32) -> str:
    """A hash of everything that a run leaves: weights, buffers and history."""
    X, y = noisy_rows(600, n_features=30)
    settings = settings_of(
        hidden=(160, 160), batch_norm=True, dropout=0.2, batch_size=256, mixup_alpha=0.4, max_epochs=3, seed=seed,
        engine=engine,
    )  # fmt: skip
    module = build_model(settings, 30, 2)
    draw_weights(module, seed)
    trained = train(module if precision == torch.float32 else module.to(precision), (X, y), settings)
    digest = hashlib.sha256()
    for value in trained.module.state_dict().values():
        digest.update(value.numpy().tobytes())
    digest.update(repr([(record.train_loss, record.stop_loss, record.score) for record in trained.history]).encode())
    return digest.hexdigest()


CONSTANTS = {"batch_norm": (1e-3, 0.1), "layer_norm": (0.1,), "leaky_relu": (0.2,), "smooth_clip": (3.0,)}
KINDS = ("linear", "batch_norm", "layer_norm", "dropout", "add", *ACTIVATIONS.values())


@st.composite
def programs(draw: st.DrawFn, widest: int = 40, prepares: bool = True) -> Program:
    """Any network of these operations, also such as no module is lowered to: values are read again later on.

    Args:
        widest: columns of a value.
        prepares: whether it may begin with `standardize` and `smooth_clip`.
    """
    builder = Builder(draw(st.integers(1, 12)))
    first = 0
    if prepares and draw(st.booleans()):
        first = builder.add("standardize", "standardize", 0)
    for _ in range(draw(st.integers(0, 2)) if prepares else 0):
        first = builder.add("smooth_clip", f"clip{first}", first, constants=CONSTANTS["smooth_clip"])
    value = first
    for number in range(draw(st.integers(0, 8))):
        kind, path = draw(st.sampled_from(KINDS)), f"layer{number}"
        source = draw(st.one_of(st.just(value), st.integers(first, value)))
        if kind == "linear":
            value = builder.add("linear", path, source, d_out=draw(st.integers(1, widest)))
        elif kind == "dropout":
            value = builder.dropout(path, source, 0.5)
        elif kind == "add":
            alike = [each for each in range(first, value + 1) if builder.width(each) == builder.width(source)]
            value = builder.add("add", path, source, draw(st.sampled_from(alike)))
        else:
            value = builder.add(kind, path, source, constants=CONSTANTS.get(kind, (0.0,)))
    return builder.finish(builder.add("linear", "last", value, d_out=draw(st.integers(1, 5))))


def drawn_network(program: Program, dtype: type[np.floating], seed: int = 0) -> Network:
    """Return a network with weights that keep values of size 1, and statistics of its own everywhere."""
    rng = np.random.default_rng(seed)
    network = blank_network(program, np.float64)
    named = {name: rng.uniform(0.5, 1.5, array.shape) for name, array in network.named().items()}
    for name, array in named.items():
        if array.ndim == 2:
            named[name] = rng.normal(0, 1 / np.sqrt(array.shape[1]), array.shape)
        elif name.endswith(("bias", "mean", "center")):
            named[name] = rng.normal(0, 0.5, array.shape)
    return blank_network(program, dtype).with_named(named)
