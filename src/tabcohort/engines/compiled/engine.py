"""The compiled engine: hand-derived gradients in machine code, no Python between steps, no PyTorch at all.

The arithmetic is in `kernels.py`; this lays out a program's memory and calls it. Batches, mixup partners and dropout
masks are those of the torch engine, from the same plan.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  Numba's matrix products come from here
from threadpoolctl import ThreadpoolController

from tabcohort.engines.batches import EpochPlan, Epochs
from tabcohort.engines.compiled import kernels
from tabcohort.engines.compiled.jit import COMPILING_FOR_ANOTHER, prepare
from tabcohort.engines.compiled.layout import Layout
from tabcohort.engines.protocol import EpochOutcome, MemberData, Outcomes, State, check_shape_of_logits
from tabcohort.errors import TrainingError
from tabcohort.network.program import Network
from tabcohort.settings import Settings

_COMPILING = threading.Lock()

OPTIMIZERS = {"sgd": kernels.SGD, "adam": kernels.ADAM, "adamw": kernels.ADAMW}
ROWS_PER_PASS = 256
SECONDS_TO_COMPILE = 300
MOST_EPOCHS_AT_A_TIME, PRODUCTS_OF_A_CALL = 32, 2_000_000  # so that a call of many takes a millisecond at most


class CompiledEngine:
    """Trains a network; see `tabcohort.engines.protocol.Engine` for what its attributes mean.

    Args:
        network: its numbers are read now and written back by `release`. The `encode` and `standardize`
            operations at its beginning are what `data` does to the rows.
        data: the member's rows.
        settings: optimiser, decay and clipping are used.

    Raises:
        TrainingError: the network's logits do not fit the number of classes.
    """

    name, device_name = "compiled", "cpu"

    def __init__(self, network: Network, data: MemberData, settings: Settings) -> None:
        self.network, self.data, self.settings = network, data, settings
        self.has_batch_norm = network.program.has_batch_norm
        parameters = network.parameters
        self.dtype = parameters.dtype
        self.state: State = {
            "parameters": parameters.copy(),
            "buffers": network.buffers.copy(),
            "first_moment": np.zeros_like(parameters),
            "second_moment": np.zeros_like(parameters if settings.optimizer != "sgd" else parameters[:0]),
        }
        self.gradient = np.zeros_like(parameters)
        self.n_outputs = network.program.n_outputs
        check_shape_of_logits((2, self.n_outputs), n_classes=data.train_mass.shape[1])
        products_of_epoch = max(1, network.program.n_products * len(data.train))  # no linear layer, no products
        self.epochs_at_a_time = max(1, min(MOST_EPOCHS_AT_A_TIME, PRODUCTS_OF_A_CALL // products_of_epoch))
        beta1 = settings.momentum if settings.optimizer == "sgd" else settings.beta1
        numbers = (settings.weight_decay, beta1, settings.beta2, settings.epsilon, settings.clip_norm or 0.0)
        self.constants = (
            OPTIMIZERS[settings.optimizer], network.program.n_in_matrices, *(self.dtype.type(each) for each in numbers)
        )  # fmt: skip
        self.mass = data.train_mass.astype(self.dtype, copy=False)
        self.layout: Layout | None = None
        with _COMPILING:  # before training begins; the threads of other members wait for it
            if prepare(kernels.run_epochs, self.dtype.name):
                _compile_elsewhere(self.dtype)

    def run_epochs(self, plans: Epochs, rates: Sequence[float]) -> Outcomes:
        """Run these epochs one after another at these rates, each with a pass over the stopping rows at its end."""
        n_epochs, n_steps = plans.mixes.shape
        if plans.orders.shape[1] != len(self.data.train):  # the kernel itself looks at no bounds
            raise TrainingError(f"the plan is of {plans.orders.shape[1]} rows, and {len(self.data.train)} train")
        rows_of_a_step = int(np.diff(plans.bounds).max())
        if self.layout is None or rows_of_a_step > self.layout.rows:
            rows = max(rows_of_a_step, min(ROWS_PER_PASS, len(self.data.stop)))
            self.layout = Layout(self.network.program, rows, self.mass.shape[1], self.dtype)
        layout, data, state = self.layout, self.data, self.state
        self.n_kept = n_epochs if n_epochs > 1 else 0  # one epoch's state is the engine's
        self.kept = {name: np.empty((self.n_kept, array.size), array.dtype) for name, array in state.items()}
        losses = np.empty((n_epochs, n_steps))
        stop_logits = np.empty((n_epochs, len(data.stop), self.n_outputs), self.dtype)
        kernels.run_epochs(
            layout.operations, layout.constants, layout.values, layout.n_prepared, *state.values(), self.gradient,
            *self.kept.values(), layout.work, layout.spare, layout.batch_mass, data.rows, data.centre, data.scale,
            data.train, self.mass, plans.orders, plans.bounds, plans.mixes.astype(self.dtype), plans.partners,
            plans.layer_keys, losses, (plans.first - 1) * n_steps,
            np.array(rates, self.dtype).reshape(n_epochs), *self.constants,
            data.stop, layout.rows, stop_logits,
        )  # fmt: skip
        return Outcomes(losses, stop_logits)

    def run_epoch(self, plan: EpochPlan, learning_rate: float) -> EpochOutcome:
        """Run one epoch."""
        arrays = (plan.order[None], plan.bounds, plan.mix[None], plan.partners[None], plan.layer_keys[None])
        return self.run_epochs(Epochs(plan.epoch, *arrays, plan.member), [learning_rate])[0]

    def state_after(self, number: int) -> State:
        """Return the state after an epoch of the last call, counted from 0, in memory that nothing writes to later."""
        if self.n_kept:
            return {name: array[number] for name, array in self.kept.items()}
        return {name: array.copy() for name, array in self.state.items()}

    def release(self) -> None:
        """Write the state's parameters and buffers back into the network."""
        self.network.parameters[:] = self.state["parameters"]
        self.network.buffers[:] = self.state["buffers"]


def _compile_elsewhere(dtype: np.dtype[np.floating]) -> None:
    """Let another process compile the kernels, so that this one uses what is kept, as all later ones will.

    A process that compiles has a kernel's parts compiled alone, too, and would use those: they may round otherwise.
    If the other process fails, this one compiles.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return
    # The modules of this process, and none that happen to lie in the folder that it works in.
    path = os.pathsep.join(folder for folder in sys.path if folder and Path(folder).is_absolute())
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONINSPECT": "", COMPILING_FOR_ANOTHER: "1", "NUMBA_OPT": "2"}
    nowhere = subprocess.DEVNULL
    with suppress(OSError, subprocess.SubprocessError), ExitStack() as running:
        for part in ("training", "predicting"):  # side by side
            code = f"from tabcohort.engines.compiled.inference import compile_{part}; compile_{part}({dtype.name!r})"
            command = [sys.executable, "-P", "-c", code]
            process = subprocess.Popen(command, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere)
            running.callback(process.kill)
            running.callback(process.wait, SECONDS_TO_COMPILE)


_COUNT = threading.Lock()
_inside = 0  # threads that are in `one_blas_thread`
_limiter: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run matrix products on one thread: members share the cores, and two BLAS threads under load are far slower.

    The limit is one for the process: the first thread to come sets it, the last to leave lifts it.
    """
    global _inside, _limiter
    with _COUNT:
        if not _inside:
            _limiter = _libraries().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _COUNT:
            _inside -= 1
            if not _inside:
                _limiter.restore_original_limits()


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
