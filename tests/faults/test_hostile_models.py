"""Model files that someone crafted, with a right checksum: each is refused in a sentence, or does nothing wrong.

`TABCOHORT_FAULT_CASES` says how many are tried; `make faults` tries many.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import stat
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import QUICK, SINGLE, SMALL, make_small_table, mixed_frame

from tabcohort import Config, ModelFileError, TabcohortWarning, Table, fit, load, save
from tabcohort.cli.main import main
from tabcohort.container import HEADER_BYTES, KEY, MAGIC, read_container, write_container

N_CASES = int(os.environ.get("TABCOHORT_FAULT_CASES", "120"))
REPLACEMENTS = (
    None, -1, 0, 1e308, -1e308, 5e-324, 10**30, 10**400, "x", "\x1b[31m", "", [], {}, True, [[]], [None], {"a": 1},
)  # fmt: skip
LEAKS = ("object at 0x", "NoneType", "argument", "unhashable", "not supported between", "attribute", "subscriptable")
MAX_SECONDS = 10.0
Path_ = tuple[str | int, ...]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, and a table that it can predict."""
    folder = tmp_path_factory.mktemp("hostile")
    table = make_small_table()
    configs = [Config(**QUICK), Config(**{**QUICK, "model": "logistic"})]
    save(fit(table, configs, SMALL).with_decision_rule("f1"), folder / "good.tabcohort")
    fit(table, [*configs, Config(model="trees", max_epochs=3)], SMALL, checkpoint=folder / "kept")
    names = list(table.schema.features)
    (folder / "rows.csv").write_text("\n".join([",".join(names), *[",".join(map(str, row)) for row in table.X[:5]]]))
    return folder


def places_of(document: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of every value in a document; of a list only those of the first two."""
    yield path
    if isinstance(document, dict):
        for name, value in document.items():
            yield from places_of(value, (*path, name))
    elif isinstance(document, list):
        for place, value in enumerate(document[:2]):
            yield from places_of(value, (*path, place))


def replaced(document: dict[str, Any], path: Path_, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


def cases_of(folder: Path) -> list[tuple[Path_, Any]]:
    _, document = read_container(folder / "good.tabcohort", "model")
    cases = [(path, value) for path in places_of(document) if path for value in REPLACEMENTS]
    random.Random(0).shuffle(cases)
    return cases[:N_CASES]


def run(*arguments: object) -> tuple[int, str, str]:
    """Run a command in this process, and return its exit status and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(map(str, arguments)))
    return status, out.getvalue(), err.getvalue()


def test_a_document_with_any_value_replaced_is_refused_or_harmless(folder: Path) -> None:
    arrays, document = read_container(folder / "good.tabcohort", "model")
    n_refused = 0
    for path, value in cases_of(folder):
        crafted = replaced(document, path, value)
        kind_and_format = crafted.pop("kind", None), crafted.pop("format", None)
        if kind_and_format != (document["kind"], document["format"]):
            continue
        write_container(folder / "crafted.tabcohort", "model", arrays, crafted)
        case = f"{'.'.join(map(str, path))} = {value!r}"
        began = time.perf_counter()
        try:
            load(folder / "crafted.tabcohort")
        except ModelFileError as error:
            n_refused += 1
            assert not [leak for leak in LEAKS if leak in str(error)], f"{case}: {error}"  # noqa: PT017
            assert "\n" not in str(error), case  # noqa: PT017
        else:
            check_harmless(folder, case)
        assert time.perf_counter() - began < MAX_SECONDS, case
    assert n_refused > 0.5 * N_CASES


def check_harmless(folder: Path, case: str) -> None:
    """Assert that a file that loads can be shown, and gives probabilities."""
    model, rows = folder / "crafted.tabcohort", folder / "rows.csv"
    for arguments in (("info", model), ("info", model, "--json"), ("predict", model, rows, "--json")):
        status, out, err = run(*arguments)
        assert status in (0, 2), case
        assert "\x1b" not in out + err, case
        if status == 0 and "--json" in arguments:
            assert json.loads(out, parse_constant=lambda text: pytest.fail(f"{case}: {text}"))
    X = np.zeros((3, len(load(model).schema.features)))
    proba = load(model).predict_proba(X)
    assert np.isfinite(proba).all(), case
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6, err_msg=case)


# -- arrays that someone crafted --------------------------------------------------------------------------------------

