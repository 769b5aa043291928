"""What a server bears: requests a second, the time of each, files, ends, swaps, and bodies that are none.

    make serving
    python benchmarks/serving.py load --seconds 300

Parts: `load` (one-record requests on 64 connections, beside a plain FastAPI endpoint and `mlflow models serve`), `csv`
(100,000 rows, beside the command line), `drain` (SIGTERM under load), `swap` (another model file under load), `kill`
(kill -9 of one of two workers), `replay` (10,000 logged predictions), `fuzz` (mutated bodies). All run on this machine
alone, the load generator included.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import gc
import gzip
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop

from tabcohort import Config, Table, load, save
from tabcohort.cohort.fit import fit
from tabcohort.cohort.presets import preset_cohort
from tabcohort.data.sources import load_sample
from tabcohort.settings import CohortSettings

CONNECTIONS = 64
MAX_BASELINE_SECONDS = 60  # of load at most, for the servers that ours is compared with
PLAIN = """
from fastapi import FastAPI
from tabcohort import load
predictor = load({model!r})
app = FastAPI()

@app.post("/predict")
def predict(record: dict[str, float | None]) -> dict[str, object]:
    own = predictor.predict_row(record)
    return {{"label": own.label, "probability": own.probability, "spread": own.spread, "set": own.classes}}
"""


@dataclass
class Counts:
    """What a load generator saw.

    Args:
        seconds: of each answer.
        statuses: number of answers by status.
        versions: number of answers by the version that their header names.
        n_lost: requests that were sent on a connection that was accepted, and never answered.
        n_refused: connections that were refused.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    versions: collections.Counter[str] = field(default_factory=collections.Counter)
    n_lost: int = 0
    n_refused: int = 0
    mismatched: int = 0

    @property
    def n_answered(self) -> int:
        """Answers with status 200."""
        return self.statuses[200]

    def quantile(self, share: float) -> float:
        """Return a quantile of the answers' times, in milliseconds."""
        return float(np.quantile(self.seconds, share) * 1_000) if self.seconds else float("nan")


class Client(asyncio.Protocol):
    """One connection that sends the same request again as soon as it is answered."""

    def __init__(self, request: bytes, counts: Counts, stop: Callable[[], bool]) -> None:
        self._request, self._counts, self._stop = request, counts, stop
        self._buffer = b""
        self.is_waiting = False
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._began, self.is_waiting = time.perf_counter(), True
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, is_complete, body = self._buffer.partition(b"\r\n\r\n")
        if not is_complete:
            return
        lower = head.lower()
        place = lower.find(b"content-length:")
        if len(body) < int(lower[place + 15 :].split(b"\r", 1)[0]):
            return
        counts = self._counts
        counts.seconds.append(time.perf_counter() - self._began)
        counts.statuses[int(head[9:12])] += 1
        place = lower.find(b"x-model-version:")
        if place >= 0:
            version = lower[place + 16 :].split(b"\r", 1)[0].strip().decode()
            counts.versions[version] += 1
            counts.mismatched += f'"version": "{version}"'.encode() not in body
        self._buffer, self.is_waiting = b"", False
        if self._stop() or b"connection: close" in lower:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._counts.n_lost += self.is_waiting
        if not self.closed.done():
            self.closed.set_result(None)


async def load_of(address: str, request: bytes, stop: Callable[[], bool], n: int = CONNECTIONS) -> Counts:
    """Send requests on some connections until it is to stop; connections that are closed are opened again."""
    host, _, port = address.removeprefix("http://").partition(":")
    counts, loop = Counts(), asyncio.get_running_loop()

    async def one() -> None:
        while not stop():
            try:
                _, client = await loop.create_connection(lambda: Client(request, counts, stop), host, int(port))
            except OSError:
                counts.n_refused += 1
                await asyncio.sleep(0.01)
                continue
            await client.closed

    await asyncio.gather(*(one() for _ in range(n)))
    return counts


def request_of(path: str, body: bytes, media_type: str = "application/json") -> bytes:
    """Return a request as it is sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextlib.contextmanager
def running(*command: str, ready: str = "ready") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server, and give it and its address."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow looks for uvicorn there
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PATH": path}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    address, line = "", ""
    for line in process.stdout:
        if ready in line:
            address = next(word for word in line.split() if word.startswith("http://")).rstrip("/;,")
            break
    if not address:
        raise RuntimeError(f"the server does not start: {line.strip()}")
    draining = threading.Thread(target=collections.deque, args=(process.stdout, 0))  # a full pipe would stop it
    draining.start()
    try:
        yield process, address
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        draining.join()
        process.stdout.close()


def serve(*arguments: object) -> contextlib.AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    """Run our server at a free port."""
    return running(sys.executable, "-m", "tabcohort", "serve", *map(str, arguments), "--port", "0")


def memory_of(pid: int) -> float:
    """Return the memory of a process and of those that it has started, in MiB; what they share counts once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("\nPss:")[2].split()[0]) / 1_024 + sum(memory_of(int(child)) for child in children)


