"""CDS Hooks 2.0: the description of the service, its requests, and cards. No FHIR server is ever called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tabcohort.server.medical.fhir import DISCLAIMER, Assessment, percent
from tabcohort.server.medical.fhir_mapping import FhirMapping
from tabcohort.server.medical.fhir_observations import Entry
from tabcohort.server.medical.fhir_problems import FhirProblem
from tabcohort.server.medical.fhir_reading import Evidence, bundle_entries, read_evidence
from tabcohort.server.problems import Problem

HOOK = "patient-view"
PATIENT, OBSERVATIONS = "patient", "observations"  # keys of the prefetch templates
MAX_SUMMARY = 139  # characters, as there must be fewer than 140
MAX_IDENTITY = 100  # characters of ids in requests
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&-])")


def discovery(mapping: FhirMapping) -> dict[str, Any]:
    """Return the answer to `GET /cds-services`."""
    return {"services": [{
        "hook": HOOK,
        "id": mapping.model,
        "title": mapping.title,
        "description": f"The prediction of a classifier for a patient. {DISCLAIMER}",
        "prefetch": prefetch_templates(mapping),
        "usageRequirements": "All prefetch templates must be satisfied: this service calls no FHIR server.",
    }]}  # fmt: skip


def prefetch_templates(mapping: FhirMapping) -> dict[str, str]:
    """Return the prefetch templates: the patient, and the observations by their codes."""
    codes = ",".join("|".join(code) for code in mapping.by_code)
    return {
        PATIENT: "Patient/{{context.patientId}}",
        OBSERVATIONS: f"Observation?patient={{{{context.patientId}}}}&code={codes}",
    }


def read_request(request: Any, mapping: FhirMapping) -> Evidence | None:
    """Return the record that a request holds; None where it holds no value that the model uses.

    Args:
        request: the value of its JSON.
        mapping: of the model.

    Raises:
        Problem: 400, it is not a request of this hook; 412, prefetched data is missing; 400 or 422, a resource is not
            valid or cannot be used.
    """
    patient_id, prefetch = _checked(request)
    patient, observations = (_prefetched(prefetch, name) for name in (PATIENT, OBSERVATIONS))
    if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
        raise _bad("'prefetch.patient' must be a Patient")
    if patient.get("id") != patient_id:
        raise _bad("'prefetch.patient' must be the Patient of 'context.patientId'")
    try:
        path = f"prefetch.{OBSERVATIONS}"
        entries = [] if observations is None else bundle_entries(observations, path)
        return read_evidence(Entry(patient, f"prefetch.{PATIENT}"), entries, mapping)
    except FhirProblem as problem:
        if all(issue.code == "incomplete" for issue in problem.issues):
            if any(expression.endswith(".link") for issue in problem.issues for expression in issue.expressions):
                raise _precondition(problem.detail) from None
            return None
        raise problem.problem() from None


def _checked(request: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the patient's id and the prefetched data of a request."""
    if not isinstance(request, dict):
        raise _bad("a request of CDS Hooks must be a JSON object")
    if request.get("hook") != HOOK:
        raise _bad(f"'hook' must be {HOOK!r}")
    instance = request.get("hookInstance")
    if not isinstance(instance, str) or not _UUID.fullmatch(instance):
        raise _bad("'hookInstance' must be a UUID")
    context, prefetch = request.get("context"), request.get("prefetch", {})
    if not isinstance(context, dict) or not isinstance(prefetch, dict):
        raise _bad("'context' and 'prefetch' must be objects")
    for name in ("userId", "patientId"):
        value = context.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_IDENTITY:
            raise _bad(f"'context.{name}' must be text")
    return context["patientId"], prefetch


def _prefetched(prefetch: Mapping[str, Any], name: str) -> Any:
    """Return prefetched data; None where the client has searched and found nothing."""
    value = prefetch.get(name)
    is_error = isinstance(value, dict) and value.get("resourceType") == "OperationOutcome"
    if name not in prefetch or is_error or (value is None and name == PATIENT):
        raise _precondition(f"'prefetch.{name}' is missing")
    return value


def _precondition(what: str) -> Problem:
    detail = f"{what}, and this service never calls a FHIR server: satisfy its prefetch templates in full, in one page"
    return Problem(HTTPStatus.PRECONDITION_FAILED, detail)


def _bad(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail)


# -- cards -----------------------------------------------------------------------------------------------------------


def card(assessment: Assessment, identity: str, screen: str) -> dict[str, Any]:
    """Return the card of an assessment.

    Args:
        assessment: what it says.
        identity: a UUID.
        screen: address of the page of the model.

    Raises:
        ValueError: a probability is not in [0, 1].
    """
    is_usual = not (assessment.abstains or assessment.evidence.missing or assessment.prediction.warnings)
    return {
        "uuid": identity,
        "summary": _summary(assessment),
        "detail": _detail(assessment),
        "indicator": "info" if is_usual else "warning",
        "source": {"label": f"{assessment.method}; not a medical device"},
        "links": [{"label": f"Open the model {assessment.mapping.model}", "url": screen, "type": "absolute"}],
    }


def _summary(assessment: Assessment) -> str:
    """Return one sentence of fewer than 140 characters, which ends with the disclaimer."""
    if assessment.abstains:
        says = f"{assessment.mapping.title}: the model abstains"
    else:
        label = assessment.prediction.label
        probability = percent(assessment.prediction.probability[label])
        says = f"{assessment.mapping.title}: {assessment.outcome(label)}, probability {probability}"
    end = "; not a medical device"
    room = MAX_SUMMARY - len(end)
    return (says if len(says) <= room else says[: room - 1] + "…") + end


def _detail(assessment: Assessment) -> str:
    """Return the rest as Markdown."""
    disclaimer, *notes = map(_markdown, assessment.notes())
    rows = [f"| {_markdown(assessment.outcome(label))} | {percent(own)} |" for label, own in assessment.probabilities()]
    lines = [
        f"**{disclaimer}**", "", _markdown(assessment.says()), "", "| Outcome | Probability |", "|---|---:|", *rows,
    ]  # fmt: skip
    for note in notes:
        lines += ["", note]
    return "\n".join(lines)


def _markdown(text: str) -> str:
    """Return text in which no character has a meaning in Markdown."""
    return _MARKDOWN.sub(r"\\\1", text)
