"""A server of replicas: what each of them answers, and what is refused before Ray is asked."""

from __future__ import annotations

import inspect
import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tabcohort import SettingsError
from tabcohort.cli.main import main
from tabcohort.server.cluster_server import _free_port, _listen_at_loopback_only, make_app
from tabcohort.server.options import ServerOptions

RECORD = {"x0": 1.5, "x1": -2, "x2": None}


def test_a_replica_answers_with_the_models_whose_files_it_was_sent(files: Path) -> None:
    app = make_app({"two": (files / "two.tabcohort").read_bytes()}, ServerOptions(reload_interval_seconds=0.0))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").json()["models"].keys() == {"two"}
        answer = client.post("/v1/models/two/predict", json={"records": [RECORD]})
        assert answer.status_code == 200


def test_a_port_that_is_in_use_is_refused_and_zero_is_any_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} cannot be listened at: Address already in use; try"):
            _free_port(ServerOptions(port=port))
    assert _free_port(ServerOptions(port=0)) > 0


def test_a_replica_of_a_local_cluster_gets_its_requests_at_the_loopback_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray.serve")
    from ray.serve._private import replica

    bound: list[str] = []
    monkeypatch.setattr(replica, "add_port_to_grpc_server", lambda server, address: bound.append(address))
    _listen_at_loopback_only()
    replica.add_port_to_grpc_server(None, "[::]:0")  # as a replica calls it
    assert bound == ["127.0.0.1:0"]
    source = inspect.getsource(replica)
    assert 'add_port_to_grpc_server(self._server, "[::]:0")' in source  # still what Ray Serve does


def test_what_replicas_do_not_do_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(files / "two.tabcohort")
    assert main(["serve", model, "--cluster", "auto", "--log", "somewhere"]) == 2
    assert "--cluster serves models only: leave out --background, --shadow, --fhir-m" in capsys.readouterr().err
