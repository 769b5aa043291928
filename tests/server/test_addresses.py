"""Functions answer for addresses, with the parts of these."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient

from tabcohort.server.addresses import Addresses


def test_a_function_gets_the_parts_of_its_address_and_the_request_where_it_wants_it() -> None:
    addresses = Addresses()

    @addresses.get("/a/{name}")
    async def named(name: str) -> Response:
        return PlainTextResponse(name)

    @addresses.post("/a/{name}")
    async def asked(name: str, request: Request) -> Response:
        return PlainTextResponse(f"{name} {(await request.body()).decode()}")

    client = TestClient(Starlette(routes=addresses.routes))
    assert client.get("/a/b").text == "b"
    assert client.head("/a/b").status_code == 200
    assert client.post("/a/b", content="c").text == "b c"
    assert client.delete("/a/b").status_code == 405