def cancer_model(folder: Path) -> tuple[Path, dict[str, float]]:
    """Return the file of the default model of breast cancer, and a record."""
    sample, path = load_sample("breast-cancer"), folder / "cancer.tabcohort"
    table = Table.from_frame(sample.frame, sample.target, positive=sample.positive)
    if not path.exists():
        save(fit(table, *preset_cohort(table, Config(), CohortSettings(preset="default"))), path)
    return path, sample.frame.drop(sample.target).row(0, named=True)


def for_seconds(seconds: float) -> Callable[[], bool]:
    """Return what is true from some seconds on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


# -- parts -----------------------------------------------------------------------------------------------------------


def measure_load(folder: Path, seconds: float, times: int) -> None:
    """One-record requests on 64 connections."""
    model, record = cancer_model(folder)
    others = min(seconds, MAX_BASELINE_SECONDS)
    print(f"{CONNECTIONS} connections, {seconds:g} s, {others:g} s for all but the first")
    print("answers a second, milliseconds, MiB of memory")
    print("| server | s | answered/s | median | p99 | max | not 200 | memory, start | end |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    ours = json.dumps({"records": [record]}).encode()
    with serve(model) as (process, address):
        show_load("tabcohort serve", process, address, request_of("/v1/models/cancer/predict", ours), seconds)
    with serve(model, "--workers", 2) as (process, address):
        show_load("the same, 2 workers", process, address, request_of("/v1/models/cancer/predict", ours), others)
    (folder / "plain.py").write_text(PLAIN.format(model=str(model)), encoding="utf-8")
    command = ["-m", "uvicorn", "--app-dir", str(folder), "--port", "8765", "--no-access-log", "plain:app"]
    with running(sys.executable, *command, ready="running on") as (process, address):
        plain = request_of("/predict", json.dumps(record).encode())
        show_load("plain FastAPI endpoint", process, address, plain, others)
    measure_mlflow(folder, model, record, others)


def show_load(name: str, process: subprocess.Popen[str], address: str, request: bytes, seconds: float) -> None:
    """Print a line on a server under load, after two seconds to warm up."""
    asyncio.run(load_of(address, request, for_seconds(2)))
    before, began = memory_of(process.pid), time.monotonic()
    counts = asyncio.run(load_of(address, request, for_seconds(seconds)))
    took, n_other = time.monotonic() - began, sum(counts.statuses.values()) - counts.n_answered + counts.n_lost
    print(
        f"| {name} | {took:.0f} | {counts.n_answered / took:,.0f} | {counts.quantile(0.5):.1f} | "
        f"{counts.quantile(0.99):.1f} | {counts.quantile(1):.1f} | {n_other} | {before:.0f} | "
        f"{memory_of(process.pid):.0f} |",
        flush=True,
    )


def measure_mlflow(folder: Path, model: Path, record: dict[str, float], seconds: float) -> None:
    """The same model behind `mlflow models serve`, if that runs here."""
    import mlflow

    import tabcohort.mlflow

    os.environ |= {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    mlflow.set_tracking_uri((folder / "runs").as_uri())
    with mlflow.start_run():
        info = tabcohort.mlflow.log_model(load(model), "cancer")
    command = ["-m", "mlflow", "models", "serve", "-m", info.model_uri, "-p", "8766", "--env-manager", "local"]
    environment = {"MLFLOW_TRACKING_URI": (folder / "runs").as_uri()}
    os.environ |= environment
    try:
        with running(sys.executable, *command, "-w", "1", ready="running on") as (process, address):
            body = json.dumps({"dataframe_records": [record]}).encode()
            show_load(
                "mlflow models serve",
                process,
                address,
                request_of("/invocations", body),
                seconds,
            )
    except (OSError, RuntimeError) as error:
        print(f"mlflow models serve does not run here: {error}")


def measure_csv(folder: Path, seconds: float, times: int) -> None:
    """100,000 rows as one CSV, in turn on the command line and by a request."""
    model, _ = cancer_model(folder)
    sample = load_sample("breast-cancer")
    rows = np.random.default_rng(0).integers(0, len(sample.frame), 100_000)
    table = folder / "rows.csv"
    sample.frame.drop(sample.target)[rows].write_csv(table)
    ratios = []
    with serve(model) as (_, address):
        for _ in range(3):
            began = time.perf_counter()
            command = [sys.executable, "-m", "tabcohort", "predict", str(model), str(table), "--quiet", "--out"]
            subprocess.run([*command, str(folder / "cli.csv")], check=True)
            alone = time.perf_counter() - began
            began = time.perf_counter()
            curl = [
                "curl",
                "-sf",
                "-H",
                "content-type: text/csv",
                "--data-binary",
                f"@{table}",
                "-o",
                str(folder / "http.csv"),
            ]
            subprocess.run([*curl, f"{address}/v1/models/cancer/predict"], check=True)
            took = time.perf_counter() - began
            ratios.append(took / alone)
            is_equal = (folder / "cli.csv").read_bytes() == (folder / "http.csv").read_bytes()
            print(f"command line {alone:.2f} s, request {took:.2f} s, equal bytes: {is_equal}", flush=True)
    print(f"request / command line: {np.median(ratios):.2f}")


def measure_drain(folder: Path, seconds: float, times: int) -> None:
    """SIGTERM under load: requests that were accepted and not answered."""
    model, record = cancer_model(folder)
    request = request_of("/v1/models/cancer/predict", json.dumps({"records": [record]}).encode())
    lost = answered = other = 0
    for number in range(times):
        with serve(model) as (process, address):

            async def under_load(process: subprocess.Popen[str] = process, address: str = address) -> Counts:
                loading = asyncio.create_task(load_of(address, request, lambda: process.poll() is not None, 16))
                await asyncio.sleep(0.3 + random.random() * 0.2)
                process.send_signal(signal.SIGTERM)
                return await loading

            counts = asyncio.run(under_load())
        lost, answered = lost + counts.n_lost, answered + counts.n_answered
        other += sum(counts.statuses.values()) - counts.n_answered
        if (number + 1) % 10 == 0:
            print(f"{number + 1} times SIGTERM: {answered:,} answered, {other} other statuses, {lost} lost", flush=True)


def measure_swap(folder: Path, seconds: float, times: int) -> None:
    """Another model file under load: errors, and answers of each version."""
    model, record = cancer_model(folder)
    served, other = folder / "served.tabcohort", folder / "other.tabcohort"
    save(load(model).with_decision_rule(0.3), other)
    shutil.copy(model, served)
    request = request_of("/v1/models/served/predict", json.dumps({"records": [record]}).encode())
    for workers in (1, 2):
        with serve(served, "--workers", workers) as (process, address):

            async def under_load(
                process: subprocess.Popen[str] = process, address: str = address, pause: float = 0.75 * workers - 0.5
            ) -> Counts:
                n_swaps = 0
                loading = asyncio.create_task(load_of(address, request, lambda: n_swaps >= times, 16))
                for number in range(times):
                    temporary = served.with_suffix(".new")
                    shutil.copy(other if number % 2 == 0 else model, temporary)
                    os.replace(temporary, served)
                    process.send_signal(signal.SIGHUP)
                    await asyncio.sleep(pause)
                    n_swaps += 1
                return await loading

            counts = asyncio.run(under_load())
        bad = sum(counts.statuses.values()) - counts.n_answered
        print(
            f"{times} swaps, {workers} worker{'s' * (workers > 1)}: {counts.n_answered:,} answered, {bad} errors, "
            f"{counts.n_lost} lost, "
            f"versions {dict(counts.versions)}, {counts.mismatched} answers of another version than their header says",
            flush=True,
        )


def measure_kill(folder: Path, seconds: float, times: int) -> None:
    """kill -9 of one of two workers under load: how long until there are two again."""
    model, record = cancer_model(folder)
    request = request_of("/v1/models/cancer/predict", json.dumps({"records": [record]}).encode())
    with serve(model, "--workers", 2) as (process, address):
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        took: list[float] = []

        async def under_load() -> Counts:
            loading = asyncio.create_task(load_of(address, request, lambda: len(took) == 10, 16))
            for _ in range(10):
                await asyncio.sleep(1.5)
                before = set(path.read_text().split())
                os.kill(int(sorted(before)[0]), signal.SIGKILL)
                began = time.monotonic()
                while len(now := set(path.read_text().split())) < 2 or now == before:
                    await asyncio.sleep(0.01)
                new = (now - before).pop()
                while not _answers(address, new):
                    await asyncio.sleep(0.01)
                took.append(time.monotonic() - began)
            return await loading

        counts = asyncio.run(under_load())
    print(
        f"10 times kill -9: replaced after {np.median(took):.2f} s (at most {max(took):.2f}), "
        f"{counts.n_answered:,} answered, {counts.n_lost} lost with the killed process"
    )


def _answers(address: str, pid: str) -> bool:
    """Return whether a process has begun to answer: it then has threads, or an event loop's descriptors."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{own}") for own in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any("eventpoll" in link for link in links)


