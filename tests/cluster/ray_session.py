"""Runs everything that needs a cluster in one session of Ray, apart from the process of the tests, and prints facts.

Usage: ray_session.py FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from helpers import SMALL, assert_same, config_of, table_of

import tabcohort
from tabcohort import CohortSettings, EngineError, RayExecutor, RunProgress, fit
from tabcohort.cluster.batch_prediction import find_shards, predict_shards
from tabcohort.cohort.interrupts import interrupted_by_sigterm
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import Member
from tabcohort.cohort.runner import run_members
from tabcohort.training.loop import EpochCallback, TrainingState

ONE_THREAD = CohortSettings(folds=3, seeds=1, threads=1)


def equal_bits(executor: RayExecutor, folder: Path) -> None:
    table = table_of()
    configs = [config_of(max_epochs=8, dropout=0.2, batch_size=16), config_of(model="trees", max_epochs=5)]
    assert_same(fit(table, configs, SMALL, executor=executor), fit(table, configs, ONE_THREAD))


def halving(executor: RayExecutor, folder: Path) -> list[int | None]:
    table = table_of(60)
    rates = (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)
    configs = [config_of(learning_rate=rate, max_epochs=9, dropout=0.2) for rate in rates]
    predictor = fit(table, configs, SMALL, executor=executor)
    assert_same(predictor, fit(table, configs, ONE_THREAD))
    return [report.dropped_after for report in predictor.report.configs]


def checkpoint(executor: RayExecutor, folder: Path) -> list[Any]:
    """Interrupt a run that writes to a URL by SIGTERM, which Ray must not handle, and resume it in threads."""
    url, table, config = f"file://{folder / 'kept'}", table_of(3_000), config_of(max_epochs=2_000)

    pressed: list[bool] = []

    def interrupt(progress: RunProgress) -> None:
        if progress.n_epochs > 3 and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = fit(table, config, SMALL, interrupt, url, executor)
        second = fit(table, config, SMALL, checkpoint=url)
    assert_same(second, fit(table, config, SMALL))
    return [first.report.stop_reason, sorted(str(warning.message).partition(":")[0] for warning in caught)]


def crashes(executor: RayExecutor, folder: Path) -> Any:
    """Train members of which one ends its worker whenever it is tried."""
    members = [Member(0, 0, fold, fold, 1.0) for fold in range(4)]
    try:
        run_members(members, Crashes(folder / "tried"), CohortSettings(), 3, executor=executor)
    except EngineError as error:
        return [(folder / "tried").read_text(encoding="utf-8"), str(error)]


class Crashes:
    """Trains nothing, and ends the process of the third member."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        if member.fold == 2:
            with self.file.open("a", encoding="utf-8") as file:
                file.write("tried ")
            os._exit(1)
        from fake_training import FakeTraining

        return FakeTraining(max_epochs=3)(member, resume_from, callback)


def shards(executor: RayExecutor, folder: Path) -> list[Any]:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(size=90), "b": rng.normal(size=90), "city": rng.choice(["Oslo", "Rome"], 90)})
    target = frame.with_columns(y=pl.when(pl.col("a") > 0).then(pl.lit("yes")).otherwise(pl.lit("no")))
    predictor = fit(tabcohort.Table.from_frame(target, "y"), config_of(), SMALL)
    (folder / "rows").mkdir()
    for number in range(3):
        frame[30 * number : 30 * number + 30].write_parquet(folder / "rows" / f"part-{number}.parquet")
    found = find_shards(str(folder / "rows"), str(folder / "predicted"))
    counts: list[int] = []
    n_rows = predict_shards(predictor, found, "all", counts.append)
    written = sorted((folder / "predicted").iterdir())
    together = pl.concat([pl.read_parquet(path) for path in written])
    expected = predictor.predict_frame(frame, frame.columns).with_columns(pl.col("set").list.join("|"))
    assert together.equals(expected)
    frame.drop("b").write_parquet(folder / "rows" / "part-3.parquet")
    try:
        predict_shards(predictor, find_shards(str(folder / "rows"), str(folder / "predicted")), None)
    except tabcohort.TabcohortError as error:
        return [n_rows, counts, [path.name for path in written], str(error)]
    return []


SCENARIOS: tuple[Callable[[RayExecutor, Path], Any], ...] = (equal_bits, halving, checkpoint, crashes, shards)


def main() -> None:
    executor = RayExecutor("local", 2)
    import ray

    facts: dict[str, Any] = {
        "n_workers": executor.n_workers,
        "hosts": sorted({node["NodeManagerAddress"] for node in ray.nodes()}),
        "auth": os.environ.get("RAY_AUTH_MODE"),
        "usage": os.environ.get("RAY_USAGE_STATS_ENABLED"),
    }
    for scenario in SCENARIOS:
        began = time.perf_counter()
        facts[scenario.__name__] = scenario(executor, Path(sys.argv[1]))
        print(f"{scenario.__name__}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
    print(json.dumps(facts))


if __name__ == "__main__":
    with interrupted_by_sigterm():
        main()
