"""A small server of the page that shows a run, for browsers of this machine only."""

from __future__ import annotations

import json
import re
import secrets
import socketserver
import sys
import threading
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

from tabcohort.errors import SettingsError, TabcohortError
from tabcohort.live.event_log import EventLog
from tabcohort.live.events import EventObserver
from tabcohort.live.live_page import live_page

HOST = "127.0.0.1"
LOCAL_NAMES = ("127.0.0.1", "localhost")
TIMEOUT_SECONDS = 30.0  # for a request, and between two of them
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
TOKEN_BYTES, MAX_QUERY_LENGTH = 24, 1_000
PARAMETERS = {"/events": ("run", "from"), "/layers": ("run", "member", "from")}  # whole numbers of a query
_POSITION = re.compile(r"[0-9]{1,12}")


class LiveServer:
    """Serves the page of a run on this machine, in threads of its own, while the context lasts.

    Whoever asks must know a random token, which is part of the address: other users of this machine do not.

    Args:
        log: the events of the run.
        port: 0 takes one that is free.

    Raises:
        SettingsError: the port is not possible or, where the context begins, in use.
    """

    def __init__(self, log: EventLog, port: int = 0) -> None:
        if not 0 <= port <= 65_535:
            raise SettingsError(f"the port must be 0 to 65535; it is {port}")
        self.log, self.port = log, port
        self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._server: _Server | None = None

    @property
    def address(self) -> str:
        """Where a browser reaches the page.

        Raises:
            TabcohortError: the context has not begun, or has ended.
        """
        if self._server is None:
            raise TabcohortError("the page has an address inside its context only: with LivePage() as page: ...")
        return f"http://{HOST}:{self._server.server_address[1]}/?token={self._token}"

    def __enter__(self) -> Self:
        if self._server is not None:
            raise TabcohortError("the page is served already; leave its context first, or make another one")
        try:
            self._server = _Server((HOST, self.port), partial(_Handler, self.log, self._token))
        except OSError as error:
            raise SettingsError(
                f"{HOST}:{self.port} cannot be listened at: {error.strerror or error}; name another port, or auto"
            ) from None
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class LivePage(EventObserver):
    """Shows a training in a browser as it happens: give it to `fit` or `train` as `observer`.

    Use it as a context manager: it is served while the context lasts.

    Args:
        port: 0 takes one that is free.

    Raises:
        SettingsError: the port is not possible or, where the context begins, in use.

    Examples:
        >>> with LivePage() as page:
        ...     page.address.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, port: int = 0) -> None:
        log = EventLog()
        super().__init__(log)
        self._server = LiveServer(log, port)

    @property
    def address(self) -> str:
        """Where a browser reaches the page, inside the context; whoever knows it can see the training.

        Raises:
            TabcohortError: the context has not begun, or has ended.
        """
        return self._server.address

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.__exit__(*exception)


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    """Answers each request in a thread that does not keep the process alive."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without a look-up of this machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that close a connection; anything else is a mistake of ours."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD.

    Args:
        log: the events of the run.
        token: that a request must have.
        arguments: of the base class.
    """

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tabcohort", ""
    timeout = TIMEOUT_SECONDS

    def __init__(self, log: EventLog, token: str, *arguments: Any) -> None:
        self.log, self.token = log, token
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer with the page, or with what it asks for."""
        if not self._is_local():
            self._say(HTTPStatus.MISDIRECTED_REQUEST, "the Host header does not name this server")
            return
        path, _, query = self.path.partition("?")
        if path not in ("/", *PARAMETERS):
            self._say(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        values = _query_values(query)
        if not secrets.compare_digest(values.get("token", "").encode(), self.token.encode()):
            self._say(HTTPStatus.FORBIDDEN, "open the page at the whole address that the command shows, with its token")
        elif path == "/":
            page = live_page()
            self._send(page.html, "text/html; charset=utf-8", {"content-security-policy": page.policy})
        else:
            self._answer_with_events(path, values)

    def _answer_with_events(self, path: str, values: Mapping[str, str]) -> None:
        texts = [values.get(name, "") for name in PARAMETERS[path]]
        if not all(map(_POSITION.fullmatch, texts)):
            self._say(HTTPStatus.BAD_REQUEST, f"the query must have numbers for {', '.join(PARAMETERS[path])}")
            return
        answer = self.log.events if path == "/events" else self.log.layers
        self._send(json.dumps(answer(*map(int, texts)), allow_nan=False), "application/json")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class refuses, such as another method."""
        self.close_connection = True
        self._say(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def _is_local(self) -> bool:
        """Return whether the request names this machine: another name may be a foreign page's, led here by its DNS."""
        hosts = self.headers.get_all("host", [])
        return len(hosts) == 1 and hosts[0].partition(":")[0].lower() in LOCAL_NAMES

    def _say(self, status: HTTPStatus, message: str) -> None:
        self._send(json.dumps({"error": message}), "application/json", status=status)

    def _send(
        self, text: str, kind: str, headers: dict[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _query_values(query: str) -> dict[str, str]:
    """Return the values of a query by their names; none where it has more than is ever asked."""
    if len(query) >= MAX_QUERY_LENGTH:
        return {}
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=10, errors="replace")
    except ValueError:
        return {}
    return {name: texts[0] for name, texts in values.items()}
