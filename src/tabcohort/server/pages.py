"""The pages for people: a form for one record, a page for a file, one about the model, and the API reference."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tabcohort.data.columns import Boolean, Category, Column, Date, IntegerCode, Number, Text
from tabcohort.errors import printable
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.explain import cell_text
from tabcohort.model.predictor import Prediction
from tabcohort.reporting.template import resource, template_environment
from tabcohort.server import openapi
from tabcohort.server.app_context import AppContext
from tabcohort.server.explaining import explain_records
from tabcohort.server.http_bodies import media_type_of
from tabcohort.server.inference_service import ModelVersion
from tabcohort.server.middleware import read_body
from tabcohort.server.model_store import ServedModel
from tabcohort.server.problems import Problem
from tabcohort.server.routes import Routes

PACKAGE = "tabcohort.server"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
API_PATHS = (
    "/v1/", "/fhir/", "/cds-services", "/static/", "/healthz", "/readyz", "/metrics", "/openapi.json",
)  # fmt: skip
STATIC = {"screen.css": "text/css", "screen.js": "text/javascript", "icon.svg": "image/svg+xml"}
MAX_CHOICES = 200  # levels of a list to choose from; more are suggested while one types
MAX_FORM_FIELDS = 5_000
N_NEAREST, MAX_CONTRIBUTIONS = 5, 12
UNKNOWN = "another value"
NO_ANSWER: dict[str, Any] = {
    "prediction": None, "sentence": "", "set_sentence": "", "contributions": [], "others": None, "outside": [],
    "nearest": None,
}  # fmt: skip


def add_pages(app: Routes, context: AppContext) -> None:
    """Add the pages to the routes of an application."""
    store = context.inference.store

    @app.get("/")
    async def index() -> Response:
        if len(store.models) == 1:
            return RedirectResponse(f"/models/{next(iter(store.models))}", HTTPStatus.SEE_OTHER)
        return _page("index.html.j2", models=list(store.models.values()), title="Models", model=None)

    @app.get("/models/{name}")
    async def form(name: str) -> Response:
        model = store.get(name)
        return await context.in_thread(lambda: _form_page(model, model.typical_row))

    @app.post("/models/{name}")
    async def answer(name: str, request: Request) -> Response:
        return await _answer_page(context, context.inference.current(name), request)

    @app.get("/models/{name}/table")
    async def table(name: str) -> Response:
        return _page("table.html.j2", model=store.get(name), title="Predict for a file")

    @app.get("/models/{name}/about")
    async def about(name: str) -> Response:
        model = store.get(name)
        return await context.in_thread(_about_page, model)

    @app.get("/docs")
    async def docs(request: Request) -> Response:
        document = openapi.document(store, context.options, context.medical_service)
        return _page(
            "docs.html.j2",
            document=document,
            models=store.models,
            title="API",
            model=None,
            base=str(request.base_url).rstrip("/"),
        )

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in STATIC:
            raise Problem(HTTPStatus.NOT_FOUND, "not found")
        return Response(_static(name), headers={"cache-control": "max-age=300"}, media_type=STATIC[name])


@functools.cache
def _static(name: str) -> bytes:
    return resource(name, PACKAGE).encode()


@functools.cache
def _environment() -> Any:
    environment = template_environment(PACKAGE, autoescape=True)
    environment.filters["shell"] = lambda value: shlex.quote(json.dumps(value, ensure_ascii=False))
    environment.filters |= {"percent": percent, "number": short_number, "cell": cell_text, "printable": printable}
    return environment


def _page(template: str, status: int = 200, **values: Any) -> Response:
    """Return a page of a template; text for people has no control characters."""
    text = _environment().get_template(template).render(**values)
    return HTMLResponse(text.encode("utf-8", "backslashreplace"), status, {"content-security-policy": POLICY})


def wants_page(request: Request) -> bool:
    """Return whether to answer with HTML: the path is that of a page, and the client accepts HTML."""
    return not request.url.path.startswith(API_PATHS) and "text/html" in request.headers.get("accept", "")


def problem_page(problem: Problem) -> Response:
    """Return a problem as a page."""
    title = HTTPStatus(problem.status).phrase.capitalize()
    response = _page("problem.html.j2", problem.status, title=title, detail=problem.detail, model=None)
    response.headers.update(problem.headers)
    return response


def percent(share: float) -> str:
    """Return a probability in percent; none is shown as certain that is not.

    Examples:
        >>> percent(0.973), percent(0.99999), percent(0.00001), percent(0.0)
        ('97.3 %', 'over 99.9 %', 'under 0.1 %', '0 %')
    """
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{100 * share:.3g} %"


def short_number(value: float) -> str:
    """Return a number with few digits, and without an exponent where it is neither large nor small.

    Examples:
        >>> short_number(1362.4), short_number(0.09712), short_number(2.5e12)
        ('1362', '0.0971', '2.5e+12')
    """
    return f"{value:.0f}" if 1_000 <= abs(value) < 1e7 else f"{value:.3g}"


# -- the form --------------------------------------------------------------------------------------------------------


def fields_of(model: ServedModel, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a model's form, filled with a record.

    Returns:
        For each column `name`; `kind`: "number", "choice", "date", "datetime-local" or "text"; `value` as text;
        `choices`; `low` and `high`: the range of most training rows, or None.
    """
    ranges = model.ranges
    return [_field(column, record.get(column.name), ranges) for column in model.predictor.schema.columns]


