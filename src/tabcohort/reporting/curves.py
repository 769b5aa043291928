"""The picture of a training: losses and metric per epoch of every network, with the best epochs marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabcohort.errors import ModelFileError
from tabcohort.evaluation.metrics import LABELS
from tabcohort.training.loop import EpochRecord


def draw_curves(
    histories: Sequence[Sequence[EpochRecord]], best_epochs: Sequence[int], monitor: str, path: str | Path
) -> None:
    """Draw training and stopping loss above, the metric of the stopping rows below, and the rate, to an image file.

    Args:
        histories: of each network one record per epoch.
        best_epochs: of each network the epoch to mark.
        monitor: name of the metric that was watched; accuracy is drawn beside log loss.
        path: where to; its ending (.png, .svg, .pdf) says how.

    Raises:
        ModelFileError: the image cannot be written there.
    """
    from matplotlib.figure import Figure  # not pyplot, which would open a window system

    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, metric = figure.subplots(2, 1, sharex=True)
    name = "accuracy" if monitor == "log_loss" else monitor
    strength = max(0.15, len(histories) ** -0.5)
    for number, (history, best) in enumerate(zip(histories, best_epochs, strict=True)):
        epochs = [record.epoch for record in history]
        scores = [record.stop_accuracy if monitor == "log_loss" else record.score for record in history]
        stop_losses = [record.stop_loss for record in history]
        lines = (
            (losses, [record.train_loss for record in history], "tab:blue", "training rows"),
            (losses, stop_losses, "tab:orange", "stopping rows"),
            (metric, scores, "tab:orange", f"{LABELS[name]}, stopping rows"),
        )
        for axis, values, colour, label in lines:
            axis.plot(epochs, values, color=colour, alpha=strength, label=None if number else label)
        mark = "best epoch" + (f": {best}" if len(histories) == 1 else " of each network")
        for axis, values in ((losses, stop_losses), (metric, scores)):
            axis.plot(best, values[best - 1], "o", color="tab:green", markersize=4, label=None if number else mark)
    losses.set_ylabel("log loss")
    metric.set_ylabel(LABELS[name])
    metric.set_xlabel("epoch")
    for axis in (losses, metric):
        axis.grid(alpha=0.25)
        for handle in axis.legend(frameon=False).legend_handles:
            handle.set_alpha(1)
    rates = [record.learning_rate for record in max(histories, key=len)]
    if len(set(rates)) > 1:
        right = metric.twinx()
        right.plot(range(1, len(rates) + 1), rates, color="tab:gray", linewidth=1, linestyle=":")
        right.set_ylabel("learning rate (dotted)")
        right.set_yscale("log" if min(rates) > 0 else "linear")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"the curves cannot be written to {str(path)!r}: {error}") from None
