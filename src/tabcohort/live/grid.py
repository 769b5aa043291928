"""A run in the terminal: its members as a grid that is updated in place, or lines where there is no terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tabcohort.errors import printable
from tabcohort.live.events import Event
from tabcohort.live.run_state import MemberState, RunState, Status

SECONDS_BETWEEN_UPDATES, SECONDS_BETWEEN_LINES = 0.2, 2.0
STYLES = {
    Status.WAITING: "dim", Status.TRAINING: "bold cyan", Status.PAUSED: "yellow", Status.DONE: "green",
    Status.STOPPED: "yellow", Status.DROPPED: "dim", Status.FAILED: "bold red",
}  # fmt: skip
MARKS = {
    Status.WAITING: "·", Status.TRAINING: "▶", Status.PAUSED: "‖", Status.DONE: "✓", Status.STOPPED: "■",
    Status.DROPPED: "×", Status.FAILED: "!",
}  # fmt: skip
PLAIN_MARKS = dict(zip(Status, ".>=+#x!", strict=True))  # where the terminal has no Unicode
OVERFITTING, PLAIN_OVERFITTING, OVERFITTING_STYLE = "▲", "^", "bold magenta"
BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
CURVE_WIDTH = 48
END_REASONS = {"interrupted": "interrupted", "budget": "its budget of seconds was spent", "failed": "training failed"}


class GridDisplay:
    """Shows the events of a run: a grid in a terminal, and lines elsewhere.

    Use it as a context manager, and call it with each event.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.run = console, RunState()
        self._is_live = console.is_terminal and not console.quiet
        self._live = Live(console=console, auto_refresh=False)
        self._shown, self._line_at = -math.inf, 0.0

    def __enter__(self) -> GridDisplay:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_live:
            self._live.update(grid(self.run, _has_unicode(self.console)), refresh=True)
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take over an event, and show it if the last one was shown long enough ago."""
        self.run.apply(event)
        if not self._is_live:
            self._print(event)
        elif time.perf_counter() - self._shown >= SECONDS_BETWEEN_UPDATES:
            self._shown = time.perf_counter()
            self._live.update(grid(self.run, _has_unicode(self.console)), refresh=True)

    def _print(self, event: Event) -> None:
        """Print a line where a member has ended, and at times one on the latest member."""
        line = line_of_event(self.run, event)
        if line is None and event["event"] == "epoch" and self.run.seconds - self._line_at >= SECONDS_BETWEEN_LINES:
            line = f"{summary(self.run)}  {describe_member(self.run, event['member'])}"
        if line is not None:
            self._line_at = self.run.seconds
            self.console.print(printable(line), markup=False)


# -- lines -----------------------------------------------------------------------------------------------------------


def line_of_event(run: RunState, event: Event) -> str | None:
    """Return a line on an event that is worth one: a member ended, a config was dropped, or the run ended."""
    name = event["event"]
    if name == "stop" and event["reason"] != "paused":
        ending = event["message"] or event["reason"]
        return f"{describe_member(run, event['member'])}  (stopped: {ending})"
    if name == "drop":
        return f"config {event['config'] + 1} dropped after {event['epochs']:,} epochs"
    if name == "end":
        return f"{summary(run)}  {ending_of(run)}"
    return None


def summary(run: RunState) -> str:
    """Return how far a run is: members trained, epochs, and the time left."""
    n_active = len(run.members) - run.counts[Status.DROPPED]
    left = f"  about {math.ceil(run.seconds_left)} s left" if run.seconds_left > 0 else ""
    return f"{run.counts[Status.DONE]:,}/{n_active:,} members trained{left}  {run.n_epochs:,} epochs"


def ending_of(run: RunState) -> str:
    """Return how a run ended and how long it took."""
    reason = f": {END_REASONS.get(run.reason, run.reason)}" if run.reason else ""
    return f"ended after {run.seconds:.1f} s{reason}"


def describe_member(run: RunState, number: int) -> str:
    """Return a line on a member: its epoch, both losses, the learning rate and the best epoch."""
    member = run.members[number]
    name = name_of_member(run, member)
    if not member.epochs:
        return f"{name}: {member.status}"
    now = member.epochs[-1]
    rise = f"  {100 * member.rise:.0f}% above its lowest, in epoch {member.lowest}" if member.rise else ""
    return (
        f"{name}: epoch {now['epoch']}  train loss {now['train_loss']:.4f}  validation loss {now['val_loss']:.4f}  "
        f"rate {now['learning_rate']:.3g}  best epoch {member.best_epoch} ({member.best_loss:.4f}){rise}"
    )


def name_of_member(run: RunState, member: MemberState) -> str:
    """Return which member it is, with as many numbers as the run needs, counted from 1."""
    parts = []
    for name in ("config", "repeat", "fold"):
        if len({getattr(other, name) for other in run.members}) > 1:
            parts.append(f"{name} {getattr(member, name) + 1}")
    return ", ".join(parts) or "network"


# -- the grid --------------------------------------------------------------------------------------------------------


def grid(run: RunState, has_unicode: bool = True) -> RenderableType:
    """Return what a terminal shows of a run.

    Args:
        run: its state.
        has_unicode: whether the terminal shows more than ASCII.
    """
    if run.start is None:
        return Text("waiting for training to begin", style="dim")
    ending = ending_of(run) if run.is_over else ""
    lines: list[RenderableType] = [_wrapped("  ".join(filter(None, (summary(run), ending))))]
    lines.append(_configs_table(run, has_unicode))
    if run.latest >= 0:
        member = run.members[run.latest]
        lines.append(_wrapped(describe_member(run, run.latest)))
        lines += [
            Text.assemble((f"{label:11}", "dim"), (curve, style))
            for label, style, curve in curves(member, BARS if has_unicode else PLAIN_BARS)
        ]
    lines.append(_legend(run, has_unicode))
    return Group(*lines)


def _wrapped(text: str = "") -> Text:
    """Return text that goes on in the next line, also on a console that does not wrap what it prints.

    Whatever a recording says in it cannot change the terminal.
    """
    return Text(printable(text), no_wrap=False, overflow="fold")


def _configs_table(run: RunState, has_unicode: bool) -> Table:
    """Return a row for each config, with a mark for each of its members."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("config", max_width=36, overflow="ellipsis", no_wrap=True)
    table.add_column("members")
    table.add_column("validation loss", justify="right")
    table.add_column("best epochs", justify="right")
    for number, name in enumerate((run.start or {})["configs"]):
        marks = _wrapped()
        for member in run.of_config(number):
            mark, style = mark_of(member, has_unicode)
            marks.append(f"{mark} ", style=style)
        loss, best = run.mean_loss(number), [member.best_epoch for member in run.of_config(number) if member.epochs]
        span = f"{min(best)} to {max(best)}" if best and min(best) < max(best) else "".join(map(str, best[:1]))
        name = Text(printable(f"{number + 1} {name}"), style="dim strike" if number in run.dropped else "")
        table.add_row(name, marks, "" if math.isnan(loss) else f"{loss:.4f}", span)
    return table


