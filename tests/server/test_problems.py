"""Problem documents."""

from __future__ import annotations

import json

from tabcohort.server.problems import PROBLEM, Problem, overloaded


def test_a_problem_is_a_document_of_rfc_9457() -> None:
    response = Problem(422, "the column 'age' is missing", [{"column": "age"}]).response()
    assert response.status_code == 422
    assert response.headers["content-type"] == PROBLEM == "application/problem+json"
    assert json.loads(response.body) == {
        "type": "about:blank", "title": "Unprocessable Entity", "status": 422,
        "detail": "the column 'age' is missing", "errors": [{"column": "age"}],
    }  # fmt: skip


def test_text_that_utf_8_cannot_hold_is_still_an_answer() -> None:
    assert b"ud800" in Problem(400, "the name \ud800").response().body


def test_an_overloaded_server_says_when_to_come_again() -> None:
    response = overloaded("too much", 3).response()
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
