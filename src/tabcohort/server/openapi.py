"""The server's endpoints as an OpenAPI document, with the names and columns of the models that it has."""

from __future__ import annotations

from typing import Any

from tabcohort import __version__
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
from tabcohort.server.problems import PROBLEM
from tabcohort.server.record_input import record_schema
from tabcohort.server.table_bodies import TABLES

PROBLEMS = {
    400: "The body cannot be read.",
    401: "A key is needed.",
    404: "There is no such model.",
    405: "The endpoint does not support the method.",
    408: "The body did not arrive in time.",
    409: "The server has no rows to compare with.",
    412: "The prefetched data is incomplete.",
    413: "The body is too large.",
    415: "The content type or encoding is another one.",
    421: "The request is for another host.",
    422: "A column is missing, unknown or of another type.",
    503: "The server is overloaded; retry later.",
}
EVERYWHERE, OF_BODIES = (401, 421, 503), (400, 404, 408, 413, 415, 422)
Document = dict[str, Any]


def document(store: ModelStore, options: ServerOptions, service: str | None = None) -> Document:
    """Return the OpenAPI document of a server.

    Args:
        store: its models.
        options: of it.
        service: the id of its service for medical records, if it has one.
    """
    keys: Document = {"security": [{"key": []}, {"password": []}]} if options.keys else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tabcohort", "version": __version__,
            "description": "Predictions of classifiers for tables. It is not a medical device.",
        },
        "paths": {**_paths(store), **({} if service is None else _medical_paths(service))},
        "components": {
            "schemas": _schemas(store, options),
            "responses": {str(status): _problem(text) for status, text in PROBLEMS.items()},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"}, "password": {"type": "http", "scheme": "basic"},
            },
        },
        **keys,
    }  # fmt: skip


def _paths(store: ModelStore) -> Document:
    name = {
        "name": "name", "in": "path", "required": True, "description": "Name of a model.",
        "schema": {"type": "string", "enum": sorted(store.models)},
    }  # fmt: skip
    columns = {
        "name": "columns", "in": "query", "required": False, "schema": {"type": "string", "default": "all"},
        "description": "Of a table: the columns beside the predictions: all, none, or names with commas between.",
    }  # fmt: skip
    return {
        "/v1/models": {"get": _operation("list_models", "List the models", "ModelList")},
        "/v1/models/{name}": {
            "parameters": [name],
            "get": _operation("describe_model", "Describe a model", "Model", (404,)),
        },
        "/v1/models/{name}/predict": {
            "parameters": [name],
            "post": {
                **_operation("predict", "Predict for records or for a table", "Predictions", OF_BODIES, TABLES),
                "parameters": [columns],
                "requestBody": _body("PredictRequest", store, TABLES),
            },
        },
        "/v1/models/{name}/explain": {
            "parameters": [name],
            "post": {
                **_operation("explain", "Explain predictions for records", "Explanations", (*OF_BODIES, 409)),
                "requestBody": _body("ExplainRequest", store),
            },
        },
        "/v1/models/{name}/report": {
            "parameters": [name],
            "get": _operation("report", "Show the report of a model", None, (404,), ("text/html",)),
        },
        "/healthz": {"get": _operation("healthz", "Tell that the process is alive", "Status")},
        "/readyz": {"get": _operation("readyz", "Tell which versions take requests", "Ready")},
        "/metrics": {"get": _operation("metrics", "Counts for Prometheus", None, (), ("text/plain",))},
    }  # fmt: skip


def _medical_paths(service: str) -> Document:
    """Return the paths for medical records."""
    identity = {"name": "identity", "in": "path", "required": True, "schema": {"type": "string", "enum": [service]}}
    resource, fhir = {"type": "object"}, "application/fhir+json"
    body = {"required": True, "content": {fhir: {"schema": resource}, "application/json": {"schema": resource}}}
    evaluate = _operation("evaluate", "Assess the risk of a patient from a FHIR Bundle", None, OF_BODIES)
    evaluate["responses"]["200"]["content"] = {fhir: {"schema": resource}}
    for status in OF_BODIES:
        description = f"{PROBLEMS[status]} The answer is an OperationOutcome."
        evaluate["responses"][str(status)] = {"description": description, "content": {fhir: {"schema": resource}}}
    hook = _operation("cds_service", "Answer a hook with cards", "Cards", (*OF_BODIES, 412))
    return {
        "/fhir/$evaluate": {"post": {**evaluate, "requestBody": body}},
        "/cds-services": {"get": _operation("cds_services", "List the services of CDS Hooks", "CdsServices")},
        "/cds-services/{identity}": {
            "parameters": [identity],
            "post": {**hook, "requestBody": {"required": True, "content": {"application/json": {"schema": resource}}}},
        },
    }