def mark_of(member: MemberState, has_unicode: bool) -> tuple[str, str]:
    """Return the mark of a member and its style."""
    if member.status == Status.TRAINING and member.rise:
        return OVERFITTING if has_unicode else PLAIN_OVERFITTING, OVERFITTING_STYLE
    return (MARKS if has_unicode else PLAIN_MARKS)[member.status], STYLES[member.status]


def _legend(run: RunState, has_unicode: bool) -> Text:
    """Return what the marks mean that are shown now."""
    text, marks = _wrapped(), MARKS if has_unicode else PLAIN_MARKS
    for status in Status:
        if n_members := run.counts[status]:
            text.append(f"{marks[status]} ", style=STYLES[status])
            text.append(f"{n_members} {status}  ", style="dim")
    if any(member.status == Status.TRAINING and member.rise for member in run.members):
        text.append(f"{OVERFITTING if has_unicode else PLAIN_OVERFITTING} ", style=OVERFITTING_STYLE)
        text.append("overfitting", style="dim")
    return text


def curves(member: MemberState, bars: str) -> list[tuple[str, str, str]]:
    """Return the losses of a member by epoch, for each of the two a label, a style and a line of bars.

    Both have the same scale, which is logarithmic, from the lowest to the highest loss of both.
    """
    series = {name: [epoch[name] for epoch in member.epochs] for name in ("train_loss", "val_loss")}
    logs = {name: [math.log(max(loss, 1e-12)) for loss in losses] for name, losses in series.items()}
    low = min(min(values) for values in logs.values())
    span = max(max(values) for values in logs.values()) - low or 1.0

    def line(values: Sequence[float]) -> str:
        return "".join(bars[min(len(bars) - 1, int((value - low) / span * len(bars)))] for value in _thinned(values))

    return [("train", "blue", line(logs["train_loss"])), ("validation", "yellow", line(logs["val_loss"]))]


def _thinned(values: Sequence[float]) -> list[float]:
    """Return at most `CURVE_WIDTH` of the values, evenly spaced, with the first and the last."""
    n = min(len(values), CURVE_WIDTH)
    return [values[round(place * (len(values) - 1) / max(1, n - 1))] for place in range(n)]


def _has_unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")
