"""What the tests share: small tables, quick trainings and random networks."""

from __future__ import annotations

import datetime
import functools
import hashlib
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st
from numba import config as numba_config
from numba import njit
from numpy.typing import NDArray

import tabcohort
from tabcohort import (
    CohortSettings,
    Config,
    Predictor,
    Table,
    Trained,
    build_model,
    initialize_weights,
    train,
)
from tabcohort.cohort.members import MemberResult, train_member
from tabcohort.cohort.plan import CohortPlan, Member
from tabcohort.data.encoder import plain_encoding, store_rows
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.reading import make_reading
from tabcohort.engines.validation import ValidationSet
from tabcohort.network.ops import ACTIVATIONS
from tabcohort.network.program import Builder, Network, Program, blank_network
from tabcohort.training.module import as_double, module_logits
from tabcohort.types import FloatArray, IntArray

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SMALL = CohortSettings(folds=3, seeds=1)  # the fewest networks that test every row
SINGLE = CohortSettings(folds=1, seeds=1)  # one network, and a single split of the rows
QUICK: dict[str, Any] = {"max_epochs": 3, "hidden": (8,), "learning_rate": 0.02}


def make_rows(n_rows: int = 90, n_features: int = 3, n_classes: int = 2, seed: int = 0) -> tuple[Any, Any]:
    """Return features `(n_rows, n_features)` and class codes `(n_rows,)` that the first one predicts with noise."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n_rows) % n_classes
    X = rng.normal(size=(n_rows, n_features))
    X[:, 0] += 2.0 * codes
    return X, codes


def make_small_table(n_classes: int = 2, labels: Any = None, **sizes: Any) -> Table:
    """Return a table of `make_rows`; `labels` are the names of its classes."""
    X, codes = make_rows(n_classes=n_classes, **sizes)
    names = np.array(labels if labels is not None else ["no", "yes", "may", "who"][:n_classes])
    return tabcohort.Table.from_arrays(X, names[codes])


def fit_quickly(table: Table | None = None, settings: CohortSettings = SMALL, **changes: Any) -> Predictor:
    """Return a predictor of three networks after a few epochs; `changes` are made to the config."""
    return tabcohort.fit(table or make_small_table(), Config(**{**QUICK, **changes}), settings)


def config_of(**changes: Any) -> Config:
    """Return a config of twenty quick epochs, with these changes."""
    quick = {"hidden": (8,), "max_epochs": 20, "patience": None, "learning_rate": 0.02, "device": "cpu"}
    return Config(**{**quick, **changes})


def mixed_frame(n_rows: int = 60, seed: int = 0) -> pl.DataFrame:
    """Return a frame with a column of each type, some cells of which are missing."""
    rng = np.random.default_rng(seed)
    start = datetime.datetime(2023, 1, 1, 1, 2, 3, 456789)
    words = ["red", "blue", "cat", "dog", "runs"]
    frame = pl.DataFrame(
        {
            "size": rng.normal(size=n_rows),
            "count": rng.integers(0, 50, n_rows) * 2 + rng.integers(0, 2, n_rows),
            "city": rng.choice(["Oslo", "Rome", "caf\u00e9"], n_rows),
            "flag": rng.random(n_rows) < 0.5,
            "when": [start + datetime.timedelta(hours=37 * i, microseconds=i) for i in range(n_rows)],
            "day": [start.date() + datetime.timedelta(days=17 * i) for i in range(n_rows)],
            "code": rng.choice([101, 205, 309], n_rows),
            "note": [" ".join(rng.choice(words, 5)) for _ in range(n_rows)],
        }
    )
    holes = pl.int_range(n_rows) % 7 == 3
    return frame.with_columns(pl.when(holes).then(None).otherwise(pl.col("size", "city", "flag", "when")).name.keep())


def noisy_rows(
    n_rows: int = 120, n_classes: int = 2, n_features: int = 4, seed: int = 0
) -> tuple[FloatArray, IntArray]:
    """Return features `(n_rows, n_features)` and class codes `(n_rows,)`: bins of the first feature with noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    edges = np.quantile(X[:, 0], np.arange(1, n_classes) / n_classes)
    return X, np.digitize(X[:, 0] + rng.normal(0, 0.8, n_rows), edges)


def table_of(n_rows: int = 120, n_classes: int = 2, seed: int = 0) -> Table:
    """Return a table of `noisy_rows`."""
    return Table.from_arrays(*noisy_rows(n_rows, n_classes, seed=seed))


def trained_on(data: Any, config: Config, n_classes: int = 2, **extra: Any) -> Trained:
    """Return a config's module, trained on a table or arrays."""
    module = build_model(config, data[0].shape[1] if isinstance(data, tuple) else data.X.shape[1], n_classes)
    initialize_weights(module, config.seed)
    return train(module, data, config, **extra)


def logits_of(trained: Trained, X: FloatArray) -> FloatArray:
    """Return the logits of a trained module in double precision."""
    return module_logits(as_double(trained.module), X)


def assert_same(one: Predictor, other: Predictor) -> None:
    """Assert that two models are the same to the bit, but for the time they took."""
    assert one.members == other.members
    for model, alike in zip(one.models, other.models, strict=True):
        for name, array in model.named().items():
            assert array.tobytes() == alike.named()[name].tobytes(), name
    for name, values in vars(one.out_of_fold).items():
        assert values.tobytes() == vars(other.out_of_fold)[name].tobytes(), name
    assert repr((one.calibrator, one.decision_rule)) == repr((other.calibrator, other.decision_rule))
    reports = [replace(model.report, members=(), fit_seconds=0.0, seconds_saved=0.0) for model in (one, other)]
    assert repr(reports[0]) == repr(reports[1])
    histories = [
        [replace(member, history=tuple(record._replace(seconds=0.0) for record in member.history)) for member in run]
        for run in (one.report.members, other.report.members)
    ]
    assert histories[0] == histories[1]


