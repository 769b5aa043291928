"""What a model keeps of its training columns, beside the columns themselves."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from helpers import SMALL, fit_quickly

from tabcohort import Table
from tabcohort.model.training_statistics import training_statistics

N_ROWS = 300


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """A number with gaps, one without, categories of few and many levels, and a truth value."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "size": rng.normal(50, 9, N_ROWS),
            "dose": rng.uniform(size=N_ROWS),
            "city": rng.choice(["Oslo", "Rome", "Bern"], N_ROWS),
            "code": rng.choice([f"c{i}" for i in range(20)], N_ROWS),
            "paid": rng.random(N_ROWS) < 0.3,
            "answer": rng.choice(["no", "yes"], N_ROWS),
        }
    )
    holes = pl.int_range(N_ROWS) % 5 == 2
    return frame.with_columns(pl.when(holes).then(None).otherwise(pl.col("size", "city")).name.keep())


def test_networks_keep_moments_shares_and_counts_of_all_rows(frame: pl.DataFrame) -> None:
    kept = training_statistics(fit_quickly(Table.from_frame(frame, "answer"), SMALL, max_epochs=1))
    assert kept is not None
    size = frame["size"].drop_nulls().to_numpy()
    assert kept["size"].mean == pytest.approx(size.mean(), abs=0.5)
    assert kept["size"].deviation == pytest.approx(size.std(), rel=0.05)
    assert kept["size"].n_rows == N_ROWS
    assert kept["size"].missing_share == pytest.approx(0.2, abs=0.02)
    assert kept["city"].missing_share == pytest.approx(0.2, abs=0.02)
    assert kept["dose"].missing_share == 0
    for name, levels in (("city", kept["city"]), ("code", kept["code"]), ("paid", kept["paid"])):
        assert levels.counts is not None
        true = frame[name].cast(pl.String).drop_nulls().value_counts(sort=True)["count"].to_numpy()
        own = np.sort(levels.counts[:-2])[::-1]
        np.testing.assert_allclose(own, true, atol=4, err_msg=name)
        assert levels.counts.sum() == pytest.approx(N_ROWS)
    assert kept["dose"].edges is None


def test_networks_with_bins_keep_quantiles(frame: pl.DataFrame) -> None:
    model = fit_quickly(Table.from_frame(frame, "answer"), SMALL, max_epochs=1, bins=8)
    kept = training_statistics(model)
    assert kept is not None
    for name in ("size", "dose"):
        edges, values = kept[name].edges, frame[name].drop_nulls().to_numpy()
        assert edges is not None
        shares = np.diff(np.searchsorted(np.sort(values), edges)) / len(values)
        assert len(edges) == 7
        np.testing.assert_allclose(shares, 1 / 8, atol=0.06)
    assert kept["size"].n_edge_rows == pytest.approx(0.8 * model.report.members[0].n_train, abs=4)


def test_trees_keep_moments_only(frame: pl.DataFrame) -> None:
    kept = training_statistics(fit_quickly(Table.from_frame(frame, "answer"), SMALL, model="trees"))
    assert kept is not None
    assert kept["size"].mean == pytest.approx(50, abs=2)
    assert np.isnan(kept["size"].missing_share)
    assert kept["city"].counts is None


def test_groups_are_counted_in_place_of_rows() -> None:
    rng = np.random.default_rng(0)
    table = Table.from_arrays(rng.normal(size=(120, 2)), np.arange(120) // 4 % 2, group_ids=np.arange(120) // 4)
    kept = training_statistics(fit_quickly(table, SMALL, max_epochs=1))
    assert kept is not None
    assert kept["x0"].n_rows == 30


def test_rows_of_different_weights_are_not_described() -> None:
    rng = np.random.default_rng(0)
    table = Table.from_arrays(rng.normal(size=(90, 2)), np.arange(90) % 2, weight=rng.uniform(1, 2, 90))
    assert training_statistics(fit_quickly(table, SMALL, max_epochs=1)) is None
