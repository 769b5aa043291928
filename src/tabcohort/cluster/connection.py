"""The connection to a Ray cluster: one that runs, or one that is started on this machine.

Nothing of it calls out: Ray's usage statistics are off. A cluster that is started here listens at 127.0.0.1 only and
requires a token that nobody else knows, and its dashboard is off.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tabcohort.engines.compiled.engine import compile_kernels
from tabcohort.engines.compiled.jit import n_cores
from tabcohort.errors import EngineError, SettingsError, TabcohortError, first_line

LOCAL, AUTO = "local", "auto"
PACKAGES = ("tabcohort", "ray", "numpy", "numba")  # that the results depend on, or the connection does
SECONDS_TO_ANSWER = 5.0  # of an address
SECONDS_TO_PREPARE = 600.0  # a node may have to compile the kernels
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ATTEMPTS = 3  # to start a cluster: Ray gives up on a busy machine, and finds more in memory the next time
USE_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0" lets Ray use 127.0.0.1 as this machine's address
TOKEN_FILE = Path("~/.ray/auth_token")
_ADDRESS = re.compile(r"(?:ray://)?(\[[0-9a-fA-F:.]+\]|[^\s/:]+):(\d{1,5})")


def connect(address: str, n_local_cores: int | None = None) -> int:
    """Connect this process to a cluster, if it is not connected to one, and return the number of cores of the cluster.

    Args:
        address: "local" starts a cluster on this machine, which ends with this process; "auto" is the one that Ray's
            variable `RAY_ADDRESS` names, or that was started on this machine; "HOST:PORT" is one of which this machine
            is a node; "ray://HOST:PORT" is any other one.
        n_local_cores: of a cluster that is started; all of this machine when omitted.

    Raises:
        TabcohortError: Ray is not installed.
        SettingsError: the address is not possible, or no cluster answers there.
        EngineError: a node has other versions than this process, or none has a core for tasks.
    """
    host_and_port = _checked(address)
    require_ray()
    is_here = address == LOCAL or (host_and_port is not None and host_and_port[0] in LOOPBACK)
    _set_environment(is_here, is_started=address == LOCAL)
    import ray

    if not ray.is_initialized():
        if host_and_port is not None:
            _require_answer(address, *host_and_port)
        _connect(address, n_local_cores)
    if address != LOCAL:
        _prepare_nodes()
    cores = int(ray.cluster_resources().get("CPU", 0))
    if not cores:
        raise EngineError(f"the cluster at {address!r} has no node with a core for tasks; add one by ray start")
    return cores


def what_connecting_does(address: str) -> str:
    """Return in words what `connect` does for an address."""
    return "starting on this machine" if address == LOCAL else f"connecting to {address}"


def require_ray() -> None:
    """Raise `TabcohortError` if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise TabcohortError("a cluster needs ray: pip install 'tabcohort[ray]'")


def _set_environment(is_here: bool, is_started: bool) -> None:
    """Set the variables that Ray reads when it is imported and started, where they are not set.

    Args:
        is_here: whether the cluster listens at the loopback address only.
        is_started: whether it is started by this process.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if is_here:
        os.environ.setdefault(USE_LOOPBACK, "0")
    has_token = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if is_started and not has_token:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if is_started or has_token or TOKEN_FILE.expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _checked(address: str) -> tuple[str, int] | None:
    """Return the host and the port of an address; None of one that has none.

    Raises:
        SettingsError: it is no address of a cluster.
    """
    if address in (LOCAL, AUTO):
        return None
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[2]) > 65_535:
        raise SettingsError(f"the cluster must be local, auto, HOST:PORT or ray://HOST:PORT; it is {address!r}")
    return match[1].strip("[]"), int(match[2])


def _require_answer(address: str, host: str, port: int) -> None:
    """Raise `SettingsError` if nothing listens at an address: Ray would wait for a minute, and say so at length."""
    try:
        socket.create_connection((host, port), SECONDS_TO_ANSWER).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(
            f"no cluster answers at {address!r}: {reason}; check the address, or start one by ray start --head"
        ) from None


def _connect(address: str, n_local_cores: int | None) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray").setLevel(logging.ERROR)
    for n_left in reversed(range(ATTEMPTS if address == LOCAL else 1)):
        try:
            with _own_sigterm_handler():
                if address == LOCAL:
                    cores = n_local_cores or n_cores()
                    ray.init("local", num_cpus=cores, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
                else:
                    ray.init(address, **quiet)
            return
        except Exception as error:  # Ray raises whatever its layers do
            if "timed out during startup" not in str(error) or not n_left:
                raise _as_settings_error(address, error) from error
            ray.shutdown()


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Keep this process's handler of SIGTERM: that of Ray ends it without what was trained, and with a traceback."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _as_settings_error(address: str, error: Exception) -> SettingsError:
    """Return what Ray says in several lines as one sentence."""
    text = " ".join(str(error).split())
    if "auth" in f"{text} {error.__cause__}".lower():
        return SettingsError(
            f"the cluster at {address!r} does not accept the token, or there is none: let RAY_AUTH_TOKEN or the file "
            f"{TOKEN_FILE} hold the one of the cluster, and RAY_AUTH_MODE be 'token'"
        )
    if "ersion mismatch" in text:
        return SettingsError(f"the cluster at {address!r} must have the versions of this machine: {text}")
    if address == AUTO and isinstance(error, ConnectionError):
        return SettingsError("no cluster runs on this machine, and RAY_ADDRESS names none; name one, or say local")
    return SettingsError(
        f"the cluster at {address!r} cannot be used: {text.partition('. ')[0] or type(error).__name__}"
    )


# -- what the nodes must have in common --------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions in this process of what results depend on."""
    return {"Python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def prepared() -> dict[str, str]:
    """Return the versions in this process, after compiling the kernels where this installation has not done so yet."""
    compile_kernels("float32")  # before the clock of a run starts
    return versions()


def _prepare_nodes() -> None:
    """Raise `EngineError` unless each node has this package and the versions of this process."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = ray.remote(num_cpus=0, max_retries=1)(prepared)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    answers = {
        node: probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes
    }
    here = versions()
    for node, answer in answers.items():
        with raising_plainly(f"the node {nodes[node]} of the cluster"):
            theirs = ray.get(answer, timeout=SECONDS_TO_PREPARE)
        check_versions(here, theirs, nodes[node])


def check_versions(here: Mapping[str, str], theirs: Mapping[str, str], node: str) -> None:
    """Raise `EngineError` if a node has other versions than this process."""
    other = [f"{name} {theirs.get(name)} and not {version}" for name, version in here.items()
             if theirs.get(name) != version]  # fmt: skip
    if other:
        raise EngineError(
            f"all nodes must have this machine's versions: the node {node} has {', '.join(other)}; install these"
        )


@contextmanager
def raising_plainly(what: str) -> Iterator[None]:
    """Raise what Ray raises as an error of one sentence, and an error of this package as it is.

    Args:
        what: did the work: "a node of the cluster".
    """
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, TabcohortError):
            raise cause from None
        if "No module named 'tabcohort'" in str(error):
            raise EngineError(
                f"{what} has no tabcohort: install version {importlib.metadata.version('tabcohort')} on all nodes"
            ) from None
        reason = first_line(error) if cause is None else f"{type(cause).__name__}: {first_line(cause)}"
        raise EngineError(f"{what} failed: {reason}") from error
