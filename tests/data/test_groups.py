"""Groups: rows that keys or group columns connect, however indirectly."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_frames import N_ROWS, frame_of

from tabcohort import Config, TabcohortWarning, Table, TableError
from tabcohort.data.groups import connected_groups, group_codes, group_hashes, group_ids_of
from tabcohort.data.splits import train_validation_test_split
from tabcohort.types import IntArray


def features_of(**columns: Any) -> pl.DataFrame:
    """Return a frame with a feature that is no row number, and these columns."""
    return frame_of(a=[str(i / 8) for i in range(N_ROWS)], **columns)


def n_groups_of(table: Table) -> int:
    assert table.group_ids is not None
    return len(set(table.group_ids.tolist()))


# -- codes -----------------------------------------------------------------------------------------------------------


def test_connected_groups_are_what_any_codes_connect_however_indirectly() -> None:
    first, second = np.array([5, 5, 2, 0, 7]), np.array([9, 1, 1, 4, 9])  # codes with gaps
    np.testing.assert_array_equal(connected_groups(first), [2, 2, 1, 0, 3])
    connected = connected_groups(first, second)
    assert sorted(set(connected)) == [0, 1]
    assert len(set(connected[[0, 1, 2, 4]])) == 1
    third = np.array([0, 1, 2, 2, 3])
    assert set(connected_groups(first, second, third)) == {0}


def merged_one_by_one(codes: list[IntArray]) -> IntArray:
    """Return the group of each row, `(n_rows,)`: two groups become one as long as rows of both share a code."""
    group = np.arange(len(codes[0]))
    for one in range(len(group)):
        for other in range(one):
            if any(ids[one] == ids[other] for ids in codes):
                group[group == group[one]] = group[other]
    return group


@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 15), st.integers(0, 2**32))
@hypothesis_settings(max_examples=60, deadline=None)
def test_connected_groups_are_those_that_are_merged_one_by_one(
    n_rows: int, n_columns: int, n_codes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = [rng.integers(n_codes, size=n_rows) for _ in range(n_columns)]
    groups, expected = connected_groups(*codes), merged_one_by_one(codes)
    np.testing.assert_array_equal(np.unique(groups), np.arange(groups.max() + 1))  # no gaps
    np.testing.assert_array_equal(groups[:, None] == groups, expected[:, None] == expected)


def test_key_columns_have_codes_together_and_group_columns_each_their_own() -> None:
    frame = pl.DataFrame({"site": ["s", "s", "t", "t"], "number": [1, 1, 1, 2], "ward": ["w", None, "v", None]})
    codes = group_codes(frame, ["site", "number"], ["ward"])
    assert list(codes) == [("site", "number"), ("ward",)]
    pair, ward = (ids.tolist() for ids in codes.values())
    assert pair[0] == pair[1]
    assert len(set(pair)) == 3
    assert len(set(ward)) == 4  # a row without a value has a code of its own
    assert group_codes(frame.head(0), ["site"], ["ward"]) == {}
    assert group_codes(frame, [], []) == {}


def test_rows_without_a_part_of_their_key_have_codes_of_their_own_however_many_they_are() -> None:
    frame = pl.DataFrame({"site": [None, None, None, "s", "s"], "number": [1, 2, 3, 1, 1]})
    (codes,) = group_codes(frame, ["site", "number"], []).values()
    assert codes[3] == codes[4]
    np.testing.assert_array_equal(np.unique(codes), [0, 1, 2, 3])


def test_hashes_of_values_are_the_same_in_any_batch_and_those_given_where_a_value_is_missing() -> None:
    frame = pl.DataFrame({"site": ["s", "s", "t", "s", None, "s", None], "number": [1, 2, 1, 1, 1, None, None]})
    otherwise = np.arange(7, dtype=np.uint64)
    hashes = group_hashes(frame, ["site", "number"], otherwise)
    assert hashes[0] == hashes[3]
    assert len(set(hashes)) == 6
    np.testing.assert_array_equal(hashes[4:], otherwise[4:])
    np.testing.assert_array_equal(group_hashes(frame[2:5], ["site", "number"], otherwise[2:5]), hashes[2:5])


def test_codes_that_connect_no_rows_make_no_groups() -> None:
    assert group_ids_of([]) is None
    assert group_ids_of([np.arange(4), np.arange(4)[::-1]]) is None
    np.testing.assert_array_equal(group_ids_of([np.arange(4), np.array([0, 1, 1, 2])]), [0, 1, 1, 2])


# -- keys ------------------------------------------------------------------------------------------------------------


def with_keys(order: Any = slice(None)) -> Table:
    """Return the table of 40 patients with three visits each."""
    rng = np.random.default_rng(0)
    data = pl.DataFrame(
        {
            "patient": [f"p{i // 3}" for i in range(120)],
            "x": rng.normal(size=120),
            "y": np.array(["no", "yes"])[rng.integers(2, size=120)],
        }
    )
    words = "^120 rows have 40 different values of patient; rows of one value stay together$"
    with pytest.warns(TabcohortWarning, match=words):
        return Table.from_frame(data[order], "y", keys=["patient"])


def test_a_key_that_repeats_is_warned_of_and_kept() -> None:
    table = with_keys()
    assert table.group_ids is not None
    patients = [f"p{i // 3}" for i in range(120)]
    assert len(set(table.group_ids)) == 40 == len(set(zip(patients, table.group_ids, strict=True)))


def test_the_split_by_a_key_does_not_depend_on_the_order_of_the_rows() -> None:
    shuffled = np.random.default_rng(1).permutation(120)
    table, other = with_keys(), with_keys(shuffled)
    one, two = (train_validation_test_split(keyed, Config()) for keyed in (table, other))
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(table.X[getattr(one, name)], other.X[getattr(two, name)])
    assert table.group_ids is not None
    assert not set(table.group_ids[one.train]) & set(table.group_ids[one.test])


def test_two_keys_together_are_one_key() -> None:
    data = features_of(site=["s", "t"] * 15, number=[str(i // 4) for i in range(N_ROWS)])
    with pytest.warns(TabcohortWarning, match="^30 rows have 16 different values of site, number"):
        table = Table.from_frame(data, "y", keys=["site", "number"])
    assert table.group_ids is not None
    assert table.group_ids[0] == table.group_ids[2] != table.group_ids[1]


def test_keys_that_identify_rows_only_together_are_warned_of_with_what_keeps_them_together() -> None:
    data = features_of(**{"the site": [i // 5 for i in range(N_ROWS)], "number": [i % 5 for i in range(N_ROWS)]})
    words = (
        "^the keys the site, number identify rows only together, so rows that share one of them may both train and "
        r"test a member; to keep these together, name it a group \(--group 'the site' --group number\)$"
    )
    with pytest.warns(TabcohortWarning, match=words):
        table = Table.from_frame(data, "y", keys=["the site", "number"])
    assert table.group_ids is None


def test_keys_are_not_said_to_repeat_where_they_are_missing_and_groups_after_them_are_warned_of() -> None:
    sites = [None, None, *(f"s{i}" for i in range(N_ROWS - 2))]
    data = features_of(site=sites, number=[i // 2 for i in range(N_ROWS)], ward=[i // 3 for i in range(N_ROWS)])
    with pytest.warns(TabcohortWarning) as warned:
        Table.from_frame(data, "y", keys=["site", "number"], groups=["ward"])
    of_keys, of_ward = (str(warning.message) for warning in warned)
    assert of_keys.startswith("the keys site, number identify rows only together")
    assert of_keys.endswith("(--group number)")
    assert of_ward.startswith("30 rows have 10 different values of ward")


def test_a_key_of_its_own_for_every_row_makes_no_groups() -> None:
    data = frame_of(id=[f"p{i}" for i in range(N_ROWS)])
    assert Table.from_frame(data, "y", keys=["id"]).group_ids is None
    assert Table.from_frame(frame_of(), "y").group_ids is None


def test_a_key_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(TableError, match=r"^the key 'id' \(List\(Int64\)\) must be text, numbers or dates$"):
        Table.from_frame(frame_of(id=[[1]] * N_ROWS), "y", keys=["id"])


def test_rows_whose_key_is_missing_are_nobody_elses() -> None:
    frame = pl.DataFrame({"pid": ["a", "a", None, None, "b", "c"], "x": range(6), "y": ["n", "y"] * 3})
    with pytest.warns(TabcohortWarning, match="6 rows have 5 different values of pid"):
        table = Table.from_frame(frame, "y", keys=["pid"])
    assert table.group_ids is not None
    assert table.group_ids[0] == table.group_ids[1]
    assert n_groups_of(table) == 5


# -- groups ----------------------------------------------------------------------------------------------------------


def test_rows_of_one_value_are_one_group_and_the_column_is_no_feature() -> None:
    words = "^30 rows have 10 different values of site; rows of one value stay together$"
    with pytest.warns(TabcohortWarning, match=words):
        table = Table.from_frame(features_of(site=[f"s{i // 3}" for i in range(N_ROWS)]), "y", groups=["site"])
    assert (table.schema.features, table.schema.keys) == (("a",), ())
    assert table.group_ids is not None
    assert len(set(zip(np.arange(N_ROWS) // 3, table.group_ids, strict=True))) == n_groups_of(table) == 10


@pytest.mark.filterwarnings("ignore:30 rows have")
def test_rows_that_a_key_or_any_group_connects_are_one_group_however_indirectly() -> None:
    """Patients 0 and 1 share a doctor, 1 and 2 a ward: all of them are one group; the others stay apart."""
    patient = [i // 2 for i in range(N_ROWS)]
    doctor = [0 if i in (1, 2) else 100 + patient[i] for i in range(N_ROWS)]
    ward = [0 if i in (3, 4) else 100 + patient[i] for i in range(N_ROWS)]
    data = features_of(patient=patient, doctor=doctor, ward=ward)
    table = Table.from_frame(data, "y", keys=["patient"], groups=["doctor", "ward"])
    assert table.group_ids is not None
    group_of_patient = table.group_ids[::2]
    np.testing.assert_array_equal(group_of_patient, table.group_ids[1::2])
    assert group_of_patient[0] == group_of_patient[1] == group_of_patient[2]
    assert len(set(group_of_patient)) == N_ROWS // 2 - 2
    assert table.schema.keys == ("patient",)
    assert table.schema.features == ("a",)


@pytest.mark.filterwarnings("ignore:30 rows have")
def test_a_table_for_a_model_has_the_groups_of_the_keys_and_groups_that_it_has() -> None:
    data = features_of(patient=[i // 3 for i in range(N_ROWS)], ward=[i // 15 for i in range(N_ROWS)])
    schema = Table.from_frame(data, "y", keys=["patient"], groups=["ward"]).schema
    assert (schema.keys, schema.groups) == (("patient",), ("ward",))

    assert n_groups_of(Table.for_schema(data, schema)) == 2
    assert n_groups_of(Table.for_schema(data.drop("ward"), schema)) == 10
    assert Table.for_schema(data.drop("ward", "patient"), schema).group_ids is None
    assert Table.for_schema(data.drop("ward").with_columns(patient=pl.arange(N_ROWS)), schema).group_ids is None


def test_rows_without_a_group_are_counted() -> None:
    site = [None if i < 6 else f"s{i // 3}" for i in range(N_ROWS)]
    words = (
        "^30 rows have 14 different values of site; rows of one value stay together, and 6 rows without one are "
        "independent$"
    )
    with pytest.warns(TabcohortWarning, match=words):
        Table.from_frame(features_of(site=site), "y", groups=["site"])


def test_groups_of_one_row_each_connect_nothing() -> None:
    data = features_of(site=[f"s{i}" for i in range(N_ROWS)])
    assert Table.from_frame(data, "y", groups=["site"]).group_ids is None
