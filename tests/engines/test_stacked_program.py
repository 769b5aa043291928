"""A stacked program has the logits of each of its networks, and gradients that do not mix them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tabcohort import Config
from tabcohort.engines.compiled.inference import Inference
from tabcohort.engines.stacked_program import StackedProgram, StepInputs
from tabcohort.network.program import Network, Program, build_program

CASES: dict[str, dict[str, Any]] = {
    "logistic": {"model": "logistic"},
    "mlp": {"hidden": (5, 4), "batch_norm": True, "dropout": 0.2, "activation": "silu"},
    "residual": {"model": "residual", "hidden": (6, 6)},
    "scaled inputs": {"hidden": (3,), "input_scale": True, "periodic": 2},
}


def networks_of(case: str, n_networks: int = 3) -> tuple[Program, list[Network]]:
    """Return networks of one program with random parameters, and a standardization that changes nothing."""
    program, rng = build_program(Config(**CASES[case]), 4, 3), np.random.default_rng(0)
    networks = []
    for _ in range(n_networks):
        parameters = rng.normal(size=program.n_parameters).astype(np.float32)
        buffers = rng.uniform(0.5, 1.5, program.n_buffers)
        buffers[:4], buffers[4:8] = 0, 1  # center and scale
        networks.append(Network(program, parameters, buffers))
    return program, networks


def stacked(program: Program, networks: list[Network]) -> tuple[StackedProgram, torch.Tensor]:
    values = torch.from_numpy(np.stack([network.parameters for network in networks]))
    buffers = torch.from_numpy(np.stack([network.buffers for network in networks]).astype(np.float32))
    return StackedProgram(program, values, buffers), values


def training_step(n_networks: int, n_rows: int) -> StepInputs:
    """Return a step on all rows, of which those of the last network are one less than the others."""
    ones, none = torch.ones(n_networks, 1), torch.empty(0)
    keys, sizes = torch.arange(n_networks, dtype=torch.int32)[:, None], n_rows * ones
    mask = torch.ones(n_networks, n_rows, 1)
    sizes[-1] -= 1
    mask[-1, -1] = 0
    shares = torch.full((2, n_networks, 1), int(-(2**15) * 0.8), dtype=torch.int16)
    return StepInputs(none, keys, keys, sizes, ones, ones, ones, ones, shares, none, none, mask)


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_each_network(case: str) -> None:
    program, networks = networks_of(case)
    X = np.random.default_rng(1).normal(size=(3, 7, 4)).astype(np.float32)
    logits = stacked(program, networks)[0].logits(torch.from_numpy(X), None).detach().numpy()
    for network, rows, own in zip(networks, X, logits, strict=True):
        np.testing.assert_allclose(own, Inference([network]).logits(rows.astype(np.float64))[:, 0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_network_has_no_gradient_by_the_rows_of_another(case: str) -> None:
    program, networks = networks_of(case)
    net, values = stacked(program, networks)
    X = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 7, 4)).astype(np.float32))
    gradients = torch.autograd.grad(net.logits(X, training_step(3, 7))[1].square().sum(), net.leaves)
    assert sum(leaf.numel() for leaf in net.leaves) == values.numel()
    for gradient in gradients:
        assert gradient[1].abs().sum() > 0
        assert gradient[[0, 2]].abs().sum() == 0
