"""The server of the page: for this machine alone, and nothing but the page and its events."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from helpers import SMALL, assert_same, config_of, table_of
from live_runs import events_of_a_run

from tabcohort import LivePage, SettingsError, TabcohortError, fit
from tabcohort.live.event_log import EventLog
from tabcohort.live.live_page import live_page
from tabcohort.live.live_server import LiveServer

JSON = "application/json"
TOKEN = "the token of the server"


class Place(NamedTuple):
    """Where a server is, and what it asks for."""

    port: int
    token: str


def place_of(address: str) -> Place:
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{32})", address)
    assert found is not None
    return Place(int(found[1]), found[2])


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A server that has the events of a run."""
    log = EventLog()
    for event in events_of_a_run():
        log(event)
    with LiveServer(log) as server:
        yield place_of(server.address)


def ask(
    place: Place, path: str, method: str = "GET", token: str = TOKEN, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Return what a server answers; `token` is the whole part of the query."""
    token = f"token={place.token}" if token == TOKEN else token
    path += ("&" if "?" in path else "?") + token
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_the_page_comes_with_its_security_policy(place: Place) -> None:
    answer, body = ask(place, "/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body.decode() == live_page().html
    assert answer.headers.get_all("content-security-policy") == [live_page().policy]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    assert "Python" not in answer.headers["server"]


def test_events_and_layers_come_as_json(place: Place) -> None:
    answer, body = ask(place, "/events?run=0&from=0")
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    events = json.loads(body)
    assert (events["run"], events["next"], events["isOpen"]) == (1, len(events_of_a_run()), True)
    assert json.loads(ask(place, "/events?run=1&from=5")[1])["events"] == events["events"][5:]
    layers = json.loads(ask(place, "/layers?run=1&member=0&from=2")[1])
    assert [entry["epoch"] for entry in layers["epochs"]] == [3, 4, 5, 6]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_this_machine_may_ask(place: Place, host: str) -> None:
    assert ask(place, "/events?run=0&from=0", host=f"{host}:{place.port}")[0].status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "[::1]", "0.0.0.0"])
@pytest.mark.parametrize("path", ["/", "/events?run=0&from=0", "/nothing"])
def test_another_host_is_refused(place: Place, host: str, path: str) -> None:
    """A foreign page whose name leads to this machine must not read the training: DNS rebinding."""
    answer, body = ask(place, path, host=host)
    assert answer.status == 421
    assert json.loads(body) == {"error": "the Host header does not name this server"}


def raw(port: int, request: bytes) -> bytes:
    """Return what is answered to some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    return answer


def test_a_request_without_a_host_or_with_two_is_refused(place: Place) -> None:
    good, evil = f"Host: 127.0.0.1:{place.port}\r\n".encode(), b"Host: evil.example\r\n"
    for headers in (b"", good + evil, evil + good):
        assert raw(place.port, b"GET / HTTP/1.1\r\n" + headers + b"\r\n").startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize(
    "path", ["/favicon.ico", "/index.html", "/../etc/passwd", "/events/", "/%2e%2e/", "/EVENTS?run=0&from=0"]
)
def test_another_path_is_not_found(place: Place, path: str) -> None:
    answer, body = ask(place, path)
    assert answer.status == 404
    assert json.loads(body) == {"error": "there is no such page"}


@pytest.mark.parametrize(
    "path",
    [
        "/events", "/events?run=0", "/events?run=0&from=-1", "/events?run=0&from=x", "/events?run=0&from=1e3",
        "/events?run=0&from=" + 30 * "9", "/layers?run=0&from=0", "/layers?run=0&member=&from=0",
        "/events?run=0&from=%D9%A3",
    ],
)  # fmt: skip
def test_a_query_without_its_numbers_is_refused(place: Place, path: str) -> None:
    answer, body = ask(place, path)
    assert answer.status == 400
    assert "the query must have numbers for run, " in json.loads(body)["error"]


@pytest.mark.parametrize("path", ["/", "/events?run=0&from=0", "/layers?run=1&member=0&from=0"])
@pytest.mark.parametrize(
    "token",
    ["", "token=", "token=%C3%A9", "token=%00", "other=1", "token=" + "a" * 32, "a=1&" * 11, "a=1&" * 400, "token=%FF"],
)
def test_who_does_not_know_the_token_sees_nothing(
    place: Place, path: str, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other users of this machine can reach the port, too."""
    for method in ("GET", "HEAD"):
        answer, body = ask(place, path, method, token)
        assert answer.status == 403
    answer, body = ask(place, path, token=token)
    assert json.loads(body) == {"error": "open the page at the whole address that the command shows, with its token"}
    assert place.token.encode() not in body
    assert capfd.readouterr().err == ""


def test_the_token_is_another_one_each_time() -> None:
    with LiveServer(EventLog()) as one, LiveServer(EventLog()) as other:
        assert place_of(one.address).token != place_of(other.address).token
        assert ask(Place(place_of(one.address).port, place_of(other.address).token), "/")[0].status == 403


def test_a_page_has_an_address_inside_its_context_and_can_be_shown_again() -> None:
    page = LivePage()
    with pytest.raises(TabcohortError, match=r"has an address inside its context only: with LivePage\(\) as page"):
        _ = page.address
    for _ in range(2):
        with page:
            assert ask(place_of(page.address), "/")[0].status == 200
            with pytest.raises(TabcohortError, match="is served already; leave its context first"):
                page.__enter__()
    with pytest.raises(TabcohortError, match="inside its context only"):
        _ = page.address


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(place: Place, method: str) -> None:
    answer, body = ask(place, "/", method)
    assert answer.status == 501
    assert "error" in json.loads(body)


def test_head_has_no_body(place: Place) -> None:
    answer, body = ask(place, "/", "HEAD")
    assert (answer.status, body) == (200, b"")
    assert int(answer.headers["content-length"]) == len(live_page().html.encode())


def test_a_connection_answers_several_requests(place: Place) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    for _ in range(3):
        connection.request("GET", f"/events?run=0&from=0&token={place.token}")
        assert connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize("request_", [b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x00\xff\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_request_ends_no_server(place: Place, request_: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    raw(place.port, request_)
    assert ask(place, "/")[0].status == 200
    assert capfd.readouterr().err == ""


def test_only_this_machine_is_listened_to() -> None:
    with LiveServer(EventLog()) as server:
        assert server._server is not None
        assert server._server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_and_one_that_there_is_not_are_named() -> None:
    with LiveServer(EventLog()) as server:
        port = place_of(server.address).port
        message = f"127.0.0.1:{port} cannot be listened at: Address already in use; name another port, or auto"
        with pytest.raises(SettingsError, match=message), LiveServer(EventLog(), port):
            pass
    with pytest.raises(SettingsError, match="the port must be 0 to 65535; it is 65536"):
        LiveServer(EventLog(), 65_536)


def test_a_page_shows_a_cohort_that_has_the_same_bits() -> None:
    table, config = table_of(60), config_of(max_epochs=4)
    with LivePage() as page:
        shown = fit(table, config, SMALL, observer=page)
        place = place_of(page.address)
        events: dict[str, Any] = json.loads(ask(place, "/events?run=0&from=0")[1])
        layers = json.loads(ask(place, "/layers?run=1&member=2&from=0")[1])["epochs"]
    assert_same(shown, fit(table, config, SMALL))
    names = [event["event"] for event in events["events"]]
    assert (names[0], names[-1], names.count("epoch")) == ("start", "end", 12)
    assert [entry["epoch"] for entry in layers] == [1, 2, 3, 4]
    with pytest.raises(ConnectionRefusedError):
        ask(place, "/")
