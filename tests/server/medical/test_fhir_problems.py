from __future__ import annotations

import json

import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome

from tabcohort.server.medical.fhir_problems import MAX_ISSUES, FhirProblem, Issue, as_fhir, fhir_response, refused
from tabcohort.server.problems import Problem


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        (["structure"], 400), (["code-invalid"], 400), (["not-supported"], 422), (["multiple-matches"], 422),
        (["not-supported", "required"], 400),
    ],
)  # fmt: skip
def test_resources_that_are_not_valid_get_400_and_others_422(codes: list[str], status: int) -> None:
    assert FhirProblem([Issue(code, "a sentence") for code in codes]).status == status


def test_a_problem_is_an_operation_outcome() -> None:
    problem = refused("value", "a value must be a number", "Bundle.entry[1].resource.value")
    response = problem.response()
    assert (response.status_code, response.media_type) == (400, "application/fhir+json")
    document = json.loads(response.body)
    OperationOutcome.model_validate(document)
    assert document["issue"] == [{
        "severity": "error", "code": "value", "diagnostics": "a value must be a number",
        "expression": ["Bundle.entry[1].resource.value"],
    }]  # fmt: skip


def test_a_problem_document_says_the_same() -> None:
    problem = refused("value", "a value must be a number", "Bundle").problem()
    assert (problem.status, problem.detail) == (400, "a value must be a number")
    assert problem.errors == ({"code": "value", "diagnostics": "a value must be a number", "expressions": ["Bundle"]},)
    assert problem.response().media_type == "application/problem+json"


def test_there_is_an_end_of_issues() -> None:
    assert len(FhirProblem([Issue("value", "a")] * 50).to_dict()["issue"]) == MAX_ISSUES


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "structure"), (413, "too-long"), (415, "not-supported"), (503, "transient"), (422, "processing")],
)
def test_other_problems_become_those_of_fhir(status: int, code: str) -> None:
    problem = as_fhir(Problem(status, "a sentence", headers={"retry-after": "60"}))
    OperationOutcome.model_validate(problem.to_dict())
    assert (problem.status, problem.issues) == (status, (Issue(code, "a sentence"),))
    assert problem.response().headers["retry-after"] == "60"
    assert as_fhir(problem) is problem


def test_numbers_that_json_does_not_have_are_never_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fhir_response({"probabilityDecimal": float("nan")})
