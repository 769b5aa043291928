"""The processes of a server: one that answers, or several and one that watches over them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tabcohort.errors import SettingsError, TabcohortError
from tabcohort.file_locks import temporary_folder
from tabcohort.server.medical.fhir_mapping import FhirMapping, require_mapping
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import MULTIPROCESS_DIR, ServerOptions
from tabcohort.server.prediction_log import LogPolicy, PredictionLog

DRAIN_SECONDS = 0.4  # in which connections are still accepted; each is closed by its next answer
IDLE_POLLS = 20  # without a request, `POLL_SECONDS` apart, after which open connections are closed
GRACE_SECONDS = 30.0  # from a stop signal to the end, for requests in progress
BACKLOG = 2_048
MIN_UPTIME_SECONDS, MAX_EARLY_EXITS = 1.0, 5
POLL_SECONDS = 0.05
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Plan:
    """What the processes of a server need.

    Args:
        store: the models.
        options: of the server.
        log: how predictions are recorded, if they are.
        mapping: of medical records, if these are answered for.

    Raises:
        SettingsError: the mapping is not for one of the models.
    """

    store: ModelStore
    options: ServerOptions
    log: LogPolicy | None = None
    mapping: FhirMapping | None = None

    def __post_init__(self) -> None:
        if self.mapping is not None:
            require_mapping(self.mapping, self.store)


def serve(plan: Plan, listening: socket.socket, on_ready: Callable[[], None] = lambda: None) -> int:
    """Answer until a signal ends it; return the exit status.

    SIGTERM and Ctrl-C answer what is in flight first; SIGHUP looks at the models' files at once.

    Args:
        plan: what is served.
        listening: the socket, which is closed in the end.
        on_ready: called when requests are answered, in the process that answers first.
    """
    if plan.options.n_workers > 1 and not hasattr(os, "fork"):
        raise SettingsError("several workers need a system that can fork; leave out --workers")
    early: list[int] = []
    with _handled(STOP_SIGNALS, lambda number, _: early.append(number)):
        if plan.options.n_workers == 1:
            return _answer(plan, listening, early, on_ready)
        return _Supervisor(plan, listening, early, on_ready).run()


def listen(options: ServerOptions) -> socket.socket:
    """Return a socket that listens where the options say.

    Raises:
        SettingsError: the address is in use, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    own = socket.socket(family, socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((options.host, options.port))
        own.listen(BACKLOG)
    except OSError as error:
        own.close()
        where = f"{options.host}:{options.port}"
        raise SettingsError(f"{where} cannot be listened at: {error.strerror or error}; try another --port") from None
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which would end a server that has not begun to handle it
    return own


def address_of(listening: socket.socket) -> str:
    """Return the address at which a browser reaches a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _answer(
    plan: Plan, listening: socket.socket, early: list[int], on_ready: Callable[[], None], supervisor: int | None = None
) -> int:  # fmt: skip
    """Run the application in this process until a signal ends it.

    Args:
        plan: what is served.
        listening: the socket.
        early: signals that came before they could be handled: connections wait already.
        on_ready: called when requests are answered.
        supervisor: the process that looks at the models' files, and without which this one ends; None if there is none.
    """
    from dataclasses import replace

    from tabcohort.server.app import create_app

    options = plan.options if supervisor is None else replace(plan.options, reload_interval_seconds=0.0)
    app = create_app(plan.store, options, None if plan.log is None else PredictionLog(plan.log), plan.mapping)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="on", ws="none", backlog=BACKLOG,
        timeout_graceful_shutdown=int(GRACE_SECONDS), timeout_keep_alive=30, proxy_headers=False,
    )  # fmt: skip
    gc.collect()
    gc.freeze()  # what is loaded stays, and looking through all of it takes a tenth of a second each time
    _DrainingServer(config, app, early, on_ready, supervisor).run([listening])
    return 0


class _DrainingServer(uvicorn.Server):
    """Shuts down without dropping an accepted request: responses close their connections, idle ones are closed last."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: Any,
        early: list[int],
        on_ready: Callable[[], None],
        supervisor: int | None,
    ) -> None:
        super().__init__(config)
        self._context, self._early, self._on_ready = app.state.context, early, on_ready
        self._accepts_first = True
        self._supervisor = supervisor

    def handle_exit(self, sig: int, frame: Any) -> None:
        """End soon; only SIGTERM lets new connections in for a moment."""
        self._accepts_first = sig == signal.SIGTERM
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM and Ctrl-C end the server, after which the process goes on."""
        with _handled(STOP_SIGNALS, self.handle_exit):
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and to listen to SIGHUP."""
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP") and self._context.options.reload_interval_seconds:  # else another process looks
            from tabcohort.server.app import reload

            loop = asyncio.get_running_loop()
            tasks: set[asyncio.Task[None]] = set()

            def look() -> None:
                task = loop.create_task(reload(self._context))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

            loop.add_signal_handler(signal.SIGHUP, look)

    async def on_tick(self, counter: int) -> bool:
        """Report readiness on the first tick, and stop a worker whose supervisor has died."""
        if counter == 0:
            self._on_ready()
            self._on_ready = lambda: None
            for number in self._early:
                self.handle_exit(number, None)
        is_orphan = self._supervisor is not None and os.getppid() != self._supervisor
        return is_orphan or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the connections, then stop."""
        end = time.monotonic() + GRACE_SECONDS
        middleware = self._context.middleware
        if middleware is not None:
            middleware.is_draining = True
            middleware.is_ending = self._accepts_first
        if self._accepts_first:
            await asyncio.sleep(DRAIN_SECONDS)
        waiting = [connection for listening in sockets or [] for connection in _waiting(listening)]
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._make_protocol, connection)
        await self._until_idle(end)
        self.config.timeout_graceful_shutdown = max(0, int(end - time.monotonic()))
        await super().shutdown(sockets)

    def _make_protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def _until_idle(self, end: float) -> None:
        """Wait until all connections are closed, no request has come for some time, or the time is up.

        Polls are counted and not seconds: on a busy machine requests may have come that have not been read.
        """
        n_idle, before = 0, -1
        while self.server_state.connections and n_idle < IDLE_POLLS and not self.force_exit and time.monotonic() < end:
            await asyncio.sleep(POLL_SECONDS)
            middleware = self._context.middleware
            if middleware is None:
                return
            is_idle = middleware.n_requests == before and not middleware.n_in_flight
            n_idle, before = n_idle + 1 if is_idle else 0, middleware.n_requests


def _waiting(listening: socket.socket) -> list[socket.socket]:
    """Return the connections that the system has accepted and the event loop has not."""
    connections = []
    listening.setblocking(False)
    with contextlib.suppress(OSError):  # there are no more
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            connections.append(connection)
    return connections


class _Supervisor:
    """Keeps processes that answer: they share the memory of the models, as they are forks of one that has loaded them.

    Nothing here may start a thread before it forks: no frame is read.
    """

    def __init__(
        self, plan: Plan, listening: socket.socket, early: list[int], on_ready: Callable[[], None]
    ) -> None:  # fmt: skip
        self._plan, self._listening, self._early, self._on_ready = plan, listening, early, on_ready
        self._start_times: dict[int, float] = {}  # by process id
        self._stopping: set[int] = set()
        self._ends = self._reloads = False  # set by signals
        self._n_early_exits = 0
        self._first: int | None = None  # the process that reports readiness
        self._looked = time.monotonic()

    def run(self) -> int:
        """Watch over the processes until a signal ends them."""
        with _shared_counts() as folder, _handled((*STOP_SIGNALS, signal.SIGHUP), self._handle):
            import tabcohort.server.app  # noqa: F401  once, and not in each process

            self._plan.store.share_errors(folder / "not_loaded.json")
            from tabcohort.server.service_metrics import ServiceMetrics

            self._metrics = ServiceMetrics()
            for _ in range(self._plan.options.n_workers):
                self._fork()
            try:
                while not (self._ends or self._early):
                    self._reap()
                    if self._n_early_exits > MAX_EARLY_EXITS:
                        raise TabcohortError("workers exit right after they start; see above")
                    self._reload_if_changed()
                    time.sleep(POLL_SECONDS)
            finally:
                self._shut_down()
        return 0

    def _fork(self) -> None:
        on_ready = self._on_ready if self._first is None else lambda: None
        sys.stdout.flush()
        sys.stderr.flush()
        supervisor = os.getpid()
        pid = os.fork()
        if pid:
            self._start_times[pid] = time.monotonic()
            self._first = self._first or pid
            return
        status, early = 1, []
        try:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for number in STOP_SIGNALS:
                signal.signal(number, lambda number, _: early.append(number))
            if self._ends:  # by a signal that came after the fork
                early.append(signal.SIGTERM)
            status = _answer(self._plan, self._listening, early, on_ready, supervisor)
        except TabcohortError as error:
            print(f"tabcohort: {error}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        """Replace processes that have ended."""
        from prometheus_client.multiprocess import mark_process_dead

        for pid in list(self._start_times):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            age = time.monotonic() - self._start_times.pop(pid)
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
            if pid in self._stopping:
                self._stopping.discard(pid)
                continue
            is_early = age < MIN_UPTIME_SECONDS
            self._n_early_exits = self._n_early_exits + 1 if is_early else 0
            if pid == self._first and is_early:
                self._first = None  # it may not have reported readiness; the next one does
            print(f"tabcohort: worker {pid} exited and is being restarted", file=sys.stderr, flush=True)
            self._fork()

    def _reload_if_changed(self) -> None:
        """Load models whose files have changed, and replace the processes that have the old ones."""
        asked, self._reloads = self._reloads, False
        if not asked and time.monotonic() - self._looked < self._plan.options.reload_interval_seconds:
            return
        self._looked = time.monotonic()
        store = self._plan.store
        if not (store.changed() or store.errors):
            return
        outcomes = store.reload()
        for outcome in outcomes:
            print(f"tabcohort: {outcome.message}", flush=True)
            self._metrics.count_reload(outcome.label, outcome.is_replaced)
        if any(outcome.is_replaced for outcome in outcomes):
            old = [pid for pid in self._start_times if pid not in self._stopping]
            for _ in old:
                self._fork()
            self._stop(old, signal.SIGINT)  # the others accept what comes

    def _stop(self, pids: list[int], number: int) -> None:
        for pid in pids:
            self._stopping.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _shut_down(self) -> None:
        self._listening.close()
        self._stop(list(self._start_times), signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS + 2 * DRAIN_SECONDS + 1
        while self._start_times and time.monotonic() < end:
            self._reap()
            time.sleep(POLL_SECONDS)
        for pid in self._start_times:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _handle(self, number: int, _: Any) -> None:
        if number == signal.SIGHUP:
            self._reloads = True
        else:
            self._ends = True


@contextlib.contextmanager
def _handled(numbers: Iterable[signal.Signals], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Install a signal handler, and restore the previous ones on exit."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def _shared_counts() -> Iterator[Path]:
    """Create the temporary folder in which workers share metrics, and remove it on exit."""
    with temporary_folder("tabcohort-metrics-") as folder:
        os.environ[MULTIPROCESS_DIR] = str(folder)  # read by prometheus_client when it is imported
        try:
            yield folder
        finally:
            os.environ.pop(MULTIPROCESS_DIR, None)
