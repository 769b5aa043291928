"""The worked examples of lesson 1B, computed: by PyTorch, by our training loop, or from the formula itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer

from tabcohort.data.table import Table
from tabcohort.reproduce.claims import Claim, computed_claim, counted_claim
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord, TrainingState, after_epoch

RADIUS, TEXTURE = (-0.5, -0.4, -0.6), (0.3, -0.4, 0.2)  # gradients of three batches
N_TRAIN = 455
VAL_LOSSES = (0.50, 0.40, 0.35, 0.38, 0.42, 0.45, 0.48, 0.51)
ADAM, STOPPING, EXAMPLE = "lesson 1B, Adam", "lesson 1B, early stopping", "lesson 1B, an example from end to end"
DATA, BATCHES, INITIAL = "lesson 1B, the data pipeline", "lesson 1B, the training flow", "lesson 1B, initial weights"
RESULTS, LAYER = "lesson 1B, results", "lesson 1B, the linear layer"
CELL = {"mean radius": 15.2, "mean texture": 25.3, "mean perimeter": 102.4}


def adam_moments(gradients: Sequence[float]) -> list[tuple[float, float]]:
    """Return PyTorch's first and second moment after each of some gradients of one weight, not corrected for bias."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1e-3)
    moments = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        state = optimizer.state[weight]
        moments.append((float(state["exp_avg"]), float(state["exp_avg_sq"])))
    return moments


def stopped_at(val_losses: Sequence[float], patience: int) -> tuple[int, int]:
    """Return the epoch in which our training loop stops, and that whose weights it keeps."""
    config, state = Config(patience=patience, max_epochs=len(val_losses)), TrainingState()
    for epoch, loss in enumerate(val_losses, 1):
        state = after_epoch(state, EpochRecord(epoch, 1e-3, loss, loss, 0.5, loss, 0.0), dict, config)
        if state.stop_reason is not None:
            break
    return state.n_epochs, state.best_epoch


def standardized_cell(table: Table) -> list[float]:
    """Return the lesson's cell in standard deviations from the mean of all rows."""
    places = [list(table.schema.features).index(name) for name in CELL]
    X = table.X[:, places]
    return [float(value) for value in (np.array(list(CELL.values())) - X.mean(axis=0)) / X.std(axis=0)]


def lesson_claims(table: Table) -> tuple[Claim, ...]:
    """Return the worked examples of the lessons on breast cancer.

    Args:
        table: breast cancer.
    """
    row, layer = np.zeros(31, dtype=np.float32), torch.nn.Linear(table.n_inputs, 1)
    cell = standardized_cell(table)
    bound = (6 / (table.n_inputs + 1)) ** 0.5
    radius, texture = adam_moments(RADIUS), adam_moments(TEXTURE)
    velocities = [moments[-1][1] for moments in (radius, texture)]
    corrected = [velocity / (1 - 0.999**3) for velocity in velocities]
    stopped, kept = stopped_at(VAL_LOSSES, patience=5)
    return (
        computed_claim(
            "A cell of radius 15.2, texture 25.3 and perimeter 102.4, standardized", DATA, (1.2, -0.3, 1.8), cell,
            ".1f",
            "the data set's means are 14.1, 19.3 and 92.0, so that a texture of 25.3 is above the mean",
        ),
        counted_claim(
            "Malignant rows are those of class 1", DATA, 212, int((load_breast_cancer().target == 1).sum()),
            "in the data set that it loads, 0 is malignant: class 1 has 357 rows, all benign",
        ),
        counted_claim("Batches of 32 in an epoch of 455 rows", BATCHES, 15, -(-N_TRAIN // 32)),
        counted_claim("Numbers in the weight of the linear layer, shape [1, 30]", LAYER, 30, layer.weight.numel()),
        computed_claim(
            "Standard deviation of Xavier's initial weights", INITIAL, (0.25,), ((2 / (table.n_inputs + 1)) ** 0.5,),
            ".2f",
        ),
        computed_claim(
            "Xavier's initial weights lie between -0.25 and 0.25", INITIAL, (0.25,), (bound,), ".2f",
            f"0.25 is their standard deviation; `xavier_uniform_` draws from -{bound:.2f} to {bound:.2f}",
        ),
        computed_claim(
            "Accuracy of 110 right predictions of 114", RESULTS, (0.965,), (110 / 114,), ".3f"
        ),
        computed_claim(
            "Momentum of a weight with steady gradients, three steps", ADAM, (-0.05, -0.085, -0.1365),
            [first for first, _ in radius], ".4f",
        ),
        computed_claim(
            "Momentum of a weight with changing gradients, three steps", ADAM, (0.03, -0.013, 0.0083),
            [first for first, _ in texture], ".4f",
        ),
        computed_claim(
            "Velocities of both after three steps", ADAM, (0.25, 0.1), velocities, ".2f",
            f"they are {velocities[0]:.5f} and {velocities[1]:.5f}; only corrected for their bias, which the lesson "
            f"adds later, they are {corrected[0]:.3f} and {corrected[1]:.3f}",
        ),
        computed_claim(
            "Probability of a score of 2.45", EXAMPLE, (0.92,), (float(torch.tensor(2.45).sigmoid()),), ".2f"
        ),
        computed_claim(
            "Bytes of a row of 31 float32 values, and kilobytes of 455 rows", DATA, (124, 56),
            (row.nbytes, N_TRAIN * row.nbytes / 1_000), ".0f",
        ),
        computed_claim(
            "Early stopping with a patience of 5: stops in epoch 8, keeps epoch 3", STOPPING, (8, 3),
            (stopped, kept), ".0f",
        ),
    )  # fmt: skip
