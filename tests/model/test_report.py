"""The report says what happened to every member and config."""

from __future__ import annotations

import pytest

from tabcohort import Predictor
from tabcohort.model.report import ALTERNATIVES


@pytest.mark.parametrize("name", ["predictor", "three_classes", "cohort", "rare"])
def test_each_member_uses_each_row_once_and_has_the_weights_of_an_epoch_it_had(
    name: str, request: pytest.FixtureRequest
) -> None:
    report = request.getfixturevalue(name).report
    for member in report.members:
        assert member.n_train + member.n_validation + member.n_test == report.n_rows
        assert 1 <= member.best_epoch <= len(member.history)
        assert member.history[member.best_epoch - 1].score == min(record.score for record in member.history)
        assert 0 <= member.repeat < report.n_seeds
        assert 0 <= member.fold < report.n_folds


def test_the_weights_of_the_configs_sum_to_one_and_simpler_models_come_first(cohort: Predictor) -> None:
    report = cohort.report
    assert sum(config.weight for config in report.configs) == pytest.approx(1)
    places = [ALTERNATIVES.index(alternative.kind) for alternative in report.alternatives]
    assert places == sorted(places)
