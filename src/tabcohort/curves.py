"""The picture of a training: losses and the monitored metric per epoch, with the best epoch marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabcohort.errors import ModelFileError
from tabcohort.evaluate import LABELS
from tabcohort.training import EpochRecord


def draw_curves(history: Sequence[EpochRecord], best_epoch: int, monitor: str, path: str | Path) -> None:
    """Draw training and stopping loss above, the metric of the stopping rows below, and the rate, to an image file.

    Args:
        history: one record per epoch.
        best_epoch: the epoch to mark.
        monitor: name of the metric that was watched; accuracy is drawn beside log loss.
        path: where to; its ending (.png, .svg, .pdf) says how.

    Raises:
        ModelFileError: the image cannot be written there.
    """
    from matplotlib.figure import Figure  # not pyplot, which would open a window system

    epochs = [record.epoch for record in history]
    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, metric = figure.subplots(2, 1, sharex=True)
    losses.plot(epochs, [record.train_loss for record in history], label="training rows", color="tab:blue")
    losses.plot(epochs, [record.stop_loss for record in history], label="stopping rows", color="tab:orange")
    losses.set_ylabel("log loss")
    name = "accuracy" if monitor == "log_loss" else monitor
    scores = [record.stop_accuracy if monitor == "log_loss" else record.score for record in history]
    metric.plot(epochs, scores, color="tab:orange", label=f"{LABELS[name]}, stopping rows")
    metric.set_ylabel(LABELS[name])
    metric.set_xlabel("epoch")
    for axis in (losses, metric):
        axis.axvline(best_epoch, color="tab:green", linestyle="--", linewidth=1, label=f"best epoch: {best_epoch}")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False)
    rates = [record.learning_rate for record in history]
    if len(set(rates)) > 1:
        right = metric.twinx()
        right.plot(epochs, rates, color="tab:gray", linewidth=1, linestyle=":")
        right.set_ylabel("learning rate (dotted)")
        right.set_yscale("log" if min(rates) > 0 else "linear")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"the curves cannot be written to {str(path)!r}: {error}") from None
