"""The worked examples and the counts of the patent document, computed by PyTorch or from the formula itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from tabcohort.network.models import ResidualMLP
from tabcohort.reproduce.claims import FAILS, HOLDS, Claim, computed_claim, counted_claim, measured_once

BATCH_SIZE, N_FEATURES, HIDDEN = 256, 10, (256, 128)
CLAIMED_LAYERS = {
    "input norm": 20, "block 10-256": 68_608, "block 256-128": 49_408, "output norm": 256, "output": 129,
}  # fmt: skip
CLAIMED_LEFTOVER, CLAIMED_LEFTOVER_VALIDATION = 27, 119
GRADIENTS = ((2.5, -3.2, 1.8), (15.3, -8.7, 22.1))
SIMILARITIES, MATCHES = (0.12, 0.35, 0.18, 0.42, 0.28), (0.0, 0.0, 1.0, 0.0, 0.0)
SCALING, MODEL, LOSS, LOADER = "feature scaling", "model creation", "binary cross-entropy loss", "DataLoader creation"
MIXUP, BACKWARD, CLIPPING = "mixup augmentation", "forward and backward pass", "gradient clipping"


def patent_examples(n_train: int, n_validation: int) -> tuple[Claim, ...]:
    """Return all of them.

    Args:
        n_train, n_validation: numbers of rows.
    """
    return (
        *scaling_examples(),
        *layer_claims(),
        *loader_claims(n_train, n_validation),
        *loss_examples(),
        *mixup_examples(),
        *clipping_examples(),
    )


def scaling_examples() -> tuple[Claim, ...]:
    """Return the standardized columns of five rows."""
    similarities, matches = (np.array(values) for values in (SIMILARITIES, MATCHES))
    return (
        computed_claim(
            "Mean and standard deviation of five similarities", SCALING, (0.27, 0.12),
            (similarities.mean(), similarities.std()), ".2f",
            f"their standard deviation is {similarities.std():.3f}, and the scaled values follow from it",
        ),
        computed_claim(
            "The five similarities, scaled", SCALING, (-1.25, 0.67, -0.75, 1.25, 0.08),
            ((similarities - similarities.mean()) / similarities.std()).tolist(), ".2f", "with the right deviation",
        ),
        computed_claim(
            "Five assignee matches, scaled", SCALING, (-0.5, -0.5, 2.0, -0.5, -0.5),
            ((matches - matches.mean()) / matches.std()).tolist(), ".1f",
        ),
    )  # fmt: skip


def count_parameters() -> int:
    """Return the number of parameters of the document's network."""
    return sum(layer_parameters().values())


def layer_parameters() -> dict[str, int]:
    """Return the number of parameters of the document's network by layer, in the order of its table."""
    network = ResidualMLP(N_FEATURES, HIDDEN, 1)
    parts = [network.input_norm, *network.blocks, network.output_norm, network.linear]
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    return dict(zip(CLAIMED_LAYERS, counts, strict=True))


def layer_claims() -> tuple[Claim, ...]:
    """Return the number of parameters of each layer, and of all."""
    counted = layer_parameters()
    reason = "the document counts a square matrix per block, where the network has the skip's projection"
    by_layer = (
        counted_claim(f"Parameters of the {name}", MODEL, claimed, counted[name], reason)
        for name, claimed in CLAIMED_LAYERS.items()
    )
    total = sum(CLAIMED_LAYERS.values())
    return (
        *by_layer,
        counted_claim("Parameters of the network", MODEL, total, count_parameters(), "the sum of the layers above"),
        counted_claim(
            "Bytes of these parameters as float32", MODEL, total * 4, count_parameters() * 4, "4 bytes for each of them"
        ),
    )


