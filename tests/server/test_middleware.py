"""Hosts, keys, loads, bodies and headers."""

from __future__ import annotations

import asyncio
import base64
import gzip
from typing import Any

import pytest
from asking import Server
from starlette.requests import Request

from tabcohort.server.middleware import HEADERS, read_body
from tabcohort.server.options import ServerOptions
from tabcohort.server.problems import PROBLEM, Problem

KEY = "a-key-of-enough-characters"
RECORD = {"records": [{"x0": 1, "x1": 2, "x2": 3}]}


def test_every_answer_has_the_security_headers_and_an_id(server: Server) -> None:
    client = server()
    for path in ("/healthz", "/v1/models", "/nothing", "/models/two", "/openapi.json"):
        answer = client.get(path, headers={"x-request-id": "abc-1"})
        assert set(HEADERS) <= set(answer.headers)
        assert answer.headers["x-request-id"] == "abc-1"
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    ids = {client.get("/healthz", headers={"x-request-id": b"a b\xe9"}).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(len(own) == 32 for own in ids)


def test_no_other_site_is_allowed(server: Server) -> None:
    answer = server().options(
        "/v1/models/two/predict", headers={"origin": "http://evil.example", "access-control-request-method": "POST"}
    )
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "[::2]:80"])
def test_a_request_for_another_host_is_refused(host: str, server: Server) -> None:
    answer = server().get("/v1/models", headers={"host": host})
    assert (answer.status_code, answer.headers["content-type"]) == (421, PROBLEM)


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"])
def test_this_machine_is_known_by_its_names(host: str, server: Server) -> None:
    assert server().get("/v1/models", headers={"host": host}).status_code == 200


def test_other_hosts_may_be_allowed(server: Server) -> None:
    client = server(allowed_hosts=("models.clinic",))
    assert client.get("/v1/models", headers={"host": "models.clinic"}).status_code == 200
    assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 421


def basic(text: str) -> str:
    """Return a header of basic authentication."""
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {KEY}", 200), (f"bearer {KEY}", 200), (basic(f":{KEY}"), 200), (basic(f"doctor:{KEY}"), 200),
        ("", 401), ("Bearer ", 401), (f"Bearer {KEY}x", 401), (f"Bearer {KEY[:-1]}", 401), (basic(KEY), 401),
        ("Basic %%%", 401), ("Bearer \u00ff", 401), (f"Digest {KEY}", 401),
    ],
)  # fmt: skip
def test_a_key_is_asked_for_where_there_is_one(header: str, status: int, server: Server) -> None:
    client = server(keys=(KEY,))
    answer = client.post("/v1/models/two/predict", json=RECORD, headers={"authorization": header.encode("latin-1")})
    assert answer.status_code == status
    assert client.get("/models/two", headers={"authorization": header.encode("latin-1")}).status_code == status
    assert client.get("/healthz").status_code == 200
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert KEY not in answer.text


def test_more_requests_than_are_answered_at_a_time_are_refused(server: Server) -> None:
    client = server(max_in_flight=3)
    client.app.state.context.middleware.n_in_flight = 3  # type: ignore[attr-defined]
    answer = client.post("/v1/models/two/predict", json=RECORD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.get("/healthz").status_code == 200


def test_a_server_that_is_about_to_end_closes_connections_and_is_not_ready(server: Server) -> None:
    client = server()
    assert client.get("/readyz").json()["status"] == "ready"
    client.app.state.context.middleware.is_draining = True  # type: ignore[attr-defined]
    answer = client.post("/v1/models/two/predict", json=RECORD)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert client.get("/readyz").status_code == 200  # another process may go on
    client.app.state.context.middleware.is_ending = True  # type: ignore[attr-defined]
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_a_failure_of_ours_is_a_problem_document_that_says_nothing_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = server()

    def fail(*arguments: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("tabcohort.model.predictor.Predictor.predict_inputs", fail)
    answer = client.post("/v1/models/two/predict", json=RECORD)
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "secret" not in answer.text
    assert "RuntimeError: secret" in capsys.readouterr().err


def asked(*messages: dict[str, Any], headers: Any = (), seconds: float = 0.0) -> Request:
    """Return a request whose body arrives in these messages, each after some seconds."""
    rest = iter(messages)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return next(rest)

    return Request({"type": "http", "headers": list(headers), "method": "POST", "path": "/"}, receive)


def part(body: bytes, more: bool) -> dict[str, Any]:
    """Return a part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_is_read_within_bounds_of_size_and_time() -> None:
    options = ServerOptions(max_body_bytes=10, body_timeout_seconds=0.05)
    assert asyncio.run(read_body(asked(part(b"12345", True), part(b"67890", False)), options)) == b"1234567890"
    for request, status in (
        (asked(part(b"123456", True), part(b"67890", False)), 413),
        (asked(headers=[(b"content-length", b"11")]), 413),
        (asked(headers=[(b"content-length", b"9" * 1_000)]), 413),
        (asked(part(b"1", True), part(b"1", True), seconds=0.04), 408),
    ):
        with pytest.raises(Problem) as caught:
            asyncio.run(read_body(request, options))
        assert caught.value.status == status


@pytest.mark.parametrize("name", ["host", "authorization", "content-type"])
def test_a_header_that_is_read_once_may_be_given_once(name: str, server: Server) -> None:
    headers = [("host", "localhost"), ("content-type", "application/json")]
    value = dict(headers).get(name, "Bearer x")
    answer = server().post("/v1/models/two/predict", json=RECORD, headers=[*headers, (name, value), (name, value)])
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_pages_of_other_sites_may_not_ask(site: str, status: int, server: Server) -> None:
    answer = server().post("/v1/models/two/predict", json=RECORD, headers={"sec-fetch-site": site})
    assert answer.status_code == status


def test_a_client_that_goes_while_it_sends_is_counted_and_no_failure(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    client = server()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/models/two/predict", "raw_path": b"/v1/models/two/predict", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")], "client": None, "server": None,
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there")

    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert 'status="499"} 1.0' in client.get("/metrics").text
    assert "Traceback" not in capsys.readouterr().err


def test_bodies_are_refused_where_all_together_are_too_large(server: Server) -> None:
    client = server(max_in_flight_bytes=1_000)
    assert client.post("/v1/models/two/predict", json=RECORD).status_code == 200
    middleware = client.app.state.context.middleware  # type: ignore[attr-defined]
    assert middleware.n_in_flight_bytes == 0
    middleware.n_in_flight_bytes = 990  # of other requests
    answer = client.post("/v1/models/two/predict", json=RECORD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "the bodies of all requests in progress exceed" in answer.json()["detail"]
    assert middleware.n_in_flight_bytes == 990
    middleware.n_in_flight_bytes = 0
    packed = gzip.compress(b" " * 2_000)
    headers = {"content-type": "text/csv", "content-encoding": "gzip"}
    assert client.post("/v1/models/two/predict", content=packed, headers=headers).status_code == 503
    assert middleware.n_in_flight_bytes == 0


def test_a_person_sees_what_is_refused_at_once_as_a_page(server: Server) -> None:
    answer = server().get("/models/two", headers={"host": "evil.example", "accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (421, "text/html; charset=utf-8")
    assert "The Host header does not name this server." in answer.text