FLOATS = (np.nan, np.inf, -np.inf, -1.0, 3.4e38, -3.4e38, 1e300, 0.5, 1e9)
WHOLES = (-1, 2**31 - 1, -(2**31), 1_000)


CONFIGS = {
    "networks": Config(
        **QUICK, batch_norm=True, scaling="quantile", bins=3, periodic=2, input_scale=True, engine="torch"
    ),
    "residual": Config(**QUICK, model="residual", scaling="robust", engine="torch"),
    "trees": Config(model="trees", max_epochs=5),
}  # fmt: skip


@pytest.fixture(scope="module", params=CONFIGS)
def model_of_all(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a table with every type of column, which `rows.parquet` beside it holds."""
    path = tmp_path_factory.mktemp("arrays") / "good.tabcohort"
    is_large = pl.col("size").fill_null(0) > 0
    frame = mixed_frame(120).with_columns(y=pl.when(is_large).then(pl.lit("yes")).otherwise(pl.lit("no")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TabcohortWarning)
        save(fit(Table.from_frame(frame, "y"), CONFIGS[request.param], SINGLE), path)
    frame.write_parquet(path.with_name("rows.parquet"))
    return path


def crafted_arrays(arrays: dict[str, Any], rng: random.Random) -> tuple[str, dict[str, Any]]:
    """Return arrays with one of them changed, and what was changed."""
    name = rng.choice(sorted(arrays))
    array = arrays[name].copy()
    kind = rng.choice(("cell", "cell", "cell", "all", "shape", "length", "dtype", "nothing"))
    value: Any = rng.choice(FLOATS if array.dtype.kind == "f" else WHOLES)
    if array.dtype.kind in "bu":
        value = rng.choice((0, 1, 200))
    with np.errstate(all="ignore"):
        if kind == "cell" and array.size:
            array.flat[rng.randrange(array.size)] = np.asarray(value).astype(array.dtype)
        elif kind == "all":
            array[...] = np.asarray(value).astype(array.dtype)
        elif kind == "shape":
            array = array.reshape(1, *array.shape) if array.ndim < 2 else array.T
        elif kind == "length":
            array = array[:-1] if len(array) and rng.random() < 0.5 else np.concatenate([array, array[:1]])
        elif kind == "dtype":
            array = array.astype(rng.choice((np.float16, np.int8, np.int64, np.float64)))
    changed = {other: array if other == name else values for other, values in arrays.items()}
    if kind == "nothing":
        del changed[name]
    return f"{name}: {kind} {value!r}", changed


def test_arrays_with_anything_changed_are_refused_or_predict_numbers(model_of_all: Path) -> None:
    """A file that loads predicts finite probabilities, or says which row it has none for."""
    arrays, document = read_container(model_of_all, "model")
    kept = {name: value for name, value in document.items() if name not in ("kind", "format")}
    frame, rng, n_refused = pl.read_parquet(model_of_all.with_name("rows.parquet")), random.Random(0), 0
    path = model_of_all.with_name("crafted.tabcohort")
    for _ in range(N_CASES):
        case, changed = crafted_arrays(arrays, rng)
        write_container(path, "model", changed, kept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TabcohortWarning)
            try:
                proba = load(path).predict_proba(frame)
            except ModelFileError as error:
                n_refused += 1
                assert not [leak for leak in LEAKS if leak in str(error)], f"{case}: {error}"  # noqa: PT017
            else:
                assert np.isfinite(proba).all(), case
    assert n_refused > 0.3 * N_CASES


def test_weights_whose_products_overflow_have_no_probabilities(model_of_all: Path) -> None:
    arrays, document = read_container(model_of_all, "model")
    kept = {name: value for name, value in document.items() if name not in ("kind", "format")}
    if kept["report"]["configs"][0]["config"]["model"] == "trees":
        pytest.skip("the values of leaves are in double precision")
    is_weight = {name: name.startswith("members.") and name.endswith("weight") for name in arrays}
    largest = {name: np.full_like(array, 3e38) if is_weight[name] else array for name, array in arrays.items()}
    path = model_of_all.with_name("crafted.tabcohort")
    write_container(path, "model", largest, kept)
    status, out, err = run("predict", path, model_of_all.with_name("rows.parquet"))
    assert (status, out) == (2, "")
    assert "are too large for float32" in err or "are so large that the result overflows; train it again" in err


@pytest.mark.parametrize("kind", ["model", "network", "trees"])
def test_a_flipped_bit_anywhere_and_a_cut_anywhere_are_refused(kind: str, folder: Path) -> None:
    """In a model, and in the checkpoints of a network and of trees."""
    name = {"model": "good.tabcohort", "network": "kept/0-0-0.checkpoint", "trees": "kept/2-0-0.checkpoint"}[kind]
    good = (folder / name).read_bytes()
    crafted, rng = folder / "crafted", random.Random(kind)
    read = load if kind == "model" else lambda path: read_container(path, "checkpoint")
    for _ in range(2 * N_CASES):
        place = rng.randrange(8 * len(good))
        changed = bytearray(good)
        changed[place // 8] ^= 1 << place % 8
        crafted.write_bytes(changed)
        with pytest.raises(ModelFileError):
            read(crafted)
    for _ in range(N_CASES // 2):
        crafted.write_bytes(good[: rng.randrange(len(good))])
        with pytest.raises(ModelFileError):
            read(crafted)


# -- files that are large, or none -----------------------------------------------------------------------------------


def craft(path: Path, document: dict[str, Any] | str, more: dict[str, Any] | None = None, values: bytes = b"") -> Path:
    """Write a file of a document, entries of the header besides it, and bytes of arrays, with a right checksum."""
    import hashlib

    text = document if isinstance(document, str) else json.dumps(document)
    header = json.dumps({"__metadata__": {KEY: text}, **(more or {})}).encode()
    body = len(header).to_bytes(8, "little") + header + values
    path.write_bytes(MAGIC + hashlib.sha256(body).digest() + body)
    return path


@pytest.mark.parametrize("name", ["layers", "configs", "members", "classes", "columns", "objective", "nothing"])
def test_a_document_of_many_things_is_refused_soon(folder: Path, name: str) -> None:
    _, document = read_container(folder / "good.tabcohort", "model")
    report, schema = document["report"], document["schema"]
    n = 20_000
    changes: dict[str, Any] = {
        "layers": {"report": {**report, "configs": [
            {**report["configs"][0], "config": {**report["configs"][0]["config"], "hidden": [1] * 50 * n}},
            *report["configs"][1:],
        ]}},
        "configs": {"report": {**report, "configs": report["configs"] + [{}] * n}},
        "members": {"report": {**report, "members": report["members"] + [{}] * n}},
        "classes": {"schema": {**schema, "classes": [str(number) for number in range(n)]}},
        "columns": {"schema": {**schema, "columns": [
            {**schema["columns"][0], "name": str(number)} for number in range(n)
        ]}},
        "objective": {"decision_rule": {**document["decision_rule"], "objective": "f1" * 10 * n}},
        "nothing": {"members": [[]] * 10 * n},
    }  # fmt: skip
    path = craft(folder / "crafted.tabcohort", {**document, **changes[name]})
    began = time.perf_counter()
    with pytest.raises(ModelFileError):
        load(path)
    assert time.perf_counter() - began < MAX_SECONDS


def test_a_file_that_says_it_is_larger_or_smaller_than_it_is_is_refused_before_its_arrays_are_read(
    folder: Path,
) -> None:
    n = 50_000_000
    path = craft(folder / "crafted.tabcohort", {}, {"a": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}})
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="its arrays end after 200000000 bytes, and it has 0 bytes of them"):
        load(path)
    os.truncate(path, 2**40)  # a sparse file
    with pytest.raises(ModelFileError, match="is not a valid tabcohort file: its arrays end after"):
        load(path)
    os.truncate(path, HEADER_BYTES + 8)
    with pytest.raises(ModelFileError):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_reading_takes_no_more_memory_than_the_arrays(tmp_path: Path) -> None:
    array = np.zeros(5_000_000, np.float32)
    write_container(tmp_path / "large", "thing", {"a": array}, {})
    tracemalloc.start()
    arrays, _ = read_container(tmp_path / "large", "thing")
    assert tracemalloc.get_traced_memory()[1] < 1.1 * array.nbytes
    tracemalloc.stop()
    assert arrays["a"].nbytes == array.nbytes


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "/dev/null"])
def test_a_device_is_no_model(path: str) -> None:
    if not stat.S_ISCHR(os.stat(path).st_mode):
        pytest.skip("there is no such device here")
    with pytest.raises(ModelFileError, match=f"{path}' cannot be read: it is a device, a pipe or a socket"):
        load(path)


def test_a_pipe_is_no_model_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    status, _, err = run("info", tmp_path / "pipe")
    assert status == 2
    assert "it is a device, a pipe or a socket" in err
