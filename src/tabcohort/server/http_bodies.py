"""What all routes do with the bodies of requests and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tabcohort.server.middleware import read_body
from tabcohort.server.options import ServerOptions
from tabcohort.server.problems import Problem
from tabcohort.server.table_bodies import decompressed

JSON = "application/json"


def json_response(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return plain values as an answer of status 200."""
    return Response(json.dumps(value, ensure_ascii=False, allow_nan=False).encode(), 200, dict(headers or {}), JSON)


def media_type_of(request: Request) -> str:
    """Return the media type of a request's body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_media_type(request: Request, known: Sequence[str]) -> str:
    """Return the media type of a request's body.

    Raises:
        Problem: 415, it is another one.
    """
    media_type = media_type_of(request)
    if media_type not in known:
        raise unsupported_media_type(known)
    return media_type


def unsupported_media_type(known: Sequence[str], more: str = "") -> Problem:
    """Return the problem of a body that is of none of these media types; `more` goes behind their names."""
    return Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the content type must be {' or '.join(known)}{more}",
        headers={"accept-post": ", ".join(known)},
    )  # fmt: skip


async def body_of(request: Request, options: ServerOptions) -> bytes:
    """Return the body of a request without its content encoding.

    Raises:
        Problem: as `read_body` and `decompressed` do, and as many bytes in progress do.
    """
    body = await read_body(request, options)
    data = decompressed(body, request.headers.get("content-encoding"), options.max_body_bytes)
    request.scope["body"].add(max(0, len(data) - len(body)))
    return data
