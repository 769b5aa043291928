"""Tables as bodies: read within bounds, written piece by piece."""

from __future__ import annotations

import gzip
import io
import random
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tabcohort import Predictor
from tabcohort.data.inputs import table_inputs
from tabcohort.server.problems import Problem
from tabcohort.server.table_bodies import (
    ARROW_FILE,
    ARROW_STREAM,
    CSV,
    PARQUET,
    TABLES,
    decompressed,
    inputs_of,
    read_table,
    too_large,
    written,
)

FRAME = pl.DataFrame({"x0": [1.5, None, 3.25], "name": ["a", 'b,"c"', None]})
MANY = {"max_rows": 1_000, "max_bytes": 10**7}


def body_of(frame: pl.DataFrame, media_type: str) -> bytes:
    """Return a frame in a format."""
    file = io.BytesIO()
    write = {CSV: frame.write_csv, PARQUET: frame.write_parquet, ARROW_STREAM: frame.write_ipc_stream,
             ARROW_FILE: frame.write_ipc}[media_type]  # fmt: skip
    write(file)
    return file.getvalue()


@pytest.mark.parametrize("media_type", TABLES)
def test_a_table_is_read_in_every_format(media_type: str) -> None:
    frame = read_table(body_of(FRAME, media_type), media_type, **MANY)
    expected = FRAME.cast({"x0": pl.String}) if media_type == CSV else FRAME
    assert frame.equals(expected)


@pytest.mark.parametrize("media_type", TABLES)
def test_a_table_of_too_many_rows_or_none_is_refused(media_type: str) -> None:
    with pytest.raises(Problem, match="3 rows, and at most 2") as caught:
        read_table(body_of(FRAME, media_type), media_type, 2, 10**7)
    assert caught.value.status == 413
    if media_type != CSV:
        with pytest.raises(Problem, match="no rows") as caught:
            read_table(body_of(FRAME[:0], media_type), media_type, **MANY)
        assert caught.value.status == 422


def test_parquet_that_needs_more_memory_than_allowed_is_refused_by_what_it_says() -> None:
    body = body_of(pl.DataFrame({"x": pl.Series(range(1_000))}), PARQUET)
    with pytest.raises(Problem, match="larger than") as caught:
        read_table(body, PARQUET, 10_000, 1_000)
    assert caught.value.status == 413


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
@pytest.mark.parametrize("media_type", TABLES)
def test_a_damaged_table_is_a_bad_request(media_type: str) -> None:
    """Cut, of another format, and with bytes changed at random places."""
    body = body_of(pl.DataFrame({"x0": [float(i) for i in range(50)], "t": ["word"] * 50}), media_type)
    rng = random.Random(0)
    damaged = [body[:n] for n in range(0, len(body), 97)]
    for _ in range(150):
        own = bytearray(body)
        for _ in range(rng.choice((1, 2, 8))):
            own[rng.randrange(len(own))] = rng.randrange(256)
        damaged.append(bytes(own))
    for own in damaged:
        try:
            frame = read_table(own, media_type, **MANY)
        except Problem as problem:
            assert problem.status in (400, 413, 422)  # noqa: PT017
        else:
            assert len(frame) <= 1_000


@pytest.mark.parametrize("media_type", [PARQUET, ARROW_STREAM, ARROW_FILE])
def test_a_table_of_another_format_is_a_bad_request(media_type: str) -> None:
    for body in (b"", b"x0,name\n1,a\n", b"PAR1", b"\xff\xff\xff\xff", b"ARROW1\x00\x00"):
        with pytest.raises(Problem, match=f"not {media_type}, or is damaged"):
            read_table(body, media_type, **MANY)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"x0,x1\n1,2,3\n", "line 2 has 3 cells"),
        (b"x0,x0\n1,2\n", "has a name twice"),
        (b"4711,4711\n1,2\n", "has a name twice"),
        (b"", "is empty"),
        (b"x0,x1\nmm,cm\n1,2\n3,4\n", "looks like the columns' units, as"),
    ],
)
def test_what_is_wrong_with_csv_is_said_without_its_cells(body: bytes, words: str) -> None:
    with pytest.raises(Problem) as caught:
        read_table(body, CSV, **MANY)
    assert caught.value.status == 400
    assert words in caught.value.detail
    assert "4711" not in caught.value.detail
    assert "mm" not in caught.value.detail


