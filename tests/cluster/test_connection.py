"""The connection to a cluster: which addresses there are, and what is wrong in one sentence."""

from __future__ import annotations

import importlib.util
import socket
from typing import Any

import pytest

from tabcohort.cluster import connection
from tabcohort.cluster.connection import check_versions, connect, versions, what_connecting_does
from tabcohort.errors import EngineError, SettingsError, TabcohortError

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(autouse=True)
def _without_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment be as it was after each test."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", connection.USE_LOOPBACK):
        monkeypatch.setenv(name, "set by the test")


def test_ray_is_named_with_its_extra_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TabcohortError, match=r"^a cluster needs ray: pip install 'tabcohort\[ray\]'$"):
        connect("local")


@pytest.mark.parametrize("address", ["", "nowhere", "host:", "host:port", "http://host:1", "host:70000", "ray://host"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^the cluster must be local, auto, HOST:PORT or ray://HOST:PORT; it is "):
        connect(address)


@NEEDS_RAY
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_answers_is_named_at_once(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(SettingsError, match=f"no cluster answers at '{address}': Connection refused; check the"):
        connect(address)


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("auto", ConnectionError("Could not find"), "no cluster runs on this machine, and RAY_ADDRESS names none; "),
        ("a:1", RuntimeError("Version mismatch: Ray 2.1"), "the cluster at 'a:1' must have the versions of this mach"),
        ("a:1", RuntimeError("InvalidAuthToken: missing"), "the cluster at 'a:1' does not accept the token, or there"),
        ("a:1", ValueError("One. Two\nlines."), "the cluster at 'a:1' cannot be used: One"),
    ],
)
def test_what_ray_says_in_several_lines_is_one_sentence(address: str, error: Exception, message: str) -> None:
    sentence = str(connection._as_settings_error(address, error))
    assert sentence.startswith(message)
    assert "\n" not in sentence


def test_a_node_with_other_versions_is_refused() -> None:
    own = versions()
    assert own.keys() == {"Python", "tabcohort", "ray", "numpy", "numba"}
    check_versions(own, own, "10.0.0.2")
    with pytest.raises(EngineError, match=r"the node 10\.0\.0\.2 has tabcohort 0\.0\.1 and not .*; install these$"):
        check_versions(own, {**own, "tabcohort": "0.0.1"}, "10.0.0.2")


@pytest.mark.parametrize(
    ("is_here", "is_started", "mode", "has_token"), [(True, True, "token", True), (False, False, None, False)]
)
def test_a_cluster_that_is_started_has_a_token_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, is_here: bool, is_started: bool, mode: str | None, has_token: bool
) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(connection.os, "environ", environment)
    monkeypatch.setattr(connection, "TOKEN_FILE", tmp_path / "auth_token")
    connection._set_environment(is_here, is_started)
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment.get("RAY_AUTH_MODE") == mode
    assert (len(environment.get("RAY_AUTH_TOKEN", "")) == 64) == has_token
    assert (environment.get(connection.USE_LOOPBACK) == "0") == is_here


def test_connecting_is_said_in_words() -> None:
    assert what_connecting_does("local") == "starting on this machine"
    assert what_connecting_does("ray://h:1") == "connecting to ray://h:1"
