"""What it costs to record a training, and to show it on a page that is asked for its events.

    make watching

The same cohort of one config with and without an observer, in turns in one process, five times after a first; medians
of the time of `fit`, and of the CPU time of the process. The page is asked every 0.7 seconds, as a browser does.
`adult` (4,000 of its rows) needs the folder that TABCOHORT_DATA names.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import threading
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path

from real_tables import whole_tables
from rich.console import Console
from rich.progress import track
from rich.table import Table as Printed

from tabcohort import CohortSettings, Config, LivePage, Table, TrainingObserver, TrainingRecorder, fit

REPEATS = 5
SETTINGS = CohortSettings(folds=4, seeds=1)
N_ROWS = {"breast-cancer": None, "adult": 4_000}
SECONDS_BETWEEN = 0.7


@contextlib.contextmanager
def asked_page() -> Iterator[LivePage]:
    """A page whose events are asked for while the context lasts."""
    is_over = threading.Event()
    with LivePage() as page:

        def ask() -> None:
            while not is_over.wait(SECONDS_BETWEEN):
                urllib.request.urlopen(page.address.replace("/?", "/events?run=0&from=0&")).read()

        asking = threading.Thread(target=ask)
        asking.start()
        yield page
        is_over.set()
        asking.join()


def seconds_of(table: Table, config: Config, observer: TrainingObserver | None) -> tuple[float, float]:
    """Return how long a cohort takes, and its CPU time."""
    began, cpu_began = time.perf_counter(), time.process_time()
    fit(table, config, SETTINGS, observer=observer)
    return time.perf_counter() - began, time.process_time() - cpu_began


def measure(name: str, table: Table, config: Config, out: Printed) -> None:
    """Add a row on a table."""
    times: dict[str, list[tuple[float, float]]] = {"plain": [], "recorded": [], "shown": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        for _ in track(range(REPEATS + 1), name):
            times["plain"].append(seconds_of(table, config, None))
            times["recorded"].append(seconds_of(table, config, TrainingRecorder(path)))
            with asked_page() as page:
                times["shown"].append(seconds_of(table, config, page))
        n_kib = path.stat().st_size / 1024
    wall, cpu = (
        {kind: statistics.median(pair[i] for pair in of_kind[1:]) for kind, of_kind in times.items()} for i in (0, 1)
    )
    ratios = [f"{medians[kind] / medians['plain']:.2f}" for kind in ("recorded", "shown") for medians in (wall, cpu)]
    out.add_row(name, f"{wall['plain']:.2f} s", *ratios, f"{n_kib:,.0f} KiB")


def main() -> None:
    """Measure each table."""
    warnings.simplefilter("ignore")
    columns = ("table", "fit", "recorded", "CPU", "on a page", "CPU", "recording")
    out = Printed(*columns, title="times beside those without an observer")
    for table in whole_tables():
        if table.name in N_ROWS:
            frame = table.frame.sample(N_ROWS[table.name] or len(table.frame), seed=0, shuffle=True)
            measure(table.name, Table.from_frame(frame, table.target), Config(max_epochs=20, patience=None), out)
    Console(width=110).print(out)


if __name__ == "__main__":
    main()
