"""A prediction as a RiskAssessment of FHIR R4, for a program and, in its narrative, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from tabcohort.errors import listed, printable
from tabcohort.model.predictor import Prediction
from tabcohort.server.medical.fhir_mapping import FhirMapping
from tabcohort.server.medical.fhir_reading import Evidence, Gap
from tabcohort.types import Label

DISCLAIMER = (
    "This is not a medical device. It is the output of a statistical model, for research and evaluation; it must not "
    "be used to diagnose or to treat."
)
SET_SYSTEM = "urn:tabcohort:prediction-set"  # of the codes below
PREDICTED, NOT_PREDICTED, ABSTAINS = "predicted", "not-predicted", "abstains"
MAX_LISTED = 40


@dataclass(frozen=True)
class Assessment:
    """A prediction for a patient, and where it comes from.

    Args:
        evidence: the record, and what it rests on.
        prediction: of the model.
        mapping: of the model.
        version: of the model, the first digits of its fingerprint.
        coverage: of its prediction sets.
    """

    evidence: Evidence
    prediction: Prediction
    mapping: FhirMapping
    version: str
    coverage: float

    @property
    def abstains(self) -> bool:
        """Whether the prediction set is not just the predicted class."""
        return self.prediction.abstains

    @property
    def method(self) -> str:
        """The model and its version."""
        return f"tabcohort model {self.mapping.model}, version {self.version}"

    def outcome(self, label: Label) -> str:
        """Return what a class is called."""
        return str(self.mapping.outcomes[str(label)]["text"])

    def says(self) -> str:
        """Return the prediction in a sentence."""
        share = f"{self.coverage:.0%}"
        if not self.abstains:
            return f"Predicted: {self.outcome(self.prediction.label)} (the only outcome in the {share} prediction set)."
        inside = [self.outcome(label) for label in self.prediction.classes]
        held = f"holds {' and '.join(inside)}" if inside else "is empty"
        return f"The model abstains: its {share} prediction set {held}."

    def notes(self) -> list[str]:
        """Return what a person must know beside the probabilities, the disclaimer first; control characters escaped."""
        notes = [DISCLAIMER]
        if self.evidence.missing:
            notes.append(f"Missing: {_listed(self.evidence.missing)}.")
        if self.evidence.not_used:
            notes.append(f"Observations that were not used, by status: {_listed(self.evidence.not_used)}.")
        if self.prediction.warnings:
            notes.append(f"Unusual: {self.prediction.warnings}.")
        return [str(printable(note)) for note in notes]

    def probabilities(self) -> list[tuple[Label, float]]:
        """Return the classes with their probabilities, the most probable first.

        Raises:
            ValueError: one is not in [0, 1].
        """
        pairs = sorted(self.prediction.probability.items(), key=lambda pair: -pair[1])
        if not all(0.0 <= probability <= 1.0 for _, probability in pairs):
            raise ValueError("the model gives a probability that is not in [0, 1]")
        return pairs


def _listed(gaps: tuple[Gap, ...]) -> str:
    return listed((f"{gap.column} ({gap.reason})" for gap in gaps), MAX_LISTED, "; ")


def percent(probability: float) -> str:
    """Return a probability as a person reads it.

    Examples:
        >>> from tabcohort.server.medical.fhir import percent
        >>> percent(0.93127), percent(1e-9), percent(0.99999)
        ('93.1 %', 'less than 0.1 %', 'more than 99.9 %')
    """
    if 0.0 < probability < 0.001:
        return "less than 0.1 %"
    return "more than 99.9 %" if 0.999 < probability < 1.0 else f"{100 * probability:.1f} %"


def risk_assessment(assessment: Assessment, request_id: str, now: datetime) -> dict[str, Any]:
    """Return the RiskAssessment.

    Args:
        assessment: what it says.
        request_id: by which the log of predictions knows it.
        now: with a time zone.

    Raises:
        ValueError: a probability is not in [0, 1].
    """
    evidence = assessment.evidence
    basis = [{"reference": reference} for reference in evidence.basis]
    return {
        "resourceType": "RiskAssessment",
        "text": {"status": "generated", "div": _narrative(assessment)},
        "identifier": [{"type": {"text": "request of the server's prediction log"}, "value": request_id}],
        "status": "final",
        "method": {"text": assessment.method},
        "subject": {"reference": evidence.patient},
        "occurrenceDateTime": now.isoformat(timespec="seconds"),
        **({"basis": basis} if basis else {}),
        "prediction": [_prediction(assessment, *pair) for pair in assessment.probabilities()],
        "note": [{"text": text} for text in assessment.notes()],
    }


def _prediction(assessment: Assessment, label: Label, probability: float) -> dict[str, Any]:
    own: Mapping[str, Any] = assessment.mapping.outcomes[str(label)]
    code = PREDICTED if label == assessment.prediction.label else NOT_PREDICTED
    is_percent = assessment.mapping.probability == "percent"
    return {
        "outcome": own,
        "probabilityDecimal": 100 * probability if is_percent else probability,
        "qualitativeRisk": {
            "coding": [{"system": SET_SYSTEM, "code": ABSTAINS if assessment.abstains else code}],
            "text": assessment.says(),
        },
        "rationale": f"The model gives this outcome a probability of {percent(probability)}. {DISCLAIMER}",
    }


def _narrative(assessment: Assessment) -> str:
    """Return the assessment as XHTML."""
    rows = [
        f"<tr><td>{_xhtml(assessment.outcome(label))}</td><td>{percent(probability)}</td></tr>"
        for label, probability in assessment.probabilities()
    ]
    disclaimer, *notes = map(_xhtml, assessment.notes())
    return (
        f'<div xmlns="http://www.w3.org/1999/xhtml"><p><b>{disclaimer}</b></p><p>{_xhtml(assessment.mapping.title)}. '
        f"{_xhtml(assessment.says())}</p><table><tr><th>Outcome</th><th>Probability</th></tr>{''.join(rows)}</table>"
        f"{''.join(f'<p>{note}</p>' for note in notes)}<p>{_xhtml(assessment.method)}</p></div>"
    )


def _xhtml(text: str) -> str:
    return escape(text, quote=False)
