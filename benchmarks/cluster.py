"""A Ray cluster of three nodes on this machine: equal bits, lost nodes, overhead, and a model of larger clusters.

    make cluster            all of it (twenty minutes)
    python benchmarks/cluster.py equal | kill | overhead | grid | model

The model is list scheduling of measured members on nodes of 16 cores, with the measured cost of a task, of starting a
worker and of moving the table; a share of the nodes is slow. See docs/guide/cluster.md.
"""

from __future__ import annotations

import heapq
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own default lets workers give way to everything else
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # of the three nodes, which listen at this machine only
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from ray.cluster_utils import Cluster

from tabcohort import CohortSettings, Config, Predictor, RayExecutor, Table, fit
from tabcohort.cluster.ray_executor import _Dispatcher
from tabcohort.cohort.executors import Executor, ThreadExecutor
from tabcohort.cohort.search import grid
from tabcohort.reproduce.patent import N_TRAIN
from tabcohort.reproduce.patent_grid import BASE, GRID
from tabcohort.reproduce.patent_pairs import patent_pairs

N_KILLS, N_ROUNDS = 20, 9
CORES_PER_NODE = 16
NODES = (1, 4, 16, 64)
N_ROWS, N_TASKS = 3_000, 300
SLOW_SHARE, SLOW_FACTOR = 0.02, 2.0  # of nodes: they take twice as long
NETWORK_BYTES_PER_SECOND = 125e6  # 1 Gbit/s


def table_of(n_rows: int) -> Table:
    """Return synthetic pairs of the patent experiment."""
    pairs = patent_pairs(n_rows, seed=0)
    return Table.from_arrays(pairs.X, pairs.y)


def same(one: Predictor, other: Predictor) -> bool:
    """Return whether two models have the same weights and out-of-fold predictions, to the bit."""
    arrays = [
        [array.tobytes() for model in predictor.models for array in model.named().values()]
        + [predictor.out_of_fold.log_proba.tobytes(), repr((predictor.calibrator, predictor.members)).encode()]
        for predictor in (one, other)
    ]
    return arrays[0] == arrays[1]


