"""The worked examples of the patent document, each computed a second time from its formula."""

from __future__ import annotations

import math

import pytest
import torch

from tabcohort.network.models import ResidualMLP
from tabcohort.reproduce.patent_examples import (
    CLAIMED_LAYERS,
    GRADIENTS,
    adam_step,
    count_parameters,
    layer_parameters,
    patent_examples,
)

WRONG = {
    "Mean and standard deviation of five similarities",
    "The five similarities, scaled",
    "Parameters of the block 10-256",
    "Parameters of the block 256-128",
    "Parameters of the network",
    "Bytes of these parameters as float32",
    "Rows left over by the last batch",
    "Norm of the gradients",
    "A weight of 0.5 after one step with a gradient of 1,024",
}


def test_what_is_wrong_in_the_document_is_wrong_here_and_all_else_holds() -> None:
    verdicts = {claim.text: claim.verdict for claim in patent_examples(39_979, 8_567)}
    assert {text for text, verdict in verdicts.items() if verdict != "holds"} == WRONG


def test_examples_are_what_their_formulas_say() -> None:
    claims = {
        claim.text: [quantity.value.mean for quantity in claim.measured] for claim in patent_examples(39_979, 8_567)
    }
    norm = math.sqrt(sum(value**2 for gradient in GRADIENTS for value in gradient))
    assert claims["Norm of the gradients"] == [pytest.approx(norm)]
    mean, deviation = claims["Mean and standard deviation of five similarities"]
    assert claims["The five similarities, scaled"][0] == pytest.approx((0.12 - mean) / deviation)
    assert deviation == pytest.approx(math.sqrt((0.15**2 + 0.08**2 + 0.09**2 + 0.15**2 + 0.01**2) / 5))
    squared, cross_entropy = claims["Squared error does not penalize wrong predictions enough"]
    logit = torch.logit(torch.tensor(0.1, dtype=torch.float64)).requires_grad_()
    (expected,) = torch.autograd.grad((1 - torch.sigmoid(logit)) ** 2, logit)
    assert squared == pytest.approx(-expected.item())
    (expected,) = torch.autograd.grad(-torch.log(torch.sigmoid(logit)), logit)
    assert cross_entropy == pytest.approx(-expected.item())
    gradients = claims["Gradient with respect to the probability, at 0.8 and at 0.2 for the true class"]
    assert gradients == pytest.approx([-1 / 0.8, -1 / 0.2])


def test_the_layers_are_those_of_the_network() -> None:
    network = ResidualMLP(10, (256, 128), 1)
    assert count_parameters() == sum(parameter.numel() for parameter in network.parameters())
    assert list(layer_parameters()) == list(CLAIMED_LAYERS)
    assert layer_parameters()["block 10-256"] == 10 * 256 + 256 + 2 * 256 + 10 * 256 + 256 + 512


@pytest.mark.parametrize("gradient", [1e-3, 1.0, 1_024.0])
def test_adams_first_step_is_the_learning_rate(gradient: float) -> None:
    assert adam_step(gradient, 0.002) == pytest.approx(0.002, rel=1e-4)
    assert adam_step(-gradient, 0.002) == pytest.approx(-0.002, rel=1e-4)


def test_labels_of_another_shape_are_an_error_of_this_loss_only() -> None:
    with pytest.warns(UserWarning, match="target size"):
        torch.nn.functional.mse_loss(torch.zeros(4, 1), torch.zeros(4))
