"""How far a report is: its stages in their order, each as far as it is needed."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import polars as pl
from helpers import fit_quickly, make_rows

from tabcohort import Predictor, Table
from tabcohort.model.report_facts import report_facts
from tabcohort.model.report_progress import ReportProgress, Stage
from tabcohort.model.report_table import ReportTable


def frame_of(n_rows: int, seed: int = 0) -> pl.DataFrame:
    X, codes = make_rows(n_rows, seed=seed)
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    return frame.with_columns(word=pl.Series(np.where(X[:, 2] > 0, "a", "b")), answer=codes)


def heard(predictor: Predictor, frame: pl.DataFrame | None) -> list[ReportProgress]:
    progress: list[ReportProgress] = []
    table = None if frame is None else ReportTable.of(frame, predictor)
    report_facts(predictor, table, callback=progress.append)
    return progress


def test_every_stage_that_is_needed_is_told_in_order_and_only_grows() -> None:
    frame = frame_of(90)
    model = fit_quickly(Table.from_frame(frame, "answer"), model="logistic")
    progress = heard(model, frame)
    assert [stage for stage, _ in groupby(progress, lambda own: own.stage)] == list(Stage)
    done = [list(Stage).index(own.stage) + own.n_done / own.n_parts for own in progress]
    assert all(before <= after for before, after in pairwise(done))
    assert all(0 <= own.n_done < own.n_parts for own in progress)
    stages = {own.stage for own in heard(model, frame_of(60, seed=3))}
    assert stages == {Stage.PREDICTIONS, Stage.SUBGROUPS, Stage.REASONS}
    assert {own.stage for own in heard(model, None)} == {Stage.PREDICTIONS}