def three_nodes(cores: Sequence[int] = (1, 1, 1)) -> Cluster:
    """Return a cluster of nodes with so many cores, to which this process is connected."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cores[0], "include_dashboard": False})
    for number in cores[1:]:
        cluster.add_node(num_cpus=number)
    ray.init(cluster.address, log_to_driver=False, logging_level="error")
    return cluster


def quick_grid() -> list[Config]:
    """Return eight configs of the patent grid with few epochs, of which halving drops some."""
    return [replace(config, max_epochs=12) for config in grid(GRID, BASE)[::7]]


def equal() -> None:
    """Train one grid in threads and on three nodes."""
    table, settings = table_of(1_000), CohortSettings(folds=3, seeds=1)
    expected = fit(table, quick_grid(), settings)
    cluster = three_nodes()
    print("equal bits on three nodes:", same(fit(table, quick_grid(), settings, executor=RayExecutor()), expected))
    end(cluster)


def kill() -> None:
    """Kill a node while a grid is tuned, again and again: the one that has been there longest, and so is at work."""
    configs = [replace(config, max_epochs=40, patience=None) for config in quick_grid()]
    table, settings = table_of(1_500), CohortSettings(folds=3, seeds=1)
    expected = fit(table, configs, settings)
    cluster, rng, n_equal, n_lost = three_nodes(), random.Random(0), 0, 0
    nodes, lost, executor = list(cluster.worker_nodes), counted_losses(), RayExecutor()
    seconds = 0.0
    for number in range(N_KILLS + 2):
        is_warm, began = number >= 2, time.perf_counter()  # workers start in the first run, and the second is timed
        delay = rng.uniform(0.1, 0.7) * seconds if is_warm else 0.0
        killer = threading.Timer(delay, cluster.remove_node, (nodes[0],), {"allow_graceful": False})
        if is_warm:
            killer.start()
        predictor = fit(table, configs, settings, executor=executor)
        took = time.perf_counter() - began
        seconds = seconds if is_warm else took
        if is_warm:
            killer.join()
            n_equal, n_lost = n_equal + same(predictor, expected), n_lost + bool(lost)
            print(f"kill {number - 1}: after {delay:.1f} of {took:.1f} s, lost {lost}, {n_equal} equal results",
                  flush=True)  # fmt: skip
            lost.clear()
            nodes = [*nodes[1:], cluster.add_node(num_cpus=1)]
    print(f"a node killed {N_KILLS} times: {n_equal} equal results; tasks were lost in {n_lost} of the runs")
    end(cluster)


def counted_losses() -> list[str]:
    """Return a list that from now on grows by each task that is lost with its worker or node."""
    lost: list[str] = []
    finish = _Dispatcher._finish

    def counting(self: _Dispatcher, block: Any) -> None:
        if block.done.exception() is not None:
            lost.append(type(block.done.exception()).__name__)
        finish(self, block)

    _Dispatcher._finish = counting  # type: ignore[method-assign]
    return lost


def overhead(n_configs: int = 6, n_rounds: int = N_ROUNDS) -> None:
    """Time a part of the patent grid in threads and on a cluster of the same cores, in turns."""
    configs = grid(GRID, BASE)[:: 54 // n_configs][:n_configs]
    table, settings = table_of(N_ROWS), CohortSettings(folds=3, seeds=1, halving=False)
    n_cores = len(os.sched_getaffinity(0))
    cluster = three_nodes((1,) * n_cores)
    executors: dict[str, Executor] = {"threads": ThreadExecutor(n_cores), "cluster": RayExecutor()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in executors}
    for number in range(n_rounds + 1):
        for name in list(executors)[:: 1 if number % 2 else -1]:
            began, used = time.perf_counter(), cpu_seconds()
            fit(table, configs, settings, executor=executors[name])
            times[name].append((time.perf_counter() - began, cpu_seconds() - used))
            print(f"{name}: {times[name][-1][0]:.1f} s, of CPUs {times[name][-1][1]:.1f} s", flush=True)
    pairs = list(zip(times["threads"], times["cluster"], strict=True))[1:]  # the first round starts the workers
    for place, what in enumerate(("seconds", "seconds of CPUs, of all processes of Ray, too")):
        ratios = sorted(there[place] / here[place] for here, there in pairs)
        print(
            f"cluster / threads, {n_cores} cores, {3 * n_configs} members, {what}: median "
            f"{statistics.median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}, {n_rounds} rounds"
        )
    end(cluster)


def whole_grid() -> None:
    """Time the whole patent grid in threads and on a cluster of the same cores, in turns."""
    overhead(n_configs=54, n_rounds=3)


def cpu_seconds() -> float:
    """Return the time that all processes of this session have used, which those of Ray belong to (Linux)."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[3]) == os.getsid(0) else 0
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Costs:
    """What was measured, in seconds and bytes.

    Args:
        task: from submitting an empty task to its result.
        driver: of the driver's CPU for each task and its result of the size of a network.
        start: of a worker that imports this package and loads the kernels.
        table: bytes of the table and the plan.
        members: seconds of a core for each member of the patent grid.
    """

    task: float
    driver: float
    start: float
    table: float
    members: tuple[float, ...]


def _empty(payload: bytes) -> bytes:
    return payload


def _first_import() -> float:
    began = time.perf_counter()
    from tabcohort.engines.compiled.engine import compile_kernels

    compile_kernels("float32")
    return time.perf_counter() - began


