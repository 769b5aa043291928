"""The routes for medical records: `POST /fhir/$evaluate`, and the service of CDS Hooks."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tabcohort.server.app_context import AppContext
from tabcohort.server.http_bodies import JSON, body_of, json_response, media_type_of, unsupported_media_type
from tabcohort.server.inference_service import InferenceService
from tabcohort.server.medical import cds_hooks
from tabcohort.server.medical.fhir import Assessment, risk_assessment
from tabcohort.server.medical.fhir_mapping import FhirMapping, require_mapping
from tabcohort.server.medical.fhir_problems import FHIR_JSON, as_fhir, fhir_response
from tabcohort.server.medical.fhir_reading import Evidence, read_bundle
from tabcohort.server.problems import Problem
from tabcohort.server.record_input import parse_json
from tabcohort.server.routes import Routes

FHIR_VERSION = "4.0"  # as the parameter of a media type


class MedicalRecords:
    """Answers for medical records by one model.

    Args:
        inference: for the models.
        mapping: of the model.

    Raises:
        SettingsError: the mapping is not for one of the models.
    """

    def __init__(self, inference: InferenceService, mapping: FhirMapping) -> None:
        require_mapping(mapping, inference.store)
        self._inference, self._mapping = inference, mapping

    async def assess(self, evidence: Evidence, request_id: str) -> Assessment:
        """Return the prediction for a patient, counted and recorded as all predictions are.

        Raises:
            Problem: 503, the model has too much to do, or cannot record the prediction.
        """
        version = self._inference.current(self._mapping.model)
        records = [evidence.record]
        X = version.model.reader.inputs(records)
        predictions = await self._inference.answer(version, records, X, request_id)
        coverage = version.model.predictor.decision_rule.coverage
        return Assessment(evidence, predictions[0], self._mapping, version.model.version, coverage)


def add_medical_records(app: Routes, context: AppContext, mapping: FhirMapping) -> None:
    """Add the routes for medical records to those of an application.

    Args:
        app: the routes.
        context: what they share.
        mapping: of one of its models.

    Raises:
        SettingsError: the mapping is not for one of the models.
    """
    records, options = MedicalRecords(context.inference, mapping), context.options

    async def value_of(request: Request, *media_types: str) -> Any:
        _check_media_type(request, media_types)
        return parse_json(await body_of(request, options))

    @app.post("/fhir/$evaluate")
    async def evaluate(request: Request) -> Response:
        try:
            bundle = await value_of(request, FHIR_JSON, JSON)
            evidence = await context.in_thread(read_bundle, bundle, mapping)
            assessment = await records.assess(evidence, request.scope["request_id"])
        except Problem as problem:
            raise as_fhir(problem) from None
        resource = risk_assessment(assessment, request.scope["request_id"], datetime.now(UTC))
        return fhir_response(resource, headers={"x-model-version": assessment.version})

    @app.get("/cds-services")
    async def cds_services() -> Response:
        return json_response(cds_hooks.discovery(mapping))

    @app.post("/cds-services/{identity}")
    async def cds_service(identity: str, request: Request) -> Response:
        if identity != mapping.model:
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no such service; there is {mapping.model}")
        body = await value_of(request, JSON)
        evidence = await context.in_thread(cds_hooks.read_request, body, mapping)
        if evidence is None:
            return json_response({"cards": []})
        assessment = await records.assess(evidence, request.scope["request_id"])
        screen = f"{str(request.base_url).rstrip('/')}/models/{mapping.model}"
        cards = [cds_hooks.card(assessment, str(uuid.uuid4()), screen)]
        return json_response({"cards": cards}, {"x-model-version": assessment.version})


def _check_media_type(request: Request, known: tuple[str, ...]) -> None:
    """Raise an error for a body of another media type, or of another version of FHIR.

    Raises:
        Problem: 415.
    """
    parameters = [part.strip().lower() for part in request.headers.get("content-type", "").split(";")[1:]]
    versions = [own.partition("=")[2].strip('"') for own in parameters if own.startswith("fhirversion=")]
    if media_type_of(request) not in known or any(version != FHIR_VERSION for version in versions):
        raise unsupported_media_type(known, f" of FHIR {FHIR_VERSION}" if FHIR_JSON in known else "")