def test_gzip_is_unpacked_within_bounds() -> None:
    packed = gzip.compress(b"x0\n" + b"1\n" * 1_000)
    assert decompressed(packed, "gzip", 10**4) == b"x0\n" + b"1\n" * 1_000
    assert decompressed(b"abc", None, 2) == b"abc"
    for body, encoding, bound, status in (
        (packed, "br", 10**4, 415), (b"abc", "gzip", 10**4, 400), (packed[:-5], "gzip", 10**4, 400),
        (packed + b"more", "gzip", 10**4, 400), (gzip.compress(bytes(10**7)), "gzip", 10**4, 413),
    ):  # fmt: skip
        with pytest.raises(Problem) as caught:
            decompressed(body, encoding, bound)
        assert caught.value.status == status


def test_a_body_that_is_too_large_is_named_with_its_bound() -> None:
    assert too_large(64 * 2**20).detail == "the body is larger than 64 MiB; split it"


def test_inputs_are_those_of_the_library(mixed: Predictor, visits: pl.DataFrame) -> None:
    expected = table_inputs(visits, mixed.schema.columns)
    for media_type in TABLES:
        frame = read_table(body_of(visits, media_type), media_type, **MANY)
        assert inputs_of(frame, mixed.schema).tobytes() == expected.tobytes(), media_type


def test_missing_columns_and_wrong_cells_are_named_without_the_cell(predictor: Predictor) -> None:
    with pytest.raises(Problem, match="the table lacks 'x1', 'x2'") as caught:
        inputs_of(pl.DataFrame({"x0": [1.0], "4711": [1]}), predictor.schema)
    assert caught.value.status == 422
    assert [error["column"] for error in caught.value.errors] == ["x1", "x2"]
    for cell, words in (("4711th", "row 2, column 'x1' holds what is not a number"), ("1e300", "is too large")):
        with pytest.raises(Problem, match=words) as caught:
            inputs_of(pl.DataFrame({"x0": ["1", "2"], "x1": ["1", cell], "x2": ["1", "2"]}), predictor.schema)
        assert cell not in caught.value.detail


@pytest.mark.parametrize("media_type", TABLES)
def test_predictions_are_written_as_they_are_read(media_type: str, predictor: Predictor) -> None:
    frame = pl.DataFrame({"x0": [0.5, 1.5, 2.5], "x1": [0.0] * 3, "x2": [1.0] * 3})
    parts = [predictor.predict_frame(frame[place : place + 1], frame.columns) for place in range(3)]
    numbers = [*predictor.probability_names(), "spread"]
    body = b"".join(written(iter(parts), media_type, numbers))
    whole = b"".join(written(iter([predictor.predict_frame(frame, frame.columns)]), media_type, numbers))
    if media_type == ARROW_STREAM:
        assert pa.ipc.open_stream(body).read_all().equals(pa.ipc.open_stream(whole).read_all())
    elif media_type == CSV:
        assert body == whole
    else:
        read: Any = pl.read_parquet if media_type == PARQUET else pl.read_ipc
        assert read(io.BytesIO(body)).equals(read(io.BytesIO(whole)))


def test_a_column_whose_name_is_not_utf_8_is_a_bad_request() -> None:
    body = body_of(pl.DataFrame({"name0": [1.0]}), ARROW_STREAM).replace(b"name0", b"nam\xff\xfe")
    with pytest.raises(Problem) as caught:
        read_table(body, ARROW_STREAM, **MANY)
    assert caught.value.status == 400


def test_a_column_of_another_case_is_suggested(predictor: Predictor) -> None:
    with pytest.raises(Problem, match=r"the table lacks 'x0' \(did you mean 'X0'\?\)$"):
        inputs_of(pl.DataFrame({"X0": [1.0], "x1": [2.0], "x2": [3.0]}), predictor.schema)
