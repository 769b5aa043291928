"""Media types and bodies, as all routes take them."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any
from unittest.mock import Mock

import pytest
from starlette.requests import Request

from tabcohort.server.http_bodies import JSON, body_of, json_response, media_type_of, require_media_type
from tabcohort.server.options import ServerOptions
from tabcohort.server.problems import Problem


def request_of(body: bytes = b"", **headers: str) -> Request:
    """Return a request with a body."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "body": Mock()}  # the last counts its bytes
    return Request(scope, receive)


def test_a_media_type_is_told_without_its_parameters() -> None:
    request = request_of(content_type="Application/JSON ; charset=utf-8")
    assert media_type_of(request) == require_media_type(request, ("text/csv", JSON)) == JSON
    assert media_type_of(request_of()) == ""


def test_another_media_type_is_a_problem_that_names_those_that_are_known() -> None:
    with pytest.raises(Problem, match=r"the content type must be text/csv or application/json$") as caught:
        require_media_type(request_of(content_type="text/plain"), ("text/csv", JSON))
    assert (caught.value.status, caught.value.headers) == (415, {"accept-post": "text/csv, application/json"})


def test_a_body_is_read_without_its_content_encoding() -> None:
    options = ServerOptions(max_body_bytes=100)
    packed = request_of(gzip.compress(b"a" * 90), content_encoding="gzip")
    assert asyncio.run(body_of(packed, options)) == asyncio.run(body_of(request_of(b"a" * 90), options)) == b"a" * 90
    packed.scope["body"].add.assert_called_once_with(90 - len(gzip.compress(b"a" * 90)))
    with pytest.raises(Problem) as caught:
        asyncio.run(body_of(request_of(gzip.compress(bytes(1_000)), content_encoding="gzip"), options))
    assert caught.value.status == 413


def test_an_answer_holds_json_in_utf_8_and_no_number_that_json_does_not_have() -> None:
    answer = json_response({"a": "caf\u00e9"}, {"x-model-version": "v"})
    assert (answer.status_code, answer.media_type, answer.headers["x-model-version"]) == (200, JSON, "v")
    assert json.loads(answer.body) == {"a": "caf\u00e9"}
    assert "caf\u00e9".encode() in answer.body
    with pytest.raises(ValueError, match="Out of range"):
        json_response(float("nan"))