def measure() -> Costs:
    """Return what the model needs."""
    table = table_of(N_ROWS)
    configs = grid(GRID, BASE)[::9]
    predictor = fit(table, configs, CohortSettings(folds=3, seeds=1, halving=False, threads=1))
    members = tuple(member.history[-1].seconds for member in predictor.report.members)
    cluster = three_nodes()
    start = ray.get(ray.remote(_first_import).remote())
    empty = ray.remote(_empty)
    ray.get([empty.remote(b"") for _ in range(50)])
    result = bytes(4 * predictor.models[0].parameters.size)
    times = []
    used = time.process_time()
    for _ in range(N_TASKS):
        began = time.perf_counter()
        ray.get(empty.remote(result))
        times.append(time.perf_counter() - began)
    driver = (time.process_time() - used) / N_TASKS
    end(cluster)
    return Costs(statistics.median(times), driver, start, 12.0 * table.numbers.size, members)


def makespan(costs: Costs, members: Sequence[float], n_nodes: int, seconds_of_block: float = 2.0) -> float:
    """Return how long a run takes on so many nodes, by list scheduling: the longest member first, as blocks.

    One node is threads on this machine: no task, no start, no transfer, and none of it is slow.
    """
    n_workers = n_nodes * CORES_PER_NODE
    is_cluster = n_nodes > 1
    rng = np.random.default_rng(0)
    slow = rng.random(n_nodes) < SLOW_SHARE if is_cluster else np.zeros(n_nodes, bool)
    ready = costs.start + costs.table / NETWORK_BYTES_PER_SECOND if is_cluster else 0.0
    free = [(ready, worker) for worker in range(n_workers)]
    heapq.heapify(free)
    waiting, driver, place, end_ = sorted(members, reverse=True), 0.0, 0, 0.0
    while place < len(waiting):
        at, worker = heapq.heappop(free)
        n_items = (len(waiting) - place) // (2 * n_workers) + 1 if is_cluster else 1
        block = [waiting[place]]
        while len(block) < n_items and place + len(block) < len(waiting) and sum(block) < seconds_of_block:
            block.append(waiting[place + len(block)])
        place += len(block)
        if is_cluster:  # the driver sends blocks and takes their results one after another
            driver = max(driver, at) + costs.driver * len(block)
            at = driver + costs.task
        done = at + sum(block) * (SLOW_FACTOR if slow[worker // CORES_PER_NODE] else 1.0)
        heapq.heappush(free, (done, worker))
        end_ = max(end_, done)
    return end_


def model(costs: Costs | None = None) -> None:
    """Print the predicted speed-ups over one node of 16 cores."""
    costs = costs or measure()
    print(
        f"measured: a task {1e3 * costs.task:.1f} ms, of which {1e3 * costs.driver:.2f} ms are the driver's, a worker "
        f"{costs.start:.1f} s to start, the table {costs.table / 1e6:.1f} MB, members of {min(costs.members):.2f} to "
        f"{max(costs.members):.2f} s (mean {statistics.mean(costs.members):.2f})"
    )
    rng = np.random.default_rng(1)
    full = N_TRAIN / N_ROWS  # times grow with the rows
    runs = {
        f"54 x 3 grid, {N_ROWS:,} rows": rng.choice(costs.members, 162),
        f"54 x 3 grid, {N_TRAIN:,} rows": full * rng.choice(costs.members, 162),
        f"10,000 members, {N_ROWS:,} rows": rng.choice(costs.members, 10_000),
        f"10,000 members, {N_TRAIN:,} rows": full * rng.choice(costs.members, 10_000),
    }
    for name, members in runs.items():
        alone = makespan(costs, list(members), 1)
        print(f"{name}: {alone:,.1f} s on one node of {CORES_PER_NODE} cores")
        for n_nodes in NODES[1:]:
            seconds = makespan(costs, list(members), n_nodes)
            print(f"  {n_nodes:3} nodes: {seconds:8.1f} s, speed-up {alone / seconds:5.1f}")


def end(cluster: Cluster) -> None:
    """End a cluster, and the connection to it."""
    ray.shutdown()
    cluster.shutdown()


PARTS: dict[str, Callable[[], None]] = {
    "equal": equal,
    "kill": kill,
    "overhead": overhead,
    "grid": whole_grid,
    "model": model,
}


def main() -> None:
    """Run the parts that are named, or all."""
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
