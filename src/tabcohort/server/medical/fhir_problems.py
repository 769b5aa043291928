"""What can be wrong with a request of FHIR, as an OperationOutcome."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.responses import Response

from tabcohort.server.problems import Problem

FHIR_JSON = "application/fhir+json"
MAX_ISSUES = 20  # that one answer names
BASIC = {"structure", "required", "value", "invariant", "code-invalid"}  # issues of a resource that is none
CODES = {  # of issues, by the status of HTTP
    400: "structure", 404: "not-found", 408: "timeout", 413: "too-long", 415: "not-supported", 503: "transient",
}  # fmt: skip


class Issue(NamedTuple):
    """Something that is wrong.

    Args:
        code: of the value set IssueType.
        diagnostics: a sentence on what must hold and what to do. It never holds a value of the patient.
        expressions: FHIRPath of the elements.
    """

    code: str
    diagnostics: str
    expressions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as an issue of an OperationOutcome."""
        own = {"severity": "error", "code": self.code, "diagnostics": self.diagnostics}
        return {**own, "expression": list(self.expressions)} if self.expressions else own


class FhirProblem(Problem):
    """A request of FHIR that is not answered as it asks.

    Args:
        issues: at least one.
        status: of HTTP; 400 for resources that are not valid and 422 for those that are, when omitted.
        headers: of the answer.
    """

    def __init__(
        self, issues: Sequence[Issue], status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        is_basic = any(issue.code in BASIC for issue in issues)
        own = HTTPStatus.BAD_REQUEST if is_basic else HTTPStatus.UNPROCESSABLE_ENTITY
        self.issues = tuple(issues[:MAX_ISSUES])
        errors = [{**issue._asdict(), "expressions": list(issue.expressions)} for issue in self.issues]
        super().__init__(status or own, self.issues[0].diagnostics, errors, headers)

    def to_dict(self) -> dict[str, Any]:
        """Return the OperationOutcome."""
        return {"resourceType": "OperationOutcome", "issue": [issue.to_dict() for issue in self.issues]}

    def problem(self) -> Problem:
        """Return it for a client that expects a problem document."""
        return Problem(self.status, self.detail, self.errors, self.headers)

    def response(self) -> Response:
        """Return the answer that says it."""
        return fhir_response(self.to_dict(), self.status, self.headers)


def fhir_response(resource: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that holds a resource."""
    text = json.dumps(resource, ensure_ascii=False, allow_nan=False)
    return Response(text.encode("utf-8", "backslashreplace"), status, dict(headers or {}), FHIR_JSON)


def as_fhir(problem: Problem) -> FhirProblem:
    """Return a problem as one of FHIR."""
    if isinstance(problem, FhirProblem):
        return problem
    code = CODES.get(problem.status, "processing")
    return FhirProblem([Issue(code, problem.detail)], problem.status, problem.headers)


def refused(code: str, diagnostics: str, *expressions: str) -> FhirProblem:
    """Return the problem of a single issue."""
    return FhirProblem([Issue(code, diagnostics, expressions)])
