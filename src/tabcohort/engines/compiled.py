"""The compiled engine: hand-derived gradients in machine code, no Python between steps, no PyTorch in an epoch.

The arithmetic is in `kernels.py`; this lays out a program's memory and calls it. Batches, mixup partners and dropout
masks are those of the torch engine, from the same plan.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch.nn as nn
from numba import config
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from tabcohort.engines import EpochOutcome, MemberData, kernels
from tabcohort.errors import TabcohortWarning
from tabcohort.lower import lower
from tabcohort.plan import EpochPlan
from tabcohort.program import KINDS, Program
from tabcohort.settings import Settings

OPTIMIZERS = {"sgd": kernels.SGD, "adam": kernels.ADAM, "adamw": kernels.ADAMW}
ROWS_PER_PASS = 256


class CompiledEngine:
    """Trains the program of a module; see `tabcohort.engines.Engine` for what its attributes mean.

    Args:
        module: on the CPU; its numbers are read now and written back by `release`.
        data: the member's rows.
        settings: optimiser, decay and clipping are used.

    Raises:
        EngineError: a layer of the module cannot be lowered.
    """

    name, device_name = "compiled", "cpu"

    def __init__(self, module: nn.Module, data: MemberData, settings: Settings) -> None:
        self.module = module
        self.settings = settings
        self.lowered = lower(module, data.train_inputs.shape[1])
        self.program = self.lowered.program
        self.has_batch_norm = self.program.has_batch_norm
        parameters, buffers = self.lowered.read()
        self.dtype = parameters.dtype
        self.state = {
            "parameters": parameters,
            "buffers": buffers,
            "first_moment": np.zeros_like(parameters),
            "second_moment": np.zeros_like(parameters if settings.optimizer != "sgd" else parameters[:0]),
            "steps_taken": np.zeros(1, np.int64),
        }
        self.gradient = np.zeros_like(parameters)
        self.inputs = data.train_inputs.astype(self.dtype, copy=False)
        self.mass = data.train_mass.astype(self.dtype, copy=False)
        self.stop_inputs = data.stop_inputs.astype(self.dtype, copy=False)
        self.stop_logits = np.empty((len(self.stop_inputs), self.program.widths[-1]), self.dtype)
        self.layout: Layout | None = None
        self.libraries = ThreadpoolController()

    def run_epoch(self, plan: EpochPlan, learning_rate: float) -> EpochOutcome:
        """Run every step of the plan at this rate, then pass the stopping rows through the network once."""
        if self.layout is None:
            say_if_compiling()
            rows = max(int(np.diff(plan.bounds).max()), min(ROWS_PER_PASS, len(self.stop_inputs)))
            self.layout = Layout(self.program, rows, self.mass.shape[1], self.dtype)
        layout, state, settings, number = self.layout, self.state, self.settings, self.dtype.type
        losses = np.zeros(plan.n_steps)
        partners, partner_bounds = _partners(plan)
        with self.libraries.limit(limits=1, user_api="blas"):
            kernels.train_epoch(
                layout.operations, layout.constants, layout.values, state["parameters"], self.gradient,
                state["buffers"], state["first_moment"], state["second_moment"], state["steps_taken"],
                layout.work, layout.spare, layout.batch_mass, self.inputs, self.mass, plan.order, plan.bounds,
                plan.mix.astype(self.dtype), partners, partner_bounds, plan.layer_keys, losses,
                OPTIMIZERS[settings.optimizer], number(learning_rate), number(settings.weight_decay),
                self.program.n_in_matrices,
                number(settings.momentum if settings.optimizer == "sgd" else settings.beta1), number(settings.beta2),
                number(settings.epsilon), number(settings.clip_norm or 0.0),
            )  # fmt: skip
            kernels.pass_rows(
                layout.operations, layout.constants, layout.values, state["parameters"], state["buffers"],
                layout.work, layout.rows, self.stop_inputs, self.stop_logits,
            )  # fmt: skip
        return EpochOutcome(losses, self.stop_logits)

    def release(self) -> None:
        """Write the state's parameters and buffers back into the module, and leave it in evaluation mode."""
        self.lowered.write(self.state["parameters"], self.state["buffers"])
        self.module.eval()


def say_if_compiling() -> None:
    """Warn before the first use on a machine, which takes a while."""
    kept = kernels.train_epoch.stats.cache_path if kernels.COMPILED["cache"] and not config.DISABLE_JIT else None  # type: ignore[attr-defined]
    if kept is not None and not list(Path(kept).glob("kernels.train_epoch-*.nbi")):
        warnings.warn("compiling kernels, once per machine: about ten seconds", TabcohortWarning, stacklevel=3)


class Layout:
    """Where everything lies while a program runs on up to `rows` rows at a time.

    Args:
        program: the network.
        rows: the most rows of a step.
        n_classes: columns of a target.
        dtype: of the work.
    """

    def __init__(self, program: Program, rows: int, n_classes: int, dtype: np.dtype[np.floating]) -> None:
        self.rows = rows
        size = 0

        def take(n_numbers: int) -> int:
            nonlocal size
            start, size = size, size + -(-n_numbers // 16) * 16  # each array begins at a cache line
            return start

        self.values = np.array([[width, take(rows * width), take(rows * width)] for width in program.widths])
        self.operations = np.zeros((len(program.operations), 11), np.int64)
        self.constants = np.zeros((len(program.operations), 2), dtype)
        firsts, n_dropouts = _first_to_write(program), 0
        for number, each in enumerate(program.operations):
            normalises = each.kind in ("batch_norm", "layer_norm")
            aux = take(rows * each.d_out + max(rows, each.d_out)) if normalises else 0
            first, first_2 = (*firsts[number], 0)[:2]
            source, source_2 = (*each.sources, 0)[:2]
            self.operations[number] = (
                KINDS.index(each.kind), source, source_2, each.result, each.weight, each.bias, each.buffers, aux,
                first, first_2, n_dropouts,
            )  # fmt: skip
            self.constants[number, : len(each.constants)] = each.constants
            n_dropouts += each.kind == "dropout"
        self.work = np.zeros(size, dtype)
        self.spare = np.zeros(rows * max(program.widths), dtype)
        self.batch_mass = np.zeros((rows, n_classes), dtype)


def _first_to_write(program: Program) -> list[list[int]]:
    """Return for each source of each operation whether the backward pass writes its gradient there first (1) or adds
    to it (0); -1 for the rows, whose gradient nobody wants."""
    written: set[int] = set()
    found = []
    for operation in reversed(program.operations):
        found.append([-1 if source == 0 else int(source not in written) for source in operation.sources])
        written.update(operation.sources)
    return found[::-1]


def _partners(plan: EpochPlan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the mixup partners of all steps one after another, and where each step's begin; none where unmixed."""
    found = [plan.partners(step) if plan.mix[step] < 1 else np.empty(0, np.int64) for step in range(plan.n_steps)]
    return np.concatenate(found), np.cumsum([0, *(len(each) for each in found)])
