"""Handlers get the path parameters, and the request if they ask for it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient

from tabcohort.server.routes import Routes


def test_a_function_gets_the_parts_of_its_address_and_the_request_where_it_wants_it() -> None:
    routes = Routes()

    @routes.get("/a/{name}")
    async def named(name: str) -> Response:
        return PlainTextResponse(name)

    @routes.post("/a/{name}")
    async def asked(name: str, request: Request) -> Response:
        return PlainTextResponse(f"{name} {(await request.body()).decode()}")

    client = TestClient(Starlette(routes=routes.table))
    assert client.get("/a/b").text == "b"
    assert client.head("/a/b").status_code == 200
    assert client.post("/a/b", content="c").text == "b c"
    assert client.delete("/a/b").status_code == 405