def _operation(
    identity: str, summary: str, schema: str | None, problems: tuple[int, ...] = (), others: tuple[str, ...] = ()
) -> Document:
    """Return an operation.

    Args:
        identity: its id.
        summary: what it does.
        schema: of its answer in JSON, if there is one.
        problems: statuses that it may have beside those that all have.
        others: media types of its answer beside JSON.
    """
    content: Document = {media_type: {"schema": {"type": "string"}} for media_type in others}
    if schema is not None:
        content = {"application/json": {"schema": _reference(schema)}, **content}
    responses: Document = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted({*problems, *EVERYWHERE})
    }
    headers = {"x-request-id": {"schema": {"type": "string"}}}
    return {
        "operationId": identity, "summary": summary,
        "responses": {"200": {"description": "The answer.", "headers": headers, "content": content}, **responses},
    }  # fmt: skip


def _body(schema: str, store: ModelStore, others: tuple[str, ...] = ()) -> Document:
    examples = {name: {"value": {"records": [model.example]}} for name, model in store.models.items()}
    content: Document = {"application/json": {"schema": _reference(schema), "examples": examples}}
    tables: Document = {media_type: {} for media_type in others}  # which JSON Schema cannot describe
    return {"required": True, "content": {**content, **tables}}


def _problem(text: str) -> Document:
    return {"description": text, "content": {PROBLEM: {"schema": _reference("Problem")}}}


def _reference(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Document, optional: Document | None = None) -> Document:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _list(items: Document) -> Document:
    return {"type": "array", "items": items}


def _schemas(store: ModelStore, options: ServerOptions) -> Document:
    text, number, label = {"type": "string"}, {"type": "number"}, {"type": ["string", "integer", "number", "boolean"]}
    share, anything = {"type": "number", "minimum": 0, "maximum": 1}, {"type": "object"}
    records = {name: record_schema(model.predictor.schema) for name, model in store.models.items()}
    any_record = {"anyOf": [_reference(f"Record-{name}") for name in records]}
    labels = [label for model in store.models.values() for label in model.predictor.schema.classes]
    of_class = {"enum": list(dict.fromkeys([*labels, *map(str, labels), None]))}
    of_records = {**_list(any_record), "minItems": 1}
    few, many = ({"records": {**of_records, "maxItems": n}} for n in (options.max_explained, options.max_records))
    prediction = _object({
        "label": label, "probability": {"type": "object", "additionalProperties": share}, "spread": number,
        "set": _list(label), "warnings": text,
    })  # fmt: skip
    score = _object({"score": number, "probability": share})
    contribution = _object({"name": text, "value": {}, "contribution": number, "error": number})
    explanation = _object({
        "class": label, "score": text, "base": score, "output": score, "columns": _list(contribution),
        "n_background": {"type": "integer"}, "n_rounds": {"type": "integer"}, "is_converged": {"type": "boolean"},
    })  # fmt: skip
    summary = {
        "name": text, "version": text, "fingerprint": text, "loaded": {"type": "string", "format": "date-time"},
        "target": text, "classes": _list(label), "can_explain": {"type": "boolean"},
    }  # fmt: skip
    return {
        **{f"Record-{name}": schema for name, schema in records.items()},
        "PredictRequest": {**_object(many), "additionalProperties": False},
        "ExplainRequest": {
            **_object(few, {"class": of_class, "top": {"type": ["integer", "null"], "minimum": 1}}),
            "additionalProperties": False,
        },
        "Predictions": _object({"model": text, "version": text, "predictions": _list(prediction)}),
        "Explanations": _object({"model": text, "version": text, "explanations": _list(explanation)}),
        "ModelList": _object({"models": _list(_object(summary))}),
        "Model": _object({
            **summary, "schema": anything, "record_schema": anything, "example": anything, "quality": anything,
            "sets": anything, "threshold": {"type": ["number", "null"]}, "card": text,
        }),
        "Status": _object({"status": text}),
        "Cards": _object({"cards": _list(anything)}),
        "CdsServices": _object({"services": _list(anything)}),
        "Ready": _object({"status": text, "models": anything, "not_loaded": anything}),
        "Problem": _object(
            {"type": text, "title": text, "status": {"type": "integer"}, "detail": text}, {"errors": _list(anything)}
        ),
    }  # fmt: skip
