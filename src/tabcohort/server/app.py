"""The application: each endpoint, what it takes and what it returns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse

from tabcohort.data.inputs import require_column
from tabcohort.errors import TableError
from tabcohort.model.facts import evaluation_facts, schema_facts, set_facts
from tabcohort.server import openapi
from tabcohort.server.answering import MAX_BATCHED_RECORDS, Answering, Version
from tabcohort.server.explaining import explain_records
from tabcohort.server.fhir_mapping import FhirMapping
from tabcohort.server.http_bodies import JSON, body_of, json_response, require_media_type
from tabcohort.server.medical_records import add_medical_records
from tabcohort.server.middleware import RequestMiddleware
from tabcohort.server.model_store import ModelStore, ServedModel
from tabcohort.server.options import ServerOptions
from tabcohort.server.prediction_log import PredictionLog, answer_facts
from tabcohort.server.problems import Problem
from tabcohort.server.record_input import parse_json, record_schema, records_of
from tabcohort.server.routes import Routes
from tabcohort.server.screen import add_screen
from tabcohort.server.service_metrics import ServiceMetrics
from tabcohort.server.table_bodies import TABLES, inputs_of, read_table, written

N_THREADS = 2  # for tables, explanations and reports
Result = TypeVar("Result")


class Service:
    """What the routes of one application share.

    Args:
        answering: the models, and what answers for them.
        medical_service: the id of the service for medical records, if there is one.
    """

    def __init__(self, answering: Answering, medical_service: str | None = None) -> None:
        self.answering, self.options, self.medical_service = answering, answering.options, medical_service
        self.middleware: RequestMiddleware | None = None  # set when the application is made
        self.threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="tabcohort")

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a function gives that takes a while.

        Raises:
            Problem: 503, it takes too long.
        """
        work = asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)
        try:
            async with asyncio.timeout(self.options.timeout_seconds):
                return await work
        except TimeoutError:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"the answer takes more than {self.options.timeout_seconds:g} seconds; ask for less at once",
                headers={"retry-after": "60"},
            ) from None


def create_app(
    store: ModelStore, options: ServerOptions | None = None, log: PredictionLog | None = None,
    mapping: FhirMapping | None = None,
) -> Starlette:  # fmt: skip
    """Return an ASGI application that answers for the models of a store.

    Args:
        store: the models.
        options: of the server.
        log: that predictions are recorded in, if any.
        mapping: of medical records, if these are answered for.

    Raises:
        SettingsError: the mapping is not for one of the models.

    Example:
        >>> from tabcohort.server.app import create_app
        >>> from tabcohort.server.model_store import ModelStore
        >>> app = create_app(ModelStore({"cancer": "cancer.tabcohort"}))  # doctest: +SKIP
    """
    options, metrics = options or ServerOptions(), ServiceMetrics()
    service = Service(Answering(store, options, metrics, log), None if mapping is None else mapping.model)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(service)) if options.reload_interval_seconds else None
        yield
        if watching is not None:
            watching.cancel()
        service.threads.shutdown()
        if log is not None:
            log.close()

    routes = Routes()
    _add_predictions(routes, service)
    _add_models(routes, service)
    _add_status(routes, service)
    add_screen(routes, service)
    if mapping is not None:
        add_medical_records(routes, service, mapping)
    app = Starlette(
        routes=routes.table,
        lifespan=lifespan,
        middleware=[Middleware(_with_middleware(service))],
        exception_handlers={HTTPException: _as_problem, Problem: _as_problem},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _with_middleware(service: Service) -> Callable[[Any], RequestMiddleware]:
    def make(app: Any) -> RequestMiddleware:
        service.middleware = RequestMiddleware(app, service.options, service.answering.metrics)
        return service.middleware

    return make


async def _watch(service: Service) -> None:
    """Load models whose files have changed, and show drift, again and again."""
    store = service.answering.store
    while True:
        await asyncio.sleep(service.options.reload_interval_seconds)
        if store.changed() or store.errors:
            await reload(service)


async def reload(service: Service) -> None:
    """Load models whose files have changed, and say so."""
    for message in await asyncio.to_thread(service.answering.store.reload):
        print(f"tabcohort: {message}", flush=True)
        result = "kept" if " stays, as " in message else "replaced"
        service.answering.metrics.reloads.labels(message.partition(":")[0], result).inc()


async def _as_problem(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        assert isinstance(error, Problem)
        return error.response()
    details = {404: "not found", 405: "this endpoint has other methods"}
    detail = details.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, headers=dict(error.headers or {})).response()


# -- predictions -----------------------------------------------------------------------------------------------------


def _add_predictions(app: Routes, service: Service) -> None:
    @app.post("/v1/models/{name}/predict")
    async def predict(name: str, request: Request) -> Response:
        version = service.answering.version(name)
        media_type = require_media_type(request, (JSON, *TABLES))
        body = await body_of(request, service.options)
        if media_type == JSON:
            return await _predict_records(service, version, body, request)
        return await _predict_table(service, version, body, request, media_type)

    @app.post("/v1/models/{name}/explain")
    async def explain(name: str, request: Request) -> Response:
        version = service.answering.version(name)
        require_media_type(request, (JSON,))
        body = parse_json(await body_of(request, service.options))
        records = records_of(body, service.options.max_explained, ("class", "top"))
        label, top = body.get("class"), body.get("top")
        if not (top is None or (type(top) is int and top > 0)):
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "'top' must be a number of columns, at least 1")
        X = version.model.reader.inputs(records)
        explanations = await service.in_thread(explain_records, version.model, records, X, label, top)
        return json_response(_answer(version.model, "explanations", explanations), _version_header(version.model))


