"""The application: its routes, what goes wrong in them, and models that are replaced while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from tabcohort.server.app_context import AppContext
from tabcohort.server.inference_service import InferenceService
from tabcohort.server.medical.fhir_mapping import FhirMapping
from tabcohort.server.medical.medical_records import add_medical_records
from tabcohort.server.middleware import RequestMiddleware
from tabcohort.server.model_routes import add_models, add_status
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
from tabcohort.server.pages import add_pages, problem_page, wants_page
from tabcohort.server.prediction_log import PredictionLog
from tabcohort.server.prediction_routes import add_predictions
from tabcohort.server.problems import Problem
from tabcohort.server.routes import Routes
from tabcohort.server.service_metrics import ServiceMetrics


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

    Examples:
        >>> from tabcohort.server.app import create_app
        >>> from tabcohort.server.model_store import ModelStore
        >>> app = create_app(ModelStore({"cancer": "cancer.tabcohort"}))  # doctest: +SKIP
    """
    options, metrics = options or ServerOptions(), ServiceMetrics()
    context = AppContext(InferenceService(store, options, metrics, log), None if mapping is None else mapping.model)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(context)) if options.reload_interval_seconds else None
        yield
        if watching is not None:
            watching.cancel()
        context.threads.shutdown(wait=False, cancel_futures=True)
        if log is not None:
            log.close()

    routes = Routes()
    add_predictions(routes, context)
    add_models(routes, context)
    add_status(routes, context)
    add_pages(routes, context)
    if mapping is not None:
        add_medical_records(routes, context, mapping)
    app = Starlette(
        routes=routes.table,
        lifespan=lifespan,
        middleware=[Middleware(_with_middleware(context))],
        exception_handlers={HTTPException: _as_problem, Problem: _as_problem},
    )
    app.router.redirect_slashes = False
    app.state.context = context
    return app


def _with_middleware(context: AppContext) -> Callable[[Any], RequestMiddleware]:
    def make(app: Any) -> RequestMiddleware:
        context.middleware = RequestMiddleware(app, context.options, context.inference.metrics, _response_of)
        return context.middleware

    return make


async def _watch(context: AppContext) -> None:
    """Reload changed model files at an interval."""
    store = context.inference.store
    while True:
        await asyncio.sleep(context.options.reload_interval_seconds)
        if store.changed() or store.errors:
            await reload(context)


async def reload(context: AppContext) -> None:
    """Reload changed model files, and print what became of them."""
    for outcome in await asyncio.to_thread(context.inference.store.reload):
        print(f"tabcohort: {outcome.message}", flush=True)
        context.inference.metrics.count_reload(outcome.label, outcome.is_replaced)


async def _as_problem(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        details = {404: "there is nothing at this address", 405: f"this endpoint supports {headers.get('Allow')} only"}
        error = Problem(error.status_code, details.get(error.status_code, str(error.detail)), headers=headers)
    assert isinstance(error, Problem)
    return _response_of(request, error)


def _response_of(request: Request, problem: Problem) -> Response:
    return problem_page(problem) if wants_page(request) else problem.response()
