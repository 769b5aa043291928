"""A server of several replicas on a Ray cluster: Ray Serve runs the same application in each."""

from __future__ import annotations

import io
import logging
import socket
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from tabcohort.errors import SettingsError
from tabcohort.server.options import ServerOptions

NAME = "tabcohort"
SECONDS_TO_END = 30.0  # for requests in progress


def start(models: Mapping[str, Path], options: ServerOptions, is_local: bool = False) -> str:
    """Start to answer on the cluster that this process is connected to, and return the address.

    Args:
        models: the file of each model by its name; what they hold now is sent to the replicas.
        options: of the server; each of its workers is a replica.
        is_local: whether the cluster is of this machine alone.

    Raises:
        SettingsError: the address is in use.
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    options = replace(options, port=_free_port(options), reload_interval_seconds=0.0)
    contents = {name: path.read_bytes() for name, path in models.items()}

    def build() -> Any:  # Ray Serve tells a function that makes an application from an application
        if is_local:
            _listen_at_loopback_only()
        return make_app(contents, options)

    replica = serve.deployment(
        serve.ingress(build)(_Replica), name=NAME,
        num_replicas=options.n_workers, max_ongoing_requests=options.max_in_flight,
        graceful_shutdown_timeout_s=SECONDS_TO_END,
    )  # fmt: skip
    serve.start(proxy_location="HeadOnly", http_options={"host": options.host, "port": options.port})
    serve.run(replica.bind(), name=NAME, route_prefix="/")
    return f"http://{options.host}:{options.port}"


def stop() -> None:
    """End the replicas when the requests in progress are answered, and the connection to the cluster."""
    import ray
    from ray import serve

    with redirect_stdout(io.StringIO()):  # where Ray reports that its controller ended
        serve.shutdown()
        ray.shutdown()


class _Replica:
    """What Ray Serve makes one of for each replica; the application answers."""


def make_app(contents: Mapping[str, bytes], options: ServerOptions) -> Any:
    """Return the application of a replica.

    Args:
        contents: of the model files by name.
        options: of the server.
    """
    from tabcohort.server.app import create_app
    from tabcohort.server.model_store import ModelStore

    with tempfile.TemporaryDirectory(prefix="tabcohort-") as folder:
        paths = {name: Path(folder, f"{name}.tabcohort") for name in contents}
        for name, path in paths.items():
            path.write_bytes(contents[name])
        return create_app(ModelStore(paths), options)


def _listen_at_loopback_only() -> None:
    """Let the port at which a replica gets requests from Ray, which are pickled, be reached from this machine only.

    Ray Serve has no option for it: each replica listens at all addresses, and asks for no token.
    """
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, f"127.0.0.1:{address.rpartition(':')[2]}")


def _free_port(options: ServerOptions) -> int:
    """Return the port of the options, or any free one for 0.

    Raises:
        SettingsError: it is in use: Ray Serve would say so only in its log.
    """
    with socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET, socket.SOCK_STREAM) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind((options.host, options.port))
        except OSError as error:
            where = f"{options.host}:{options.port}"
            raise SettingsError(
                f"{where} cannot be listened at: {error.strerror or error}; try another --port"
            ) from None
        return int(own.getsockname()[1])