def measure_replay(folder: Path, seconds: float, times: int) -> None:
    """10,000 predictions that are logged and repeated."""
    model, _ = cancer_model(folder)
    frame = load_sample("breast-cancer").frame.drop("diagnosis")
    log = folder / "log"
    shutil.rmtree(log, ignore_errors=True)
    rng = np.random.default_rng(0)
    import urllib.request

    with serve(model, "--log", log, "--log-records") as (_, address):
        for _ in range(1_000):
            rows = frame[rng.integers(0, len(frame), 10).tolist()].to_dicts()
            body = json.dumps({"records": rows}).encode()
            request = urllib.request.Request(
                f"{address}/v1/models/cancer/predict", body, {"content-type": "application/json"}
            )
            urllib.request.urlopen(request).read()
    subprocess.run([sys.executable, "-m", "tabcohort", "replay", str(log), str(model)], check=True)


def measure_fuzz(folder: Path, seconds: float, times: int) -> None:
    """Mutated bodies of every format, in this process: statuses, and the memory that they leave."""
    from starlette.testclient import TestClient

    from tabcohort.server.app import create_app
    from tabcohort.server.model_store import ModelStore
    from tabcohort.server.options import ServerOptions

    warnings.simplefilter("ignore")
    gc.enable()  # here the server is in this process, and what it leaves must be collected
    model, record = cancer_model(folder)
    frame = load_sample("breast-cancer").frame.drop("diagnosis")[:20]
    seeds = [("application/json", json.dumps({"records": [record]}).encode(), None)]
    for media_type, write in (
        ("text/csv", frame.write_csv), ("application/vnd.apache.parquet", frame.write_parquet),
        ("application/vnd.apache.arrow.stream", frame.write_ipc_stream),
        ("application/vnd.apache.arrow.file", frame.write_ipc),
    ):  # fmt: skip
        file = io.BytesIO()
        write(file)
        seeds.append((media_type, file.getvalue(), None))
    seeds.append(("text/csv", gzip.compress(frame.write_csv().encode()), "gzip"))
    app = create_app(
        ModelStore({"cancer": model}), ServerOptions(reload_interval_seconds=0, max_body_bytes=2**20, max_rows=10_000)
    )
    rng, statuses = random.Random(0), collections.Counter()
    before = memory_of(os.getpid())
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        for number in range(times):
            media_type, body, encoding = seeds[number % len(seeds)]
            headers = {"content-type": media_type, **({"content-encoding": encoding} if encoding else {})}
            answer = client.post("/v1/models/cancer/predict", content=mutated(body, rng), headers=headers)
            statuses[media_type, answer.status_code] += 1
            if answer.status_code >= 500:
                print("5xx", media_type, number, answer.text[:200])
            if (number + 1) % 20_000 == 0:
                print(f"{number + 1:,} bodies, {memory_of(os.getpid()):.0f} MiB", flush=True)
    print({f"{media_type} {status}": count for (media_type, status), count in sorted(statuses.items())})
    n_failed = sum(count for (_, status), count in statuses.items() if status >= 500)
    print(f"memory {before:.0f} -> {memory_of(os.getpid()):.0f} MiB; 5xx: {n_failed}")