def digest_of_a_run(engine: str, seed: int = 0) -> str:
    """A hash of everything that a run leaves: weights, buffers and history."""
    X, y = noisy_rows(600, n_features=30)
    config = config_of(
        hidden=(160, 160), batch_norm=True, dropout=0.2, batch_size=256, mixup_alpha=0.4, max_epochs=3, seed=seed,
        engine=engine,
    )  # fmt: skip
    module = build_model(config, 30, 2)
    initialize_weights(module, seed)
    trained = train(module, (X, y), config)
    digest = hashlib.sha256()
    for value in trained.module.state_dict().values():
        digest.update(value.numpy().tobytes())
    digest.update(repr([(record.train_loss, record.val_loss, record.score) for record in trained.history]).encode())
    return digest.hexdigest()


@functools.cache
def called_from_python(kernel: Any) -> Any:
    """Return a kernel compiled so that Python can call it; the engine's own are for other kernels only."""
    if numba_config.DISABLE_JIT:
        return kernel
    options = {name: value for name, value in kernel.targetoptions.items() if name not in ("nopython", "inline")}
    return njit(**{**options, "no_cpython_wrapper": False, "no_cfunc_wrapper": False, "forceinline": False})(
        kernel.py_func
    )


def data_of_inputs(
    train_inputs: NDArray[np.floating],
    soft_targets: NDArray[np.floating],
    val_inputs: NDArray[np.floating],
    batches: BatchPlan,
) -> MemberData:
    """Return the data of an engine whose inputs are these rows as they are; the validation rows are of class 0."""
    rows = np.concatenate([train_inputs, val_inputs])
    n_train, n_features = train_inputs.shape
    validation = np.arange(n_train, len(rows))
    return MemberData(
        make_reading(store_rows(rows, None), plain_encoding(n_features), None), np.arange(n_train),
        soft_targets.astype(np.float32), batches,
        ValidationSet(validation, np.zeros(len(validation), np.int64), np.ones(len(validation)), None),
    )  # fmt: skip


CONSTANTS = {
    "batch_norm": (1e-3, 0.1), "layer_norm": (0.1,), "leaky_relu": (0.2,), "smooth_clip": (3.0,), "scale": (),
}  # fmt: skip
KINDS = ("linear", "batch_norm", "layer_norm", "dropout", "add", "scale", "periodic", *ACTIVATIONS)


@st.composite
def programs(draw: st.DrawFn, max_width: int = 40, has_inputs: bool = True) -> Program:
    """Any network of these operations, also some that no module is lowered to: values are read again later on.

    Args:
        max_width: maximum columns of a value.
        has_inputs: whether it may begin with `standardize`, scaled numbers and `smooth_clip`.
    """
    builder = Builder(draw(st.integers(1, 12)))
    first = 0
    if has_inputs and draw(st.booleans()):
        first = builder.add("standardize", "standardize", 0)
        scaling = draw(st.sampled_from([None, "robust_scale", "quantile_scale"]))
        if scaling is not None:
            first = builder.add(scaling, "scaling", first, constants=(3, draw(st.integers(1, builder.n_inputs))))
    for _ in range(draw(st.integers(0, 2)) if has_inputs else 0):
        first = builder.add("smooth_clip", f"clip{first}", first, constants=CONSTANTS["smooth_clip"])
    value = first
    for number in range(draw(st.integers(0, 8))):
        kind, path = draw(st.sampled_from(KINDS)), f"layer{number}"
        source = draw(st.one_of(st.just(value), st.integers(first, value)))
        if kind == "linear":
            value = builder.add("linear", path, source, d_out=draw(st.integers(1, max_width)))
        elif kind == "periodic":
            n_numbers = draw(st.integers(1, builder.width(source)))
            constants = n_numbers, builder.width(source) - n_numbers, 0.3
            value = builder.add(kind, path, source, d_out=builder.width(source) + 2 * n_numbers, constants=constants)
        elif kind == "dropout":
            value = builder.dropout(path, source, 0.5)
        elif kind == "add":
            width = builder.width(source)
            same_width = [other for other in range(first, value + 1) if builder.width(other) == width]
            value = builder.add("add", path, source, draw(st.sampled_from(same_width)))
        else:
            value = builder.add(kind, path, source, constants=CONSTANTS.get(kind, (0.0,)))
    return builder.finish(builder.add("linear", "last", value, d_out=draw(st.integers(1, 5))))


def random_network(program: Program, dtype: type[np.floating], seed: int = 0) -> Network:
    """Return a network with weights that keep values of size 1, and statistics of its own everywhere."""
    rng = np.random.default_rng(seed)
    network = blank_network(program, np.float64)
    named = {name: rng.uniform(0.5, 1.5, array.shape) for name, array in network.named().items()}
    for name, array in named.items():
        if array.ndim == 2:
            named[name] = rng.normal(0, 1 / np.sqrt(array.shape[1]), array.shape)
        elif name.endswith("knots"):
            named[name] = np.sort(array.reshape(-1, 3), axis=1).ravel()
        elif name.endswith(("bias", "mean", "center")):
            named[name] = rng.normal(0, 0.5, array.shape)
    return blank_network(program, dtype).with_named(named)


def train_alone(plan: CohortPlan, member: Member) -> MemberResult:
    """Return what one member of a plan has when it is trained alone."""
    return train_member(plan, plan.table.stored_rows(), None, member)
