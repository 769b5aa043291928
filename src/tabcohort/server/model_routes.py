"""The endpoints that describe the models, and the server itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse, PlainTextResponse, Response

from tabcohort.data.schema_facts import schema_facts
from tabcohort.model.facts import evaluation_facts, set_facts, weights_classes
from tabcohort.server import openapi
from tabcohort.server.app_context import AppContext
from tabcohort.server.http_bodies import json_response
from tabcohort.server.model_store import ServedModel
from tabcohort.server.problems import Problem
from tabcohort.server.record_input import record_schema
from tabcohort.server.routes import Routes


def add_models(app: Routes, context: AppContext) -> None:
    """Add the endpoints that describe the models to the routes of an application."""
    store = context.inference.store

    @app.get("/v1/models")
    async def models() -> Response:
        summaries = await context.in_thread(lambda: [model_summary(model) for model in store.models.values()])
        return json_response({"models": summaries})

    @app.get("/v1/models/{name}")
    async def model(name: str) -> Response:
        own = store.get(name)
        return json_response(await context.in_thread(model_facts, own), own.version_header)

    @app.get("/v1/models/{name}/report")
    async def report(name: str) -> Response:
        own = store.get(name)
        page = await context.in_thread(lambda: own.page)  # its own policy is in it
        headers = {"content-security-policy": "frame-ancestors 'none'", **own.version_header}
        return HTMLResponse(page, headers=headers)


def model_summary(model: ServedModel) -> dict[str, Any]:
    """Return what a list says of a model."""
    schema = model.predictor.schema
    return {
        "name": model.name, "version": model.version, "fingerprint": model.fingerprint,
        "loaded": model.loaded.isoformat(timespec="seconds"), "target": schema.target, "classes": list(schema.classes),
        "can_explain": model.can_explain,
    }  # fmt: skip


def model_facts(model: ServedModel) -> dict[str, Any]:
    """Return what is known of a model as plain JSON values: its columns, what it promises, and its card."""
    predictor = model.predictor
    report, classes = predictor.report, predictor.schema.classes
    return {
        **model_summary(model),
        "schema": schema_facts(predictor.schema),
        "record_schema": record_schema(predictor.schema),
        "example": model.example,
        "quality": evaluation_facts(report.evaluation, classes, weights_classes(predictor)),
        "sets": set_facts(report.sets, predictor.decision_rule.coverage, classes),
        "threshold": predictor.decision_rule.threshold,
        "card": model.card,
    }


def add_status(app: Routes, context: AppContext) -> None:
    """Add the endpoints about the server itself to the routes of an application."""
    store, metrics = context.inference.store, context.inference.metrics

    @app.get("/healthz")
    async def healthz() -> Response:
        return json_response({"status": "alive"})

    @app.get("/readyz")
    async def readyz() -> Response:
        if context.middleware is not None and context.middleware.is_ending:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the server is shutting down")
        versions = {name: model.version for name, model in store.models.items()}
        return json_response({"status": "ready", "models": versions, "not_loaded": dict(store.errors)})

    @app.get("/metrics")
    async def prometheus() -> Response:
        for name in store.models:
            context.inference.current(name).drift.show()
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    async def openapi_document() -> Response:
        return json_response(openapi.document(store, context.options, context.medical_service))