def mutated(body: bytes, rng: random.Random) -> bytes:
    """Return a body with some bytes changed, a part cut out, doubled or replaced."""
    own = bytearray(body)
    kind = rng.randrange(5)
    if kind == 0:
        for _ in range(rng.choice((1, 2, 4, 16))):
            own[rng.randrange(len(own))] = rng.randrange(256)
    elif kind == 1:
        del own[rng.randrange(len(own)) :]
    else:
        start = rng.randrange(len(own))
        stop = min(len(own), start + rng.choice((1, 4, 16, 200)))
        words = (
            b"",
            own[start:stop] * 2,
            b"NaN",
            b"1e999",
            b"[" * 50,
            b'"\\ud800"',
            b"\x00",
            b"null",
            b"-",
            b"\xff\xff\xff\x7f",
        )
        own[start:stop] = rng.choice(words)
    return bytes(own)


PARTS = {
    "load": measure_load, "csv": measure_csv, "drain": measure_drain, "swap": measure_swap, "kill": measure_kill,
    "replay": measure_replay, "fuzz": measure_fuzz,
}  # fmt: skip


def main() -> None:
    """Measure the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="all if none is named")
    parser.add_argument("--seconds", type=float, default=60, help="of load, for each server")
    parser.add_argument("--times", type=int, default=20, help="SIGTERMs, swaps; a thousand times as many bodies")
    options = parser.parse_args()
    uvloop.install()
    gc.disable()  # of the load generator, whose pauses would be the server's
    with tempfile.TemporaryDirectory() as folder:
        for name in options.parts or PARTS:
            print(f"\n{name}: {(PARTS[name].__doc__ or '').strip()}", flush=True)
            PARTS[name](Path(folder), options.seconds, options.times * (1_000 if name == "fuzz" else 1))


if __name__ == "__main__":
    main()
