"""How long the first commands take on a fresh installation, and the same commands after them.

    make cold-start

Each command runs with an empty folder of machine code, and again with what the first run left there. Memory and disk
caches are warm both times, and so is Python's own cache of the modules. The table shows seconds by the clock, seconds
of CPU time of all processes, and the ratio of both runs by the clock.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = ["fit", "sample:breast-cancer", "--out"]


def timed(arguments: list[str], machine_code: Path) -> tuple[float, float]:
    """Return the seconds that a command takes by the clock, and its CPU seconds with those of its child processes."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(machine_code)}
    command = [sys.executable, "-m", "tabcohort", *arguments]
    before, began = _cpu_seconds(), time.perf_counter()
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if run.returncode:
        sys.exit(run.stderr)
    return seconds, _cpu_seconds() - before


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def write_row(path: Path) -> None:
    """Write the first row of the sample as a CSV file."""
    import tabcohort

    tabcohort.load_sample("breast-cancer").frame.head(1).write_csv(path)


def main() -> None:
    """Time each command cold and warm."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model, row = str(place / "model.tabcohort"), place / "row.csv"
        write_row(row)
        commands = {
            "fit --model logistic": [*TRAIN, model, "--model", "logistic"],
            "predict": ["predict", model, str(row)],
            "fit": [*TRAIN, str(place / "another.tabcohort")],
            "info": ["info", model],
        }
        print(f"{'command':<22} {'first':>8} {'CPU':>8} {'again':>8} {'CPU':>8} {'ratio':>7}", flush=True)
        for number, (name, arguments) in enumerate(commands.items()):
            (first, cpu), (again, cpu_again) = (timed(arguments, place / str(number)) for _ in range(2))
            print(
                f"{name:<22} {first:7.1f}s {cpu:7.1f}s {again:7.1f}s {cpu_again:7.1f}s {first / again:7.1f}", flush=True
            )


if __name__ == "__main__":
    main()
