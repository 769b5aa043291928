"""The training curves: losses and metric per epoch of every member, with the best epochs marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot, which would open a window system

from tabcohort.container import replace_file
from tabcohort.errors import ModelFileError
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.report import CohortReport
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
    opacity = max(0.15, len(members) ** -0.5)
    for number, member in enumerate(members):
        is_first = number == 0
        epochs = [record.epoch for record in member.history]
        val_losses = [record.val_loss for record in member.history]
        scores = [record.val_accuracy if monitor == "log_loss" else record.score for record in member.history]
        curves = (
            (losses, [record.train_loss for record in member.history], "tab:blue", "training rows"),
            (losses, val_losses, "tab:orange", "validation rows"),
            (metric, scores, "tab:orange", f"{METRICS[name].label}, validation rows"),
        )
        for axis, values, color, label in curves:
            axis.plot(epochs, values, color=color, alpha=opacity, label=label if is_first else None)
        mark = "best epoch" + (f": {member.best_epoch}" if len(members) == 1 else " of each member")
        for axis, values in ((losses, val_losses), (metric, scores)):
            best = (member.best_epoch, values[member.best_epoch - 1])
            axis.plot(*best, "o", color="tab:green", markersize=4, label=mark if is_first else None)
    losses.set_ylabel("log loss")
    metric.set_ylabel(METRICS[name].label)
    metric.set_xlabel("epoch")
    for axis in (losses, metric):
        axis.grid(alpha=0.25)
        for handle in axis.legend(frameon=False).legend_handles:
            handle.set_alpha(1)
    _draw_rates(metric, max((member.history for member in members), key=len))
    replace_file(path, lambda file: figure.savefig(file, format=ending.removeprefix("."), dpi=120))


def _draw_rates(axis: Axes, history: Sequence[EpochRecord]) -> None:
    """Draw the learning rates on an axis at the right, if they differ."""
    rates = [record.learning_rate for record in history]
    if len(set(rates)) > 1:
        right = axis.twinx()
        right.plot(range(1, len(rates) + 1), rates, color="tab:gray", linewidth=1, linestyle=":")
        right.set_ylabel("learning rate (dotted)")
        right.set_yscale("log" if min(rates) > 0 else "linear")
