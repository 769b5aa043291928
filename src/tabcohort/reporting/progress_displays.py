"""What the terminal shows while something takes long: training, the passes over a large table, a report."""

from __future__ import annotations

import math
import time
from importlib.util import find_spec
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tabcohort.cohort.progress import RunProgress
from tabcohort.data.parquet_files import ReadingProgress
from tabcohort.model.report_progress import ReportProgress, Stage
from tabcohort.reporting.plain_text import counted

SECONDS_BETWEEN_UPDATES, SECONDS_BETWEEN_LINES = 0.1, 2.0  # of a live bar, and where there is none


class _Display:
    """A live bar in a terminal or a notebook, and a line every two seconds elsewhere.

    Args:
        name: of what is shown, before the bar.
        console: where to; in a notebook a live bar needs ipywidgets.
    """

    def __init__(self, name: str, console: Console) -> None:
        self.console = console
        can_be_live = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
        self._is_live = can_be_live and not console.quiet
        self._shown = time.perf_counter()
        # Warnings go above the bar. Results do not: standard output may be a file.
        self._bar = Progress(
            TextColumn(name), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"),
            console=console, transient=True, disable=not self._is_live, redirect_stdout=False,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def _is_time_to_show(self) -> bool:
        """Return whether the last line was shown long enough ago."""
        now = time.perf_counter()
        if now - self._shown < (SECONDS_BETWEEN_UPDATES if self._is_live else SECONDS_BETWEEN_LINES):
            return False
        self._shown = now
        return True

    def _show(self, n_done: float, n_all: int, line: str) -> None:
        if self._is_live:
            self._bar.start()  # not before: what is over at once shows no bar
            self._bar.update(self._task, total=n_all, completed=n_done, description=line)
        else:
            self.console.print(line)


class ProgressDisplay(_Display):
    """Shows a cohort's training: a live bar in a terminal or a notebook, a line every two seconds elsewhere.

    Use it as a context manager around training, and give it to `fit` as `callback`.

    Args:
        console: where to; in a notebook a live bar needs ipywidgets.
    """

    def __init__(self, console: Console) -> None:
        super().__init__("training", console)

    def __enter__(self) -> Self:
        self._bar.start()  # the first epoch may take long
        return super().__enter__()

    def __call__(self, progress: RunProgress) -> None:
        """Show a line if the last one was shown long enough ago, or training is over; before it, what it will take."""
        if progress.n_epochs == 0:
            self.console.print(describe_price(progress))
            return
        line = describe_progress(progress)
        if progress.n_done == progress.n_members and progress.seconds >= SECONDS_BETWEEN_LINES:
            self._show(progress.n_done, progress.n_members, f"{line}  weighing and calibrating them")
        elif self._is_time_to_show():
            self._show(progress.n_done, progress.n_members, line)


class ReadingDisplay(_Display):
    """Shows a pass over the rows of a large table: a live bar in a terminal or a notebook, lines elsewhere.

    Use it as a context manager around what reads, and give it the progress as a callback.

    Args:
        console: of standard error.
    """

    def __init__(self, console: Console) -> None:
        super().__init__("table", console)
        self._start, self._began = ReadingProgress("", 0, 0), time.perf_counter()

    def __call__(self, progress: ReadingProgress) -> None:
        """Show how far a pass is if the last line was shown long enough ago."""
        if progress.stage != self._start.stage:
            self._start, self._began = progress, time.perf_counter()
        if self._is_time_to_show():
            line = describe_reading(progress, self._start, time.perf_counter() - self._began)
            self._show(progress.n_done, progress.n_all, line if self._is_live else f"table    {line}")


class ReportDisplay(_Display):
    """Shows how far the facts of a report are: a live bar in a terminal or a notebook, and nothing elsewhere.

    Use it as a context manager, and give it to `report_facts` as `callback`.

    Args:
        console: of standard error.
    """

    def __init__(self, console: Console) -> None:
        super().__init__("report", console)

    def __call__(self, progress: ReportProgress) -> None:
        """Show the stage, and how far it is."""
        done = list(Stage).index(progress.stage) + progress.n_done / progress.n_parts
        if self._is_live and self._is_time_to_show():
            self._show(done, len(Stage), str(progress.stage))


class ProgressLog:
    """Says on standard error how far a cohort is whenever a member has been trained.

    Use it as `ProgressDisplay`.

    Args:
        console: of standard error.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._n_done = 0

    def __enter__(self) -> ProgressLog:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is left to do."""

    def __call__(self, progress: RunProgress) -> None:
        """Print a line if more members are trained than in the last one; before training, what it will take."""
        if progress.n_epochs == 0:
            self.console.print(describe_price(progress))
        if progress.n_done > self._n_done:
            self._n_done = progress.n_done
            self.console.print(describe_progress(progress))


def describe_price(progress: RunProgress) -> str:
    """Return one line on what is going to be trained, and how long that takes by estimate."""
    configs = f" of {progress.n_configs} configs on the same folds" if progress.n_configs > 1 else ""
    takes = "" if math.isnan(progress.seconds_left) else f", about {_rough_time(progress.seconds_left)}"
    return f"training {counted(progress.n_members, 'member')}{configs}{takes}"


def _rough_time(seconds: float) -> str:
    """Return a time to one digit."""
    for unit, limit in (("s", 60), ("min", 60)):
        if seconds < 0.95 * limit:
            return f"{max(1, round(seconds, -1 if seconds > 9.5 else 0)):.0f} {unit}"
        seconds /= limit
    return f"{max(1, seconds):.0f} h"


def describe_progress(progress: RunProgress) -> str:
    """Return one line on how far a cohort is: members trained, the best loss so far, and the time left."""
    configs = f" of {counted(progress.n_configs, 'config')}" if progress.n_configs > 1 else ""
    best = f" (config {progress.best_config + 1}, the best so far)" if progress.n_configs > 1 else ""
    loss = "" if math.isnan(progress.best_loss) else f"  mean validation loss {progress.best_loss:.4f}{best}"
    left = f"  about {math.ceil(progress.seconds_left)} s left" if progress.seconds_left > 0 else ""
    return (
        f"{progress.n_done}/{counted(progress.n_members, 'member')}{configs} trained{left}  "
        f"{counted(progress.n_epochs, 'epoch')}{loss}"
    )


def describe_reading(progress: ReadingProgress, start: ReadingProgress, seconds: float) -> str:
    """Return one line on how far a pass over a table is: the stage, the share that is done, and the time left.

    Args:
        progress: of the pass.
        start: the first progress of this stage.
        seconds: between the two.
    """
    n_left, n_since = progress.n_all - progress.n_done, progress.n_done - start.n_done
    left = f"  about {math.ceil(seconds * n_left / n_since)} s left" if n_left and n_since else ""
    return f"{progress.stage}  {progress.n_done / max(progress.n_all, 1):.0%}{left}"