async def _predict_records(service: Service, version: Version, body: bytes, request: Request) -> Response:
    answering, model = service.answering, version.model
    records = records_of(parse_json(body), service.options.max_records)
    X = model.reader.inputs(records)
    request_id = request.scope["request_id"]
    if len(X) <= MAX_BATCHED_RECORDS:
        predictions = await answering.answer(version, records, X, request_id)
    else:
        predictions = await service.in_thread(answering.predict_many, version, X)
        answering.finish(version.model, records, X, predictions, request_id)
    return json_response(_answer(model, "predictions", list(map(answer_facts, predictions))), _version_header(model))


async def _predict_table(
    service: Service, version: Version, body: bytes, request: Request, media_type: str
) -> Response:  # fmt: skip
    options, predictor = service.options, version.model.predictor
    answer_type = _answer_type(request, media_type)
    frame = await service.in_thread(read_table, body, media_type, options.max_rows, options.max_body_bytes * 8)
    X = await service.in_thread(inputs_of, frame, predictor.schema)
    columns = _columns(request, frame.columns)
    frames = service.answering.predict_table(version, frame, X, columns, request.scope["request_id"])
    pieces = written(frames, answer_type, [*predictor.probability_columns, "spread"])
    first = await service.in_thread(next, pieces)  # so that what fails at once still gets a problem document

    async def streamed() -> AsyncIterator[bytes]:
        yield first
        while (piece := await service.in_thread(next, pieces, None)) is not None:
            yield piece

    return StreamingResponse(streamed(), 200, _version_header(version.model), answer_type)


def _answer_type(request: Request, own: str) -> str:
    """Return the format of an answer: the first table that the request accepts, or that of its body."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return next((own_type for own_type in accepted if own_type in TABLES), own)


def _columns(request: Request, available: list[str]) -> list[str]:
    """Return the columns to give beside the predictions: all, none, or those that are named.

    Raises:
        Problem: 422, the table lacks one.
    """
    names = request.query_params.get("columns", "all")
    if names in ("all", "none"):
        return available if names == "all" else []
    chosen = list(dict.fromkeys([names] if names in available else names.split(",")))
    try:
        for name in chosen:
            require_column(available, name)
    except TableError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    return chosen


def _answer(model: ServedModel, name: str, values: list[dict[str, Any]]) -> dict[str, Any]:
    return {"model": model.name, "version": model.version, name: values}


def _version_header(model: ServedModel) -> dict[str, str]:
    return {"x-model-version": model.version}


# -- models ----------------------------------------------------------------------------------------------------------


def _add_models(app: Routes, service: Service) -> None:
    store = service.answering.store

    @app.get("/v1/models")
    async def models() -> Response:
        summaries = await service.in_thread(lambda: [model_summary(model) for model in store.models.values()])
        return json_response({"models": summaries})

    @app.get("/v1/models/{name}")
    async def model(name: str) -> Response:
        own = store.get(name)
        return json_response(await service.in_thread(model_facts, own), _version_header(own))

    @app.get("/v1/models/{name}/report")
    async def report(name: str) -> Response:
        own = store.get(name)
        page = await service.in_thread(lambda: own.page)  # its own policy is in it
        headers = {"content-security-policy": "frame-ancestors 'none'", **_version_header(own)}
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
        "quality": evaluation_facts(report.evaluation, classes),
        "sets": set_facts(report.sets, predictor.decision_rule.coverage, classes),
        "threshold": predictor.decision_rule.threshold,
        "card": model.card,
    }


# -- the server itself -----------------------------------------------------------------------------------------------


def _add_status(app: Routes, service: Service) -> None:
    store, metrics = service.answering.store, service.answering.metrics

    @app.get("/healthz")
    async def healthz() -> Response:
        return json_response({"status": "alive"})

    @app.get("/readyz")
    async def readyz() -> Response:
        if service.middleware is not None and service.middleware.is_ending:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the server is about to end")
        versions = {name: model.version for name, model in store.models.items()}
        return json_response({"status": "ready", "models": versions, "not_loaded": dict(store.errors)})

    @app.get("/metrics")
    async def prometheus() -> Response:
        for name in store.models:
            service.answering.version(name).drift.show()
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    async def openapi_document() -> Response:
        return json_response(openapi.document(store, service.options, service.medical_service))
