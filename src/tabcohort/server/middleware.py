"""Checks before each request: host, key and load; and headers, metrics and errors after it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tabcohort.server.options import LOCAL_HOSTS, ServerOptions
from tabcohort.server.problems import Problem, overloaded
from tabcohort.server.service_metrics import ServiceMetrics
from tabcohort.server.table_bodies import too_large

OPEN_PATHS = ("/healthz", "/readyz")  # which need no key
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
    "content-security-policy": POLICY,
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLOSED_REQUEST = 499  # counted for clients that go before they are answered


class RequestMiddleware:
    """Checks each request before the application sees it, and completes each answer.

    Args:
        app: the application.
        options: of the server.
        metrics: that requests are counted in.
        response_of: the response that says what is wrong with a request.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: ServerOptions,
        metrics: ServiceMetrics,
        response_of: Callable[[Request, Problem], Response],
    ) -> None:
        self._app, self._options, self._metrics, self._response_of = app, options, metrics, response_of
        self._hosts = {host.lower() for host in (*LOCAL_HOSTS, *options.allowed_hosts, options.host)}
        self._checks_host = options.is_local or bool(options.allowed_hosts)
        self.n_requests = self.n_in_flight = self.n_in_flight_bytes = 0
        self.is_draining = False  # whether connections are to be closed
        self.is_ending = False  # whether no other process takes what comes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # of repeated ones the first
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        scope["request_id"] = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        began, answer, body = time.perf_counter(), _Answer(send, scope["request_id"], self), _Body(receive, self)
        scope["body"] = body
        self.n_requests += 1
        self.n_in_flight += 1
        self._metrics.in_flight.inc()
        try:
            try:
                self._check(scope, headers)
                _require_once(scope, (b"host", b"authorization", b"content-length", b"content-type"))
                await self._app(scope, body.receive, answer.send)
            except ClientDisconnect:
                pass  # counted as CLOSED_REQUEST
            except Problem as problem:
                await self._say(problem, answer, scope, receive)
            except Exception as error:
                if answer.status is not None:
                    raise  # it is too late to say so
                print(f"tabcohort: request {scope['request_id']} failed", file=sys.stderr)
                traceback.print_exception(error)
                await self._say(
                    Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal server error; see the server's log"),
                    answer, scope, receive,
                )  # fmt: skip
        finally:
            self.n_in_flight -= 1
            self.n_in_flight_bytes -= body.n_bytes
            self._metrics.in_flight.dec()
            self._metrics.count_request(_route(scope), answer.status or CLOSED_REQUEST, time.perf_counter() - began)

    def add_bytes(self, n_bytes: int) -> None:
        """Add bytes of a body to the total of all requests.

        Raises:
            Problem: 503, the bodies of all requests are too large together.
        """
        self.n_in_flight_bytes += n_bytes
        limit = self._options.max_in_flight_bytes
        if self.n_in_flight_bytes > limit:
            raise overloaded(f"the bodies of all requests in progress exceed {limit / 2**20:,.3g} MiB; retry later")

    async def _say(self, problem: Problem, answer: _Answer, scope: Scope, receive: Receive) -> None:
        await self._response_of(Request(scope), problem)(scope, receive, answer.send)

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Raise what is wrong with a request that can be told from its head."""
        if self._checks_host and _host(headers.get(b"host", b"").decode("latin-1")) not in self._hosts:
            raise Problem(HTTPStatus.MISDIRECTED_REQUEST, "the Host header does not name this server")
        if scope["method"] == "POST" and headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            raise Problem(HTTPStatus.FORBIDDEN, "requests from the pages of other sites are refused")
        if self._options.keys and scope["path"] not in OPEN_PATHS and not self._options.accepts_key(_key(headers)):
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "a key is needed: in the header Authorization as 'Bearer KEY', or as the password of basic "
                "authentication",
                headers={"www-authenticate": 'Basic realm="tabcohort", charset="UTF-8", Bearer'},
            )
        if self.n_in_flight > self._options.max_in_flight and scope["path"] not in OPEN_PATHS:
            raise overloaded(f"{self._options.max_in_flight:,} requests are being answered already")


class _Answer:
    """Sends an answer with the headers that all have, and remembers its status."""

    def __init__(self, send: Send, request_id: str, middleware: RequestMiddleware) -> None:
        self._send, self._request_id, self._middleware = send, request_id, middleware
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name for name, _ in message["headers"]}
            headers = [*message["headers"], *(own for own in _RAW_HEADERS if own[0] not in given)]
            headers.append((b"x-request-id", self._request_id.encode()))
            if self._middleware.is_draining:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        await self._send(message)


class _Body:
    """Receives the body of a request, and remembers its size, also decompressed."""

    def __init__(self, receive: Receive, middleware: RequestMiddleware) -> None:
        self._receive, self._middleware = receive, middleware
        self.n_bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.add(len(message.get("body", b"")))
        return message

    def add(self, n_bytes: int) -> None:
        """Add bytes; see `RequestMiddleware.add_bytes`."""
        self.n_bytes += n_bytes
        self._middleware.add_bytes(n_bytes)


async def read_body(request: Request, options: ServerOptions) -> bytes:
    """Return the body of a request.

    Raises:
        Problem: 413, it is too large; 408, it takes too long to arrive.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > options.max_body_bytes:
        raise too_large(options.max_body_bytes)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(options.body_timeout_seconds):
            async for chunk in request.stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > options.max_body_bytes:
                    raise too_large(options.max_body_bytes)
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive in {options.body_timeout_seconds:g} seconds",
            headers={"connection": "close"},
        ) from None  # fmt: skip
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _require_once(scope: Scope, names: Iterable[bytes]) -> None:
    """Raise an error for a header that is repeated, as programs on the way may have read the other one.

    Raises:
        Problem: 400.
    """
    given = [name for name, _ in scope["headers"]]
    for name in names:
        if given.count(name) > 1:
            raise Problem(HTTPStatus.BAD_REQUEST, f"the header {name.decode()!r} is given twice")


def _host(header: str) -> str:
    """Return the host of a header without its port, in lower case."""
    header = header.lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


def _key(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the key that a request gives, which is empty where it gives none."""
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _route(scope: Scope) -> str:
    """Return the pattern of the address that a request was answered for; one for all that there are not."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "unknown"))
