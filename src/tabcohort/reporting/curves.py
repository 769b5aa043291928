"""The training curves: losses and metric per epoch of every member, with the best epochs marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot, which would open a window system

from tabcohort.container import replace_file
from tabcohort.errors import ModelFileError
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.report import CohortReport, MemberReport
from tabcohort.reporting.figures import LOSS_STYLES
from tabcohort.training.loop import EpochRecord

FORMATS = (".png", ".svg", ".pdf")


def draw_curves(report: CohortReport, monitor: str, path: str | Path) -> None:
    """Draw training and validation loss above, the metric of the validation rows below, and the rate, to an image file.

    Args:
        report: with the histories of its members.
        monitor: name of the monitored metric; accuracy is drawn beside log loss.
        path: the file; its ending (.png, .svg, .pdf) is the format.

    Raises:
        ModelFileError: the image cannot be written there, or the file has another ending.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ModelFileError(
            f"curves are an image: {str(path)!r} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
    members = [member for member in report.members if member.history]
    name = "accuracy" if monitor == "log_loss" else monitor
    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, metric = figure.subplots(2, 1, sharex=True)
    draw_losses(losses, members)
    for number, member in enumerate(members):
        is_first = number == 0
        scores = [record.val_accuracy if monitor == "log_loss" else record.score for record in member.history]
        label = f"{METRICS[name].label}, validation rows" if is_first else None
        metric.plot(_epochs(member), scores, color=LOSS_STYLES["val_loss"].color, alpha=_opacity(members), label=label)
        _mark_best(metric, member, scores, _best_label(members) if is_first else None)
    losses.set_ylabel("log loss")
    metric.set_ylabel(METRICS[name].label)
    metric.set_xlabel("epoch")
    for axis in (losses, metric):
        axis.grid(alpha=0.25)
        for handle in axis.legend(frameon=False).legend_handles:
            handle.set_alpha(1)
    _draw_rates(metric, max((member.history for member in members), key=len))
    replace_file(path, lambda file: figure.savefig(file, format=ending.removeprefix("."), dpi=120))


def draw_losses(axis: Axes, members: Sequence[MemberReport]) -> None:
    """Draw training and validation loss of every member by epoch, and mark its best epoch.

    Args:
        axis: where to.
        members: with histories.
    """
    for number, member in enumerate(members):
        is_first = number == 0
        val_losses = [record.val_loss for record in member.history]
        for name, own in LOSS_STYLES.items():
            values = [getattr(record, name) for record in member.history]
            label_once = own.label if is_first else None
            axis.plot(_epochs(member), values, color=own.color, alpha=_opacity(members), label=label_once)
        _mark_best(axis, member, val_losses, _best_label(members) if is_first else None)


def _epochs(member: MemberReport) -> list[int]:
    return [record.epoch for record in member.history]


def _opacity(members: Sequence[MemberReport]) -> float:
    return max(0.15, len(members) ** -0.5)


def _best_label(members: Sequence[MemberReport]) -> str:
    return "best epoch" + (f": {members[0].best_epoch}" if len(members) == 1 else " of each member")


def _mark_best(axis: Axes, member: MemberReport, values: Sequence[float], label: str | None) -> None:
    """Mark the best epoch of a member on a curve of its values."""
    axis.plot(member.best_epoch, values[member.best_epoch - 1], "o", color="tab:green", markersize=4, label=label)


def _draw_rates(axis: Axes, history: Sequence[EpochRecord]) -> None:
    """Draw the learning rates on an axis at the right, if they differ."""
    rates = [record.learning_rate for record in history]
    if len(set(rates)) > 1:
        right = axis.twinx()
        right.plot(range(1, len(rates) + 1), rates, color="tab:gray", linewidth=1, linestyle=":")
        right.set_ylabel("learning rate (dotted)")
        right.set_yscale("log" if min(rates) > 0 else "linear")
