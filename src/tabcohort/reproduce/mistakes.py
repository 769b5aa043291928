"""The documents' mistakes that can be measured without training a model: each function runs a small experiment."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from tabcohort.randomness import Purpose, make_rng
from tabcohort.reproduce.findings import Mistake


def xavier_bound(d_in: int = 30, d_out: int = 1, n_layers: int = 2_000) -> Mistake:
    """Compare the weights that PyTorch's `xavier_uniform_` draws with the bound that the documents give."""
    rng = torch.Generator().manual_seed(0)
    layers = [torch.nn.init.xavier_uniform_(torch.empty(d_out, d_in), generator=rng) for _ in range(n_layers)]
    weights = torch.stack(layers).double()
    bound = math.sqrt(2 / (d_in + d_out))
    documents_deviation = np.std(make_rng(0, Purpose.SAMPLE).uniform(-bound, bound, weights.numel()))
    figures = {
        "document_bound": bound,
        "largest_weight": weights.abs().max().item(),
        "standard_deviation": weights.std().item(),
        "standard_deviation_within_document_bound": float(documents_deviation),
    }
    effect = (
        "xavier_uniform_ draws up to ±{largest_weight:.3f}, with standard deviation {standard_deviation:.3f}; with the "
        "document's bound it would be {standard_deviation_within_document_bound:.3f}: sqrt(2 / (in + out)) is the "
        "standard deviation, and the bound is sqrt(6 / (in + out))"
    ).format(**figures)
    return Mistake(f"puts Xavier's uniform weights within ±sqrt(2 / (in + out)) = {bound:.3f}", effect, figures)


def epsilon_under_root(gradient: float = 1e-6, learning_rate: float = 1e-3, epsilon: float = 1e-8) -> Mistake:
    """Compare the first step that Adam takes for a tiny gradient with the documents' formula."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.full_like(weight, gradient)
    torch.optim.Adam([weight], lr=learning_rate, eps=epsilon).step()
    step = abs(weight.item())
    documents_step = learning_rate * gradient / math.sqrt(gradient**2 + epsilon)
    figures = {"gradient": gradient, "step": step, "document_step": documents_step, "ratio": step / documents_step}
    effect = (
        "for a gradient of {gradient:g} Adam's first step is {step:.3g}; by the document's formula it would be "
        "{document_step:.3g}, {ratio:.0f} times too small"
    ).format(**figures)
    return Mistake("puts Adam's epsilon under the root", effect, figures)


def adamw_decay(learning_rate: float = 2e-3, weight_decay: float = 1e-5, steps: int = 1_000) -> Mistake:
    """Compare how far AdamW shrinks weights without a gradient with the document's rule."""
    start = make_rng(0, Purpose.SAMPLE).normal(size=1_000)
    shrinkage = _shrinkage(torch.from_numpy(start), learning_rate, weight_decay, steps)
    in_float32 = _shrinkage(torch.from_numpy(start).float(), learning_rate, weight_decay, steps)
    by_document = start.copy()
    for _ in range(steps):
        by_document *= 1 - weight_decay
    figures = {
        "steps": float(steps),
        "shrinkage": shrinkage,
        "shrinkage_in_float32": in_float32,
        "document_shrinkage": 1 - float(np.abs(by_document).sum() / np.abs(start).sum()),
    }
    effect = (
        "after {steps:.0f} steps weights shrink by {shrinkage:.2g} in float64, not by {document_shrinkage:.2g}: the "
        "factor is 1 - learning rate × decay; in float32, in which the document trains, by {shrinkage_in_float32:.2g}, "
        "because that factor rounds to 1"
    ).format(**figures)
    return Mistake("has AdamW multiply weights by 1 - decay after each step", effect, figures)


def _shrinkage(start: torch.Tensor, learning_rate: float, weight_decay: float, steps: int) -> float:
    weight = start.clone().requires_grad_()
    weight.grad = torch.zeros_like(weight)
    optimizer = torch.optim.AdamW([weight], lr=learning_rate, weight_decay=weight_decay)
    for _ in range(steps):
        optimizer.step()
    return 1 - (weight.detach().abs().sum() / start.abs().sum()).item()


def loss_on_probabilities(largest: int = 40) -> Mistake:
    """Find the logit from which a loss on float32 probabilities gives a wrong prediction no gradient."""

    def gradients(logit: float) -> tuple[float, float]:
        z = torch.tensor([logit], dtype=torch.float32, requires_grad=True)
        (of_probability,) = torch.autograd.grad(F.binary_cross_entropy(torch.sigmoid(z), torch.zeros(1)), z)
        (of_logit,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(z, torch.zeros(1)), z)
        return of_probability.item(), of_logit.item()

    saturated = next(logit for logit in range(1, largest) if gradients(float(logit))[0] == 0)
    of_probability, of_logit = gradients(saturated)
    figures = {"logit": float(saturated), "gradient": of_probability, "gradient_on_logits": of_logit}
    effect = (
        "from a logit of {logit:.0f} on, a wrong prediction has gradient {gradient:g}; with the loss of logits it has "
        "{gradient_on_logits:.3f}: the network never learns such a row"
    ).format(**figures)
    return Mistake("takes the loss of probabilities (a sigmoid, then BCELoss)", effect, figures)
