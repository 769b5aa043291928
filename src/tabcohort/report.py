"""What a person reads in the terminal: made of the plain document that a model file holds, so `info` shows it again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from tabcohort.evaluate import LABELS
from tabcohort.settings import Settings
from tabcohort.training import Progress as TrainingProgress

STOP_REASONS = {
    "patience": "it ended after {patience} epochs without a better score",
    "max_epochs": "it ended at the limit of {max_epochs} epochs",
    "interrupted": "it was interrupted, and the best weights so far are kept",
}
WEIGHTS_SHOWN = 8
CLASSES_SHOWN = 12
COLUMNS_SHOWN = 8
FEW_ROWS = 10


def print_model(console: Console, document: Mapping[str, Any]) -> None:
    """Print what a model is, how it was trained, and how good it is on rows that it never saw."""
    schema, settings, report = document["schema"], document["settings"], document["report"]
    widths = "-".join(str(width) for width in settings["hidden"])
    shape = f" {widths}" if settings["model"] != "logistic" else ""
    reason = STOP_REASONS[report["stop_reason"]].format(**settings)
    roles = f"{report['n_train']:,} train, {report['n_stop']:,} stop, {report['n_score']:,} score"
    seconds = report["history"][-1]["seconds"]
    console.print(
        f"[bold]{settings['model']}{shape}[/] predicts [bold]{escape(schema['target'])}[/] "
        f"from {len(schema['features'])} columns with {document['n_parameters']:,} parameters"
    )
    columns = ", ".join(schema["features"][:COLUMNS_SHOWN])
    more = f", ... ({len(schema['features']):,} in all)" if len(schema["features"]) > COLUMNS_SHOWN else ""
    console.print(f"columns    {escape(columns)}{more}")
    console.print(f"rows       {roles}; no row has two roles")
    console.print(
        f"training   {len(report['history'])} epochs in {seconds:.1f} s on {report['device']} "
        f"({report['engine']} engine); {reason}; best epoch {report['best_epoch']}"
    )
    print_evaluation(console, report["evaluation"], schema, "scoring rows, which neither trained nor stopped it")
    if document["strongest_weights"]:
        console.print(_weights_table(document["strongest_weights"], schema))


def print_evaluation(
    console: Console, evaluation: Mapping[str, Any], schema: Mapping[str, Any], measured_on: str
) -> None:
    """Print the metrics with their intervals, and the confusion matrix with the names of the classes."""
    positive = schema["positive"]
    of = f", positive class [bold]{escape(str(schema['classes'][positive]))}[/]" if positive is not None else ""
    console.print(f"\nmeasured on {evaluation['n_rows']:,} {escape(measured_on)}{of}")
    for line in _class_lines(evaluation, schema["classes"]):
        console.print(line, markup=False)
    table = Table("metric", box=None, pad_edge=False, header_style="dim")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, estimate in evaluation["metrics"].items():
        if estimate is None:
            table.add_row(LABELS[name], "-", "these rows cannot tell")
        else:
            table.add_row(LABELS[name], f"{estimate['value']:.4f}", f"{estimate['low']:.4f} to {estimate['high']:.4f}")
    console.print(table)
    if len(schema["classes"]) <= CLASSES_SHOWN:
        console.print(_confusion_table(evaluation["confusion"], schema["classes"]))
    else:
        console.print(f"\nthe confusion matrix of {len(schema['classes'])} classes is in the output of --json")


def _class_lines(evaluation: Mapping[str, Any], classes: Sequence[Any]) -> list[str]:
    """Return how many rows each class has, how good the simplest answer would be, and whether a class has too few."""
    counts = [sum(row) for row in evaluation["confusion"]]
    most = max(range(len(counts)), key=counts.__getitem__)
    rows = ", ".join(f"{count:,.0f} {name}" for name, count in zip(classes[:CLASSES_SHOWN], counts, strict=False))
    lines = [f"truly {rows}; always saying {classes[most]} would have accuracy {counts[most] / sum(counts):.4f}"]
    few = [str(name) for name, count in zip(classes, counts, strict=True) if count < FEW_ROWS]
    if few:
        lines.append(f"fewer than {FEW_ROWS} of these rows are {', '.join(few)}: what rests on them says little")
    return lines


def _confusion_table(confusion: Sequence[Sequence[float]], classes: Sequence[Any]) -> Table:
    table = Table("\ntruly, and predicted:", box=None, pad_edge=False, header_style="dim")
    for name in classes:
        table.add_column(f"\n{escape(str(name))}", justify="right", no_wrap=True)
    for name, row in zip(classes, confusion, strict=True):
        table.add_row(escape(str(name)), *(f"{count:,.0f}" for count in row))
    return table


def _weights_table(weights: Mapping[str, float], schema: Mapping[str, Any]) -> Table:
    shown = list(weights.items())[:WEIGHTS_SHOWN]
    table = Table(f"\nstrongest of {len(weights)} weights", box=None, pad_edge=False, header_style="dim")
    table.add_column("weight per\nstandard deviation", justify="right")
    table.add_column("\nspeaks for")
    for name, weight in shown:
        code = schema["positive"] if weight > 0 else 1 - schema["positive"]
        table.add_row(escape(name), f"{weight:+.3f}", escape(str(schema["classes"][code])))
    return table


class EpochWatcher:
    """Shows training on standard error: a live bar in a terminal, a line every two seconds elsewhere.

    Use it as a context manager around training, and hand it to `fit` as `watch`.
    """

    def __init__(self, console: Console, settings: Settings) -> None:
        self.console = console
        self.settings = settings
        self.shown = time.perf_counter()
        self.bar = Progress(
            TextColumn("training"), BarColumn(bar_width=24), TextColumn("{task.description}"),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("starting", total=settings.max_epochs)

    def __enter__(self) -> EpochWatcher:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def __call__(self, progress: TrainingProgress) -> None:
        """Show an epoch's line if it is time to."""
        now = time.perf_counter()
        if now - self.shown < (0.1 if self.console.is_terminal else 2.0):
            return
        self.shown = now
        line = describe_epoch(progress, self.settings)
        if self.console.is_terminal:
            self.bar.update(self.task, completed=len(progress.history), description=line)
        else:
            self.console.print(line)


def describe_epoch(progress: TrainingProgress, settings: Settings) -> str:
    """Return one line on the last epoch: losses, the monitored metric, the rate, and the time left."""
    last, best = progress.history[-1], progress.history[progress.best_epoch - 1]
    epochs_left = settings.max_epochs - last.epoch
    if settings.patience is not None and last.epoch - best.epoch > settings.patience / 2:
        epochs_left = min(epochs_left, settings.patience - (last.epoch - best.epoch))
    middle = progress.history[last.epoch // 2 - 1]  # the first epochs are slower than those to come
    time_left = ""
    if last.epoch > 1 and last.seconds > middle.seconds:
        pace = (last.seconds - middle.seconds) / (last.epoch - middle.epoch)
        time_left = f"  at most {math.ceil(pace * epochs_left)} s left"
    return (
        f"epoch {last.epoch}/{settings.max_epochs}  train loss {last.train_loss:.4f}  stop loss {last.stop_loss:.4f}  "
        f"{LABELS[settings.monitor]} {last.score:.4f} (best {best.score:.4f} at {best.epoch})  "
        f"rate {last.learning_rate:.2g}{time_left}"
    )
