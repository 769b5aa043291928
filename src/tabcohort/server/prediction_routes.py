"""The endpoints that predict and explain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tabcohort.data.inputs import require_column
from tabcohort.errors import TableError, nearest
from tabcohort.server.app_context import AppContext
from tabcohort.server.explaining import explain_records
from tabcohort.server.http_bodies import JSON, body_of, json_response, require_media_type
from tabcohort.server.inference_service import MAX_BATCHED_RECORDS, ModelVersion
from tabcohort.server.model_store import ServedModel
from tabcohort.server.prediction_log import answer_facts
from tabcohort.server.problems import Problem
from tabcohort.server.record_input import parse_json, records_of
from tabcohort.server.routes import Routes
from tabcohort.server.table_bodies import TABLES, inputs_of, read_table, written


def add_predictions(app: Routes, context: AppContext) -> None:
    """Add the endpoints to the routes of an application."""

    @app.post("/v1/models/{name}/predict")
    async def predict(name: str, request: Request) -> Response:
        version = context.inference.current(name)
        media_type = require_media_type(request, (JSON, *TABLES))
        body = await body_of(request, context.options)
        if media_type == JSON:
            return await _predict_records(context, version, body, request)
        return await _predict_table(context, version, body, request, media_type)

    @app.post("/v1/models/{name}/explain")
    async def explain(name: str, request: Request) -> Response:
        version = context.inference.current(name)
        require_media_type(request, (JSON,))
        body = parse_json(await body_of(request, context.options))
        records = records_of(body, context.options.max_explained, ("class", "top"))
        label, top = body.get("class"), _top_of(body)
        X = version.model.reader.inputs(records)
        explanations = await context.in_thread(explain_records, version.model, records, X, label, top)
        await context.inference.answer(version, records, X, request.scope["request_id"])  # counted and recorded, too
        return json_response(_answer(version.model, "explanations", explanations), version.model.version_header)


def _top_of(body: Mapping[str, Any]) -> int | None:
    """Return how many columns an explanation is to have; None for all.

    Raises:
        Problem: 422, it is no number of columns.
    """
    top = body.get("top")
    if top is None:
        return None
    if type(top) not in (int, float) or top < 1 or top % 1:  # JSON does not distinguish 3 and 3.0
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "'top' must be a number of columns, at least 1")
    return int(top)


async def _predict_records(context: AppContext, version: ModelVersion, body: bytes, request: Request) -> Response:
    inference, model = context.inference, version.model
    records = records_of(parse_json(body), context.options.max_records)
    X = model.reader.inputs(records)
    request_id = request.scope["request_id"]
    if len(X) <= MAX_BATCHED_RECORDS:
        predictions = await inference.answer(version, records, X, request_id)
    else:
        predictions = await context.in_thread(inference.predict_many, version, X)
        inference.finish(version.model, records, X, predictions, request_id)
    return json_response(_answer(model, "predictions", list(map(answer_facts, predictions))), model.version_header)


async def _predict_table(
    context: AppContext, version: ModelVersion, body: bytes, request: Request, media_type: str
) -> Response:  # fmt: skip
    options, predictor = context.options, version.model.predictor
    answer_type = _answer_type(request, media_type)
    frame = await context.in_thread(read_table, body, media_type, options.max_rows, options.max_body_bytes * 8)
    X = await context.in_thread(inputs_of, frame, predictor.schema)
    columns = _columns(request, frame.columns)
    frames = context.inference.predict_table(version, frame, X, columns, request.scope["request_id"])
    pieces = written(frames, answer_type, [*predictor.probability_names(), "spread"])
    first = await context.in_thread(next, pieces)  # so that what fails at once still gets a problem document

    async def streamed() -> AsyncIterator[bytes]:
        yield first
        while (piece := await context.in_thread(next, pieces, None)) is not None:
            yield piece

    return StreamingResponse(streamed(), 200, version.model.version_header, answer_type)


def _answer_type(request: Request, own: str) -> str:
    """Return the format of an answer: the first table that the request accepts, or that of its body."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return next((own_type for own_type in accepted if own_type in TABLES), own)


def _columns(request: Request, available: list[str]) -> list[str]:
    """Return the columns to give beside the predictions: all, none, or those that are named.

    Raises:
        Problem: 422, the table lacks one.
    """
    for name in request.query_params:
        if name != "columns":
            detail = f"there is no query parameter of this name{nearest(name, ['columns'])}; there is 'columns'"
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
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