def _field(column: Column, value: Any, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    low, high = ranges.get(column.name, (None, None)) if isinstance(column, Number) else (None, None)
    field = {"name": column.name, "kind": _kind(column), "choices": _choices(column), "low": low, "high": high}
    if isinstance(column, Boolean):
        value = {True: "yes", False: "no"}.get(value, "")
    elif isinstance(column, Number) and isinstance(value, float):
        value = f"{value:.15g}"
    elif isinstance(column, Date) and isinstance(value, str):
        value = f"{value[:10]}T{value[11:19] or '00:00:00'}" if "hour" in column.parts else value[:10]
    return {**field, "value": "" if value is None else str(value)}


def _kind(column: Column) -> str:
    if isinstance(column, Category) and len(column.levels) > MAX_CHOICES:
        return "text"
    if isinstance(column, Date) and "hour" in column.parts:
        return "datetime-local"
    kinds = {Number: "number", IntegerCode: "number", Category: "choice", Boolean: "choice", Date: "date", Text: "text"}
    return kinds.get(type(column), "text")


def _choices(column: Column) -> list[str]:
    """Return what a column offers: its levels, and for a category one that it does not know."""
    if isinstance(column, Boolean):
        return ["yes", "no"]
    return [*column.levels[:MAX_CHOICES], *([UNKNOWN] if isinstance(column, Category) else [])]


def record_of_form(body: bytes, columns: Sequence[Column]) -> dict[str, Any]:
    """Return the record that a form holds; its fields are named `c0`, `c1` and so on, and an empty one is missing.

    Raises:
        Problem: 400, it is not a form; 422, a number is none.
    """
    try:
        values = parse_qs(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not that of a form") from None
    record = {}
    for number, column in enumerate(columns):
        text = values.get(f"c{number}", [""])[0].strip()
        record[column.name] = _cell(column, text) if text else None
    return record


def _cell(column: Column, text: str) -> Any:
    """Return the text of a field as JSON has it."""
    if isinstance(column, Boolean):
        return {"yes": True, "no": False}.get(text, text)
    if not isinstance(column, Number):
        return text
    try:
        value = float(text)
    except ValueError:
        return text
    return value if np.isfinite(value) else text


def _form_page(
    model: ServedModel, record: Mapping[str, Any], problem: Problem | None = None, **answer: Any
) -> Response:  # fmt: skip
    errors = {}
    if problem is not None:
        errors = {error["column"]: error["detail"].replace("or null", "or left empty") for error in problem.errors}
    schema = model.predictor.schema
    return _page(
        "form.html.j2", 200 if problem is None else problem.status, model=model, title=f"Predict {schema.target}",
        fields=fields_of(model, record), problem=problem, errors=errors,
        **{**NO_ANSWER, **answer},
    )  # fmt: skip


async def _answer_page(context: AppContext, version: ModelVersion, request: Request) -> Response:
    model = version.model
    if media_type_of(request) != "application/x-www-form-urlencoded":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content type must be that of a form")
    record = record_of_form(await read_body(request, context.options), model.predictor.schema.columns)
    try:
        X = model.reader.inputs([record])
    except Problem as problem:
        return await context.in_thread(_form_page, model, record, problem)
    (prediction,) = await context.inference.answer(version, [record], X, request.scope["request_id"])
    return await context.in_thread(_answered, model, record, X, prediction)


def _answered(model: ServedModel, record: dict[str, Any], X: Any, prediction: Prediction) -> Response:
    explanation = None
    if model.can_explain:
        explanation = explain_records(model, [record], X, None, None, is_quick=True)[0]
    return _form_page(
        model, record, prediction=prediction, sentence=sentence_of(model, prediction),
        set_sentence=set_sentence_of(model, prediction), outside=outside_of(model, record),
        contributions=printable(_contributions(explanation)), others=_others(explanation), explained=explanation,
        nearest=printable(_nearest(model, X)),
    )  # fmt: skip


def sentence_of(model: ServedModel, prediction: Prediction) -> str:
    """Return a prediction as a sentence."""
    share = percent(prediction.probability[prediction.label])
    return printable(f"{model.predictor.schema.target}: {prediction.label}, with a probability of {share}")


def set_sentence_of(model: ServedModel, prediction: Prediction) -> str:
    """Return what the prediction set says: one class, or that the model abstains."""
    coverage = percent(model.predictor.decision_rule.coverage)
    classes = printable(" and ".join(map(str, prediction.classes)))
    if not prediction.abstains:
        return f"The prediction set, which holds the true class of {coverage} of such rows, has only {classes}."
    if not prediction.classes:
        return f"The model abstains: no class is likely enough for a set that holds the true one in {coverage} of rows."
    if len(prediction.classes) == 1:
        return (
            f"The model abstains: its prediction set, which holds the true class of {coverage} of such rows, has only "
            f"{classes}, and the prediction is another class."
        )
    possible = "both possible" if len(prediction.classes) == 2 else "all possible"
    return f"The model abstains: {classes} are {possible}, in sets that hold the true class of {coverage} of rows."


def outside_of(model: ServedModel, record: Mapping[str, Any]) -> list[str]:
    """Return the columns whose number is outside the range of most training rows."""
    return [
        name
        for name, (low, high) in model.ranges.items()
        if isinstance(record.get(name), int | float) and not low <= record[name] <= high
    ]


def _contributions(explanation: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the bars of an explanation, whose lengths are shares of the largest contribution."""
    if explanation is None:
        return []
    columns = explanation["columns"][:MAX_CONTRIBUTIONS]
    largest = max((abs(own["contribution"]) for own in columns), default=0.0) or 1.0
    return [{**own, "share": own["contribution"] / largest} for own in columns]


def _others(explanation: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return how many columns are not shown, and what they contribute together; None where all are."""
    rest = [] if explanation is None else explanation["columns"][MAX_CONTRIBUTIONS:]
    return {"n": len(rest), "contribution": sum(column["contribution"] for column in rest)} if rest else None


def _nearest(model: ServedModel, X: Any) -> dict[str, Any] | None:
    return None if model.nearest is None else model.nearest.table(X[0], N_NEAREST)


# -- about the model -------------------------------------------------------------------------------------------------


def _about_page(model: ServedModel) -> Response:
    schema, report = model.predictor.schema, model.predictor.report
    metrics = [
        {"label": METRICS[name].label, "estimate": estimate}
        for name, estimate in report.evaluation.metrics.items()
        if np.isfinite(estimate.value)
    ]
    return _page(
        "about.html.j2", model=model, title=f"About {model.name}", schema=schema, report=report, metrics=metrics,
        card=html_of_markdown(model.card.partition("\n---\n")[2]),  # without its front matter
    )  # fmt: skip


def html_of_markdown(text: str) -> Markup:
    """Return Markdown as HTML for a part of a page; HTML and images in it stay text.

    Headings begin at the third level. Lines stay lines, and other control characters are escaped.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse("\n".join(map(printable, text.split("\n"))))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + 2)}"
        if token.attrs.pop("style", "") == "text-align:right":  # which the policy of pages forbids
            token.attrs["class"] = "number"
    return Markup(parser.renderer.render(tokens, parser.options, {}))