def loader_claims(n_train: int, n_validation: int) -> tuple[Claim, ...]:
    """Return the batches of an epoch, what the last one has, and that shapes of labels must fit.

    Args:
        n_train, n_validation: numbers of rows.
    """
    outputs, labels = torch.full((4, 1), 0.5), torch.zeros(4)
    try:
        F.binary_cross_entropy(outputs, labels)
        is_refused = False
    except ValueError:
        is_refused = True
    return (
        counted_claim("Whole batches of an epoch", LOADER, 156, n_train // BATCH_SIZE),
        counted_claim("Rows left over by the last batch", LOADER, CLAIMED_LEFTOVER, n_train % BATCH_SIZE),
        counted_claim("Batches of the validation rows", LOADER, 34, -(-n_validation // BATCH_SIZE)),
        counted_claim(
            "Rows of their last batch", LOADER, CLAIMED_LEFTOVER_VALIDATION, n_validation % BATCH_SIZE
        ),
        Claim(
            "Labels of shape (n,) beside outputs of shape (n, 1) raise an error", LOADER, "error",
            (measured_once("refused by PyTorch", is_refused, ".0%"),),
            HOLDS if is_refused else FAILS,
            "of binary cross-entropy; the squared error only warns, and compares every row with every other",
        ),
    )  # fmt: skip


def loss_examples() -> tuple[Claim, ...]:
    """Return losses and their gradients, and what the squared error has instead."""
    one = torch.ones(2, dtype=torch.float64)
    losses = F.binary_cross_entropy(torch.tensor([0.95, 0.1], dtype=torch.float64), one, reduction="none").tolist()
    by_probability = _gradients((0.8, 0.2))
    by_logit = [gradient * p * (1 - p) for gradient, p in zip(by_probability, (0.8, 0.2), strict=True)]
    squared = [(1 - p) ** 2 for p in (0.9, 0.1)]
    at_one_tenth, of_cross_entropy = 2 * 0.9 * 0.1 * 0.9, 1 - 0.1  # absolute, with respect to the logit
    return (
        computed_claim(
            "Loss of a probability of 0.95 and of 0.1 for the true class", LOSS, (0.051, 2.303), losses, ".3f"
        ),
        computed_claim(
            "Gradient with respect to the probability, at 0.8 and at 0.2 for the true class", LOSS, (-1.25, -5.0),
            by_probability, ".2f",
        ),
        Claim(
            "The gradient is larger when the prediction is more wrong, so that it corrects faster", LOSS, "4 times",
            (measured_once("with respect to the logit", by_logit[1] / by_logit[0], ".1f"),),
            HOLDS if round(by_logit[1] / by_logit[0], 1) == 4 else FAILS,
            f"with respect to the logit, which updates the weights, they are {by_logit[0]:.1f} and {by_logit[1]:.1f}",
        ),
        computed_claim("Squared error at 0.9 and at 0.1", LOSS, (0.01, 0.81), squared, ".2f"),
        Claim(
            "Squared error does not penalize wrong predictions enough", LOSS, "2.30 and 0.81",
            (
                measured_once("its gradient at 0.1", at_one_tenth, ".3f"),
                measured_once("that of cross-entropy", of_cross_entropy, ".3f"),
            ),
            HOLDS if at_one_tenth < of_cross_entropy else FAILS,
            "losses in different units cannot be compared, but gradients with respect to the logit can; near 0 they "
            "approach 0 and 1",
        ),
    )  # fmt: skip


def mixup_examples() -> tuple[Claim, ...]:
    """Return a mixed pair, and the values that Beta(0.2, 0.2) draws."""
    pairs = ((0.85, 0.15), (0.72, 0.23), (1.0, 0.0))
    mixed = [0.6 * first + 0.4 * second for first, second in pairs]
    return (
        computed_claim("Two features and the label of a pair mixed with 0.6", MIXUP, (0.57, 0.524, 0.6), mixed, ".3f"),
        accumulated_gradients(),
    )


def accumulated_gradients() -> Claim:
    """Return that gradients of several backward passes add up unless they are cleared."""
    weight = torch.tensor(2.0, requires_grad=True)
    for _ in range(3):
        (3 * weight).backward()
    assert weight.grad is not None
    return computed_claim(
        "Without `zero_grad`, the gradient 3 of each of three passes adds up", BACKWARD, (9.0,), (float(weight.grad),),
        ".0f",
    )  # fmt: skip


def clipping_examples() -> tuple[Claim, ...]:
    """Return the clipped gradients, and what ten layers do to a gradient and to a weight."""
    norm = float(np.linalg.norm(np.concatenate(GRADIENTS)))
    step = adam_step(gradient=1_024.0, learning_rate=0.002)
    return (
        computed_claim(
            "Norm of the gradients", CLIPPING, (28.5,), (norm,), ".1f", f"the root of the sum of squares is {norm:.2f}"
        ),
        computed_claim("Factor that clips them to a norm of 1", CLIPPING, (0.035,), (1 / norm,), ".3f"),
        computed_claim(
            "A factor of 0.5 in each of 10 layers, and of 2", CLIPPING, (0.00098, 1_024), (0.5**10, 2.0**10), ".5f",
        ),
        computed_claim(
            "A weight of 0.5 after one step with a gradient of 1,024", CLIPPING, (-1.548,), (0.5 - step,), ".3f",
            "that is plain gradient descent; the first step of AdamW, which trains here, is the learning rate, 0.002, "
            "whatever the gradient",
        ),
    )  # fmt: skip


def adam_step(gradient: float, learning_rate: float) -> float:
    """Return by how much PyTorch's AdamW lowers a weight in its first step, without decay."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.tensor([gradient], dtype=torch.float64)
    torch.optim.AdamW([weight], lr=learning_rate, weight_decay=0.0).step()
    return -float(weight.detach())


def _gradients(probabilities: Sequence[float]) -> list[float]:
    """Return the gradient of the loss with respect to the probability of the true class, by autograd."""
    p = torch.tensor(probabilities, dtype=torch.float64, requires_grad=True)
    F.binary_cross_entropy(p, torch.ones_like(p), reduction="sum").backward()
    assert p.grad is not None
    gradients: list[float] = p.grad.tolist()
    return gradients
