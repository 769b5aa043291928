"""What a person reads in the terminal: made of the plain document that a model file holds, so `info` shows it again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from tabcohort.cohort.progress import RunProgress
from tabcohort.evaluation.decision import parse_aim
from tabcohort.evaluation.metrics import LABELS

WEIGHTS_SHOWN = 8
CLASSES_SHOWN = 12
COLUMNS_SHOWN = 8
SETTINGS_SHOWN = 12
FEW_ROWS = 10
SHARE_CUT = 0.25  # of the networks, from which on those that ended at the limit of epochs are told of
ENDS = {"interrupted": "it was interrupted", "budget": "its budget of seconds was spent"}


def print_model(console: Console, document: Mapping[str, Any]) -> None:
    """Print what a model is, how it was trained, how good it is on rows that it never saw, and how sure."""
    schema, report = document["schema"], document["report"]
    used = sorted({report["members"][number]["setting"] for number in document["members"]}, key=_weight(report))
    names = list(dict.fromkeys(name_of_network(report["settings"][number]["settings"]) for number in used))
    more = f" and {_count(len(names) - 3, 'other')}" if len(names) > 3 else ""
    console.print(
        f"[bold]{', '.join(names[:3])}{more}[/] predicts [bold]{escape(schema['target'])}[/] "
        f"from {len(schema['features'])} columns: "
        f"{_count(len(document['members']), 'network')} with {document['n_parameters']:,} parameters in all"
    )
    columns = ", ".join(schema["features"][:COLUMNS_SHOWN])
    more = f", ... ({len(schema['features']):,} in all)" if len(schema["features"]) > COLUMNS_SHOWN else ""
    console.print(f"columns    {escape(columns)}{more}")
    console.print(f"rows       {_rows_line(report)}")
    console.print(f"training   {_training_line(report)}")
    n_cut = sum(member["stop_reason"] == "max_epochs" for member in report["members"])
    if n_cut > SHARE_CUT * len(report["members"]):
        console.print(
            f"           {_count(n_cut, 'network')} ended at max_epochs while still getting better: "
            "a higher learning_rate, or more epochs, may help"
        )
    if len(report["settings"]) > 1:
        print_settings(console, report)
    n_rows = report["evaluation"]["n_rows"]
    by = "networks that never saw it" if len(report["members"]) > 1 else "a network that never saw it"
    print_evaluation(console, report["evaluation"], schema, "rows" if n_rows > 1 else "row", f"each judged by {by}")
    print_sureness(console, document)
    if document["strongest_weights"]:
        _print_table(console, _weights_table(document["strongest_weights"], schema))


def name_of_network(settings: Mapping[str, Any]) -> str:
    """Return what a network is, in a word or two."""
    widths = "-".join(str(width) for width in settings["hidden"])
    return settings["model"] if settings["model"] == "logistic" or not widths else f"{settings['model']} {widths}"


def _weight(report: Mapping[str, Any]) -> Callable[[int], float]:
    return lambda number: -report["settings"][number]["weight"]


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _rows_line(report: Mapping[str, Any]) -> str:
    """Return who does what: the numbers of rows of a member, and how many folds and seeds there are."""
    n_folds, n_seeds = report["n_folds"], report["n_seeds"]
    roles = ", ".join(
        f"{_range([member[f'n_{role}'] for member in report['members']])} {role}" for role in ("train", "stop", "score")
    )
    if n_folds == 1:
        return f"{report['n_rows']:,}: {roles}; no row has two roles"
    turns = f"{n_folds} folds x {_count(n_seeds, 'seed')}"
    return f"{report['n_rows']:,}, in {turns}; for each network {roles} in turn, and no row has two roles"


def _range(counts: Sequence[int]) -> str:
    """Return how many rows members have, where folds that are as equal as can be count as equal."""
    least, most = min(counts), max(counts)
    return f"{counts[0]:,}" if most - least <= 1 else f"{least:,} to {most:,}"


def _training_line(report: Mapping[str, Any]) -> str:
    epochs = [len(member["history"]["epoch"]) for member in report["members"]]
    best = sorted(member["best_epoch"] for member in report["members"])
    which = f"epoch {best[0]:,}" if best[0] == best[-1] else f"epochs {best[0]:,} to {best[-1]:,}"
    line = (
        f"{_count(len(epochs), 'network')}, {sum(epochs):,} epochs in {report['seconds']:.1f} s on {report['device']} "
        f"({report['engine']} engine); best {which}"
    )
    if report["reason"]:
        return f"{line}; {ENDS[report['reason']]}, and the best weights so far are kept"
    return line


def print_settings(console: Console, report: Mapping[str, Any]) -> None:
    """Print what was tried, the best first, and what dropping the others early cost."""
    settings = report["settings"]
    known = [each for each in settings if each["log_loss"]]
    most = max((each["n_rows"] for each in known), default=0)
    ranked = sorted(known, key=lambda each: (each["n_rows"] < most, each["log_loss"][0]))
    same = {name for name in settings[0]["settings"] if len({str(each["settings"][name]) for each in settings}) == 1}
    console.print("\nrank  log loss  behind the best, 95 % interval      share  settings", style="dim")
    for rank, each in enumerate(ranked[:SETTINGS_SHOWN], 1):
        value, low, high = each["behind"] or (math.nan,) * 3
        behind = "" if rank == 1 or math.isnan(value) else f"{value:+.4f}  ({low:+.4f} to {high:+.4f})"
        share = f"{each['weight']:.0%}" if each["weight"] else "-"
        what = describe_settings(each["settings"], same)
        if each["dropped_after"] is not None:
            what = f"only {_count(each['dropped_after'], 'epoch')}: {what}"
        if each["n_rows"] < most:
            what = f"judged on {_count(each['n_rows'], 'row')} only: {what}"
        console.print(f"{rank:4}  {each['log_loss'][0]:8.4f}  {behind:31}  {share:>8}  {what}", markup=False)
    hidden = len(ranked) - SETTINGS_SHOWN
    if hidden > 0:
        console.print(f"... and {hidden:,} more; --json shows all")
    for number, each in enumerate(settings, 1):
        if each["failed"]:
            what = describe_settings(each["settings"], same)
            console.print(f"left out, as training failed: number {number}, {what}: {each['failed']}", markup=False)
    n_untried = sum(not each["log_loss"] and not each["failed"] for each in settings)
    if n_untried:
        console.print(f"{n_untried} of {len(settings)} settings were not tried: training ended before their turn")
    dropped = sum(each["dropped_after"] is not None for each in settings)
    if dropped:
        console.print(
            f"{dropped} of {len(settings)} settings were behind after their first epochs, and went no farther; to "
            f"train them to the end would have taken about {report['seconds_saved']:.0f} s more (extrapolated)"
        )


def describe_settings(settings: Mapping[str, Any], same: Collection[str] = ()) -> str:
    """Return what tells settings apart from others, in a line: all but those names that are the same in all."""
    parts = [] if {"model", "hidden"} <= set(same) else [name_of_network(settings)]
    for name, value in settings.items():
        if name not in same and name not in ("model", "hidden"):
            parts.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(parts) or name_of_network(settings)


def print_sureness(console: Console, document: Mapping[str, Any]) -> None:
    """Print what the probabilities, the sets of classes and the threshold are worth."""
    report, schema, calibrator, decision = (document[name] for name in ("report", "schema", "calibrator", "decision"))
    found, sets, classes = report["calibration"], report["sets"], schema["classes"]
    console.print()
    if calibrator["method"] == "none":
        console.print("probabilities   left as they are: no correction made them clearly better")
    else:
        console.print(
            f"probabilities   corrected by {calibrator['method']} (times {calibrator['scale']:.2f}): calibration error "
            f"{found['ece_before']:.4f} before and {found['ece_after']:.4f} after, log loss "
            f"{found['log_loss_before']:.4f} and {found['log_loss_after']:.4f}"
        )
    print_sets(console, sets, classes, decision["coverage"], _fewer_abstentions(report, decision))
    if decision["threshold"] is not None:
        name = escape(str(classes[schema["positive"]]))
        console.print(
            f"threshold       {name} from a probability of {decision['threshold']:.4f} on{_how_chosen(decision)}"
        )


def _how_chosen(decision: Mapping[str, Any]) -> str:
    if parse_aim(decision["aim"]).kind == "probability":
        return ", as was asked for"
    return f", for {decision['aim']}; above, each row is called by one that was chosen on other rows"


def print_sets(
    console: Console, sets: Mapping[str, Any], classes: Sequence[Any], coverage: float, hint: str = ""
) -> None:
    """Print how often the sets of classes hold the true one, and how often they are an abstention."""
    of_classes = [
        f"{escape(str(name))} {sets[f'covered, class {code}']:.1%}"
        for code, name in enumerate(classes[:CLASSES_SHOWN])
        if sets[f"covered, class {code}"] is not None
    ]
    console.print(
        f"sets            of classes hold the true one for {sets['covered']:.1%} of the rows ({', '.join(of_classes)})"
        f"; asked for: {100 * coverage:g}% of each class"
    )
    console.print(
        f"                one class for {sets['one class']:.1%} of the rows; an abstention for the others: several "
        f"classes for {sets['several']:.1%}, none for {sets['none']:.1%}{hint}"
    )


def _fewer_abstentions(report: Mapping[str, Any], decision: Mapping[str, Any]) -> str:
    """Return a hint where sets must miss rows on purpose, as the model is right more often than was asked for."""
    accuracy = round(report["evaluation"]["metrics"]["accuracy"]["value"], 2)
    if report["sets"]["none"] <= report["sets"]["several"] or not decision["coverage"] < accuracy < 1:
        return ""
    return f"; fewest at a coverage near the accuracy, {accuracy}"


def print_evaluation(
    console: Console, evaluation: Mapping[str, Any], schema: Mapping[str, Any], rows: str, how: str = ""
) -> None:
    """Print the metrics with their intervals, and the confusion matrix with the names of the classes."""
    positive = schema["positive"]
    of = f"; positive class [bold]{escape(str(schema['classes'][positive]))}[/]" if positive is not None else ""
    console.print(f"\nmeasured on {evaluation['n_rows']:,} {escape(rows)}{', ' if how else ''}{how}{of}")
    if evaluation["n_families"] < evaluation["n_rows"]:
        console.print(
            f"of {_count(evaluation['n_families'], 'family', 'families')} (rows of one key or group): "
            "the intervals are as wide as that asks for"
        )
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
    _print_table(console, table)
    if len(schema["classes"]) <= CLASSES_SHOWN:
        _print_table(console, _confusion_table(evaluation["confusion"], schema["classes"]))
    else:
        console.print(f"\nthe confusion matrix of {len(schema['classes'])} classes is in the output of --json")


def _print_table(console: Console, table: Table) -> None:
    """Print a table without the blanks that would fill its last column."""
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.out(line.rstrip(), highlight=False)


def _class_lines(evaluation: Mapping[str, Any], classes: Sequence[Any]) -> list[str]:
    """Return how many rows each class has, how good the simplest answer would be, and whether a class has too few."""
    counts = [sum(row) for row in evaluation["confusion"]]
    most = max(range(len(counts)), key=counts.__getitem__)
    rows = ", ".join(f"{count:,.0f} {name}" for name, count in zip(classes[:CLASSES_SHOWN], counts, strict=False))
    if len(classes) > CLASSES_SHOWN:
        rows += f", ... ({len(classes)} classes in all)"
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


class RunShown:
    """Shows a cohort's training on standard error: a live bar in a terminal, a line every two seconds elsewhere.

    Use it as a context manager around training, and hand it to `fit` as `watch`.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.shown = time.perf_counter()
        self.bar = Progress(
            TextColumn("training"), BarColumn(bar_width=24), TextColumn("{task.description}"),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("starting", total=None)

    def __enter__(self) -> RunShown:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def __call__(self, progress: RunProgress) -> None:
        """Show a line if it is time to."""
        now = time.perf_counter()
        if now - self.shown < (0.1 if self.console.is_terminal else 2.0):
            return
        self.shown = now
        line = describe_run(progress)
        if self.console.is_terminal:
            self.bar.update(self.task, total=progress.n_members, completed=progress.n_done, description=line)
        else:
            self.console.print(line)


def describe_run(progress: RunProgress) -> str:
    """Return one line on how far a cohort is: networks done, the best loss so far, and the time left."""
    settings = f" of {_count(progress.n_settings, 'setting')}" if progress.n_settings > 1 else ""
    best = f" (settings {progress.best_setting + 1})" if progress.n_settings > 1 else ""
    loss = "" if math.isnan(progress.best_loss) else f"  best stop loss {progress.best_loss:.4f}{best}"
    left = "" if math.isnan(progress.seconds_left) else f"  about {math.ceil(progress.seconds_left)} s left"
    return (
        f"{progress.n_done}/{_count(progress.n_members, 'network')}{settings} trained  "
        f"{_count(progress.epochs, 'epoch')}{loss}{left}"
    )
