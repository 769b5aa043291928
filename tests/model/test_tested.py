"""Which members were tested on a row: those whose split of the plan says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import QUICK, SINGLE, make_rows, make_small_table

from tabcohort import CohortSettings, Config, Predictor, Table, fit
from tabcohort.cohort.plan import make_plan
from tabcohort.model.tested import members_tested_on, rows_of_folds


@pytest.mark.parametrize("settings", [SINGLE, CohortSettings(folds=3, seeds=2), CohortSettings(folds=12, seeds=1)])
def test_the_members_of_a_row_are_those_that_the_plan_tests_on_it(settings: CohortSettings) -> None:
    table = make_small_table()
    configs = [Config(**QUICK), Config(**{**QUICK, "learning_rate": 0.03})]
    predictor = fit(table, configs, settings)
    plan, rows = make_plan(table, configs, settings), np.array([3, 50, 89, 4])
    splits = {(member.config, member.repeat, member.fold): plan.split(member) for member in plan.members}
    reports = [predictor.report.members[number] for number in predictor.members]
    for row, members in zip(rows.tolist(), members_tested_on(predictor, table, rows), strict=True):
        tests = [row in splits[own.config, own.repeat, own.fold].test for own in reports]
        assert members == np.flatnonzero(tests).tolist()
        for own in (reports[place] for place in members):
            split = splits[own.config, own.repeat, own.fold]
            assert row not in (*split.train.tolist(), *split.validation.tolist())


def test_in_time_they_are_those_of_the_period_of_the_row_unless_that_is_not_known() -> None:
    frame = {"x": make_rows(120)[0][:, 0], "when": np.arange(120.0), "answer": np.arange(120) % 2}
    table = Table.from_frame(frame, "answer", time="when")
    predictor = fit(table, Config(**QUICK), CohortSettings(folds=3, seeds=2))
    without, rows = replace(table, time=None), np.arange(120)
    assert members_tested_on(predictor, without, rows) == members_tested_on(predictor, table, rows)
    assert members_tested_on(predictor, without, rows)[0] == []  # the earliest rows only train
    other = replace(predictor.report, n_folds=4)
    unknown = Predictor(
        predictor.models, predictor.members, predictor.schema, predictor.calibrator, predictor.decision_rule,
        predictor.out_of_fold, other,
    )  # fmt: skip
    assert [len(own) for repeat in rows_of_folds(unknown, without, 2) for own in repeat] == [0] * 8
    assert members_tested_on(unknown, without, rows) == [[]] * 120
