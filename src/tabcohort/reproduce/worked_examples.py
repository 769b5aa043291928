"""The worked examples of the documents, computed: by PyTorch, by our training loop, or from the formula itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from tabcohort.reproduce.claims import FAILS, HOLDS, Claim, Measured
from tabcohort.reproduce.findings import Spread
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord, TrainingState, after_epoch

RADIUS, TEXTURE = (-0.5, -0.4, -0.6), (0.3, -0.4, 0.2)  # gradients of three batches
VAL_LOSSES = (0.50, 0.40, 0.35, 0.38, 0.42, 0.45, 0.48, 0.51)
GRADIENTS = ((2.5, -3.2, 1.8), (15.3, -8.7, 22.1))
ADAM, STOPPING, EXAMPLE = "lesson 1B, Adam", "lesson 1B, early stopping", "lesson 1B, an example from end to end"
MEMORY = "lesson 1B, preparing data"
LOSS, CLIPPING = "binary cross-entropy loss", "gradient clipping"


def computed_claim(
    text: str, where: str, claimed: Sequence[float], computed: Sequence[float], style: str, reason: str = "computed"
) -> Claim:
    """Return a claim of figures that follow from others that the document gives; it holds if they agree as printed.

    Args:
        text, where: see `Claim`.
        claimed: the document's figures.
        computed: the same figures, computed.
        style: of the document's figures.
        reason: why they differ, if they do.
    """
    texts = [[f"{value:{style}}" for value in values] for values in (claimed, computed)]
    is_right = texts[0] == texts[1]
    names = [f"figure {place + 1}" for place in range(len(computed))] if len(computed) > 1 else ["computed"]
    measured = tuple(Measured(name, Spread(value, None, 1), style) for name, value in zip(names, computed, strict=True))
    return Claim(
        text, where, ", ".join(texts[0]), measured, HOLDS if is_right else FAILS, "computed" if is_right else reason
    )


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


def lesson_claims() -> tuple[Claim, ...]:
    """Return the worked examples of the lessons on breast cancer."""
    radius, texture = adam_moments(RADIUS), adam_moments(TEXTURE)
    velocities = [moments[-1][1] for moments in (radius, texture)]
    corrected = [velocity / (1 - 0.999**3) for velocity in velocities]
    stopped, kept = stopped_at(VAL_LOSSES, patience=5)
    return (
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
            "Bytes of a row of 31 float32 values, and kilobytes of 455 rows", MEMORY, (124, 56),
            (31 * 4, 455 * 31 * 4 / 1_000), ".0f",
        ),
        computed_claim(
            "Early stopping with a patience of 5: stops in epoch 8, keeps epoch 3", STOPPING, (8, 3),
            (stopped, kept), ".0f",
        ),
    )  # fmt: skip


def patent_examples() -> tuple[Claim, ...]:
    """Return the worked examples of the patent document."""
    one = torch.ones(2, dtype=torch.float64)
    losses = F.binary_cross_entropy(torch.tensor([0.95, 0.1], dtype=torch.float64), one, reduction="none").tolist()
    by_probability = _gradients((0.8, 0.2))
    by_logit = [gradient * p * (1 - p) for gradient, p in zip(by_probability, (0.8, 0.2), strict=True)]
    squared = [(1 - p) ** 2 for p in (0.9, 0.1)]
    squared_by_logit = [2 * (p - 1) * p * (1 - p) for p in (0.9, 0.1)]
    gradients = [torch.tensor(own, dtype=torch.float64) for own in GRADIENTS]
    norm = float(torch.linalg.vector_norm(torch.cat(gradients)))
    return (
        computed_claim(
            "Loss of a probability of 0.95 and of 0.1 for the true class", LOSS, (0.051, 2.303), losses, ".3f"
        ),
        computed_claim(
            "Gradient by the probability, at 0.8 and at 0.2 for the true class", LOSS, (-1.25, -5.0), by_probability,
            ".2f",
        ),
        Claim(
            "The gradient is larger when the prediction is more wrong, so that it corrects faster", LOSS, "4 times",
            (Measured("by the score", Spread(by_logit[1] / by_logit[0], None, 1), ".1f"),), HOLDS,
            f"what the network sees is the gradient by the score, {by_logit[0]:.1f} and {by_logit[1]:.1f}: 4 times is "
            "right, the figures are not those that weights are updated with",
        ),
        computed_claim("Squared error at 0.9 and at 0.1", LOSS, (0.01, 0.81), squared, ".2f"),
        Claim(
            "Squared error does not penalize wrong predictions enough", LOSS, "2.30 and 0.81",
            (Measured("gradient by the score at 0.1", Spread(abs(squared_by_logit[1]), None, 1), ".3f"),), HOLDS,
            "the two losses have other units; their gradients by the score at 0.1 can be compared: "
            f"{abs(squared_by_logit[1]):.3f} of the squared error, 0.900 of cross-entropy, and towards 0 and 1 at 0",
        ),
        computed_claim(
            "Norm of the gradients", CLIPPING, (28.5,), (norm,), ".1f", f"the root of the sum of squares is {norm:.2f}"
        ),
        computed_claim("Factor that clips them to a norm of 1", CLIPPING, (0.035,), (1 / norm,), ".3f"),
    )  # fmt: skip


def _gradients(probabilities: Sequence[float]) -> list[float]:
    """Return the gradient of the loss by the probability of the true class, by autograd."""
    own = torch.tensor(probabilities, dtype=torch.float64, requires_grad=True)
    F.binary_cross_entropy(own, torch.ones_like(own), reduction="sum").backward()
    assert own.grad is not None
    gradients: list[float] = own.grad.tolist()
    return gradients
