"""Explanations as they are shown: classes, reasons, cells as text, plain JSON values, columns that move together."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tabcohort import Explanation, TableError
from tabcohort.data.columns import Number
from tabcohort.model.explain import cell_text, code_of, explanation_facts, players_of, reasons

COLUMNS = [Number(name) for name in "abcd"]


def explanation_of(contributions: Any, classes: Any = ("no", "yes"), positive: int | None = 1) -> Explanation:
    """Return an explanation with these contributions, `(n_columns, n_scores)`, of columns a, b, ..."""
    own = np.array(contributions, dtype=float)
    base = np.arange(1.0, own.shape[1] + 1) - (0 if own.shape[1] == 1 else (own.shape[1] + 1) / 2)
    return Explanation(
        names=tuple("abcdef"[: len(own)]), values=(1.5, None, "Oslo", 7)[: len(own)], contributions=own,
        errors=np.full(own.shape, 0.25), base=base, output=base + own.sum(axis=0), classes=classes, positive=positive,
        n_background=9, n_rounds=2, is_converged=True,
    )  # fmt: skip


def test_the_classes_of_two_have_opposite_scores() -> None:
    explanation = explanation_of([[0.5], [0.0], [-2.0]])
    yes, no = explanation.of_class("yes"), explanation.of_class("no")
    assert yes.contributions.tolist() == [0.5, 0.0, -2.0]
    assert no.contributions.tolist() == [-0.5, 0.0, 2.0]
    assert str(no.contributions[1]) == "0.0"  # and not -0.0
    assert (yes.base, yes.output, no.base, no.output) == (1.0, -0.5, -1.0, 0.5)
    assert yes.base_probability == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert yes.output_probability + no.output_probability == pytest.approx(1, abs=1e-15)
    turned = explanation_of([[0.5], [0.0], [-2.0]], positive=0)
    assert turned.of_class("no").contributions.tolist() == [0.5, 0.0, -2.0]


def test_each_class_of_three_has_its_own_score() -> None:
    explanation = explanation_of([[1, -1, 0], [0, 2, -2]], (1, 2, 3), None)
    scores = [explanation.of_class(label) for label in (1, "2", 3)]
    assert [own.contributions.tolist() for own in scores] == [[1, 0], [-1, 2], [0, -2]]
    assert sum(own.output_probability for own in scores) == pytest.approx(1)
    proba = np.exp(explanation.base) / np.exp(explanation.base).sum()
    assert [own.base_probability for own in scores] == pytest.approx(proba.tolist())


def test_a_class_that_is_not_there_offers_the_nearest() -> None:
    with pytest.raises(
        TableError, match=r"^there is no class 'yess' \(did you mean 'yes'\?\); the classes are no, yes"
    ):
        code_of("yess", ("no", "yes"))
    assert code_of("3", (1, 3)) == 1


def test_reasons_are_the_largest_contributions() -> None:
    explanation = explanation_of([[0.5], [0.0], [-2.0], [1.0]])
    assert reasons(explanation, "yes", 2) == "c = Oslo (-2.00); d = 7 (+1.00)"
    assert reasons(explanation, "no", 9) == "c = Oslo (+2.00); d = 7 (-1.00); a = 1.5 (-0.50)"
    assert reasons(explanation_of([[0.0]]), "yes", 3) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1 + 0.2, "0.3"), (2019.0, "2019"), (7, "7"), (" ", "missing"), (None, "missing"), (True, "True"), ("NA", "NA"),
     ((1.0, None), "1, missing"), (np.float32(0.25), "0.25")],
)  # fmt: skip
def test_cells_are_shown_shortly(value: Any, text: str) -> None:
    assert cell_text(value) == text


def test_facts_are_plain_and_sorted_by_size() -> None:
    facts = explanation_facts(explanation_of([[0.5], [0.0], [-2.0]]), "yes")
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert [column["name"] for column in facts["columns"]] == ["c", "a", "b"]
    assert facts["columns"][0] == {"name": "c", "value": "Oslo", "contribution": -2.0, "error": 0.25}
    assert facts["columns"][2]["value"] is None
    assert (facts["class"], facts["score"], facts["n_background"]) == ("yes", "log odds", 9)
    several = explanation_facts(explanation_of([[1, -1, 0]], (1, 2, 3), None), 2)
    assert several["score"] == "log probability minus the mean over classes"


def test_columns_that_move_together_are_one_player() -> None:
    assert players_of(COLUMNS, ()) == [[0], [1], [2], [3]]
    assert players_of(COLUMNS, [["d", "b"]]) == [[0], [1, 3], [2]]
    assert players_of(COLUMNS, [["c", "a"], ["d", "b"]]) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("together", "words"),
    [
        ([["b", "A"]], r"^the model has no column 'A' \(did you mean 'a'\?\); its columns are a, b, c, d$"),
        ([["a", "b"], ["c", "a"]], "^the column 'a' is named twice among the columns that move together"),
        ([["a", "a"]], "^the column 'a' is named twice"),
    ],
)
def test_impossible_sets_of_columns_are_refused(together: list[list[str]], words: str) -> None:
    with pytest.raises(TableError, match=words):
        players_of(COLUMNS, together)
