"""A program of several members at once, in PyTorch: every tensor has a leading axis of members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor
from torch.func import functional_call

from tabcohort.engines.torch_loop import HASH_OF_LAYER, as_int32, kept_elements
from tabcohort.network.ops import Operation
from tabcohort.network.program import Program


@dataclass(frozen=True)
class StepInputs:
    """What a step of all members needs, on the device; `n` is the largest number of rows that a member has in it.

    Args:
        rows: training rows of all members in one table, `(n_members, n)`, int64; padded.
        low, high: halves of the key of the dropout masks, `(n_members, 1)`, int32.
        sizes: number of rows, `(n_members, 1)`.
        rate: learning rate, `(n_members, 1)`.
        decay: weight decay, `(n_members, 1)`.
        bias1, bias2: 1 less the powers of Adam's decay rates, `(n_members, 1)`.
        shares: for each dropout operation, the share that is kept, `(n_dropouts, n_members, 1)`, int16.
        partners: rows to mix with, `(n_members, n)`; empty where no member mixes.
        mix: weight of a row's own values, `(n_members, 1, 1)`.
        mask: 1 for a row and 0 for what is padded, `(n_members, n, 1)`; empty where nothing is.
    """

    rows: Tensor
    low: Tensor
    high: Tensor
    sizes: Tensor
    rate: Tensor
    decay: Tensor
    bias1: Tensor
    bias2: Tensor
    shares: Tensor
    partners: Tensor
    mix: Tensor
    mask: Tensor

    def tensors(self) -> list[Tensor]:
        """Return all of them, in one order."""
        return [getattr(self, field.name) for field in fields(self)]


class StackedProgram:
    """The operations of a program, each on the rows of all members.

    Args:
        program: its operations after those that prepare inputs.
        values: parameters, `(n_members, n_parameters)`; training changes them in place.
        buffers: `(n_members, n_buffers)`.
    """

    def __init__(self, program: Program, values: Tensor, buffers: Tensor) -> None:
        self.operations = [op for op in program.operations[:-1] if not op.spec.prepares_input]
        self.first = self.operations[0].sources[0]
        self.widths = program.widths
        # By their number. None is replaced, as a recorded step reads it where it is.
        self.counters: dict[int, Tensor] = {}
        self.parameters: dict[int, list[Tensor]] = {}  # of an operation, by the value that it writes
        self.statistics: dict[int, list[Tensor]] = {}
        self.layers: dict[int, nn.Module] = {}
        self.places_of_statistics: list[slice] = []
        starts: list[tuple[int, Tensor]] = []
        for op in self.operations:
            d_in = self.widths[op.sources[0]]
            arrays = []
            for start, array in zip(op.parameters, op.spec.parameters, strict=True):
                shape = array.shape(op, d_in)[::-1]  # a matrix is (d_in, d_out) in the vector
                leaf = values[:, start : start + int(np.prod(shape))].view(len(values), *shape).requires_grad_()
                arrays.append(leaf)
                starts.append((start, leaf))
            self.parameters[op.result] = arrays
            places = [slice(start, start + op.d_out) for start in op.buffers]
            self.places_of_statistics += places
            self.statistics[op.result] = [buffers[:, place] for place in places]
            if op.spec.layer:
                with torch.device("meta"):
                    self.layers[op.result] = op.spec.make_layer(op, d_in)
        self.leaves = [leaf for _, leaf in sorted(starts, key=lambda pair: pair[0])]

    def logits(self, inputs: Tensor, step: StepInputs | None) -> Tensor:
        """Return logits `(n_members, n, n_outputs)` of inputs `(n_members, n, n_columns)`.

        Args:
            inputs: preprocessed rows.
            step: the step of a training; None in evaluation mode.
        """
        values, n_dropouts = {self.first: inputs}, 0
        for op in self.operations:
            x = values[op.sources[0]]
            if op.kind == "add":
                x = x + values[op.sources[1]]
            elif op.kind == "linear":
                weight, bias = self.parameters[op.result]
                x = torch.baddbmm(bias[:, None], x, weight)
            elif op.kind == "batch_norm":
                x = self._batch_norm(op, x, step)
            elif op.kind == "dropout":
                x = x if step is None else self._dropout(n_dropouts, x, step)
                n_dropouts += 1
            else:
                x = self._layer(op, x)
            values[op.result] = x
        return x

    def _layer(self, op: Operation, x: Tensor) -> Tensor:
        """Apply the PyTorch layer of an operation, with the parameters of each member."""
        layer, arrays = self.layers[op.result], self.parameters[op.result]
        if not arrays:  # it acts on one row at a time
            return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        names = [array.name for array in op.spec.parameters]
        arrays = [array.mT if array.ndim > 2 else array for array in arrays]  # as PyTorch has matrices

        def apply(x: Tensor, *arrays: Tensor) -> Tensor:
            return functional_call(layer, dict(zip(names, arrays, strict=True)), (x,))

        return torch.vmap(apply)(x, *arrays)

    def _batch_norm(self, op: Operation, x: Tensor, step: StepInputs | None) -> Tensor:
        """Normalise each member's rows by their own mean and variance; rows that are padded do not count."""
        (gain, shift), (running_mean, running_var) = self.parameters[op.result], self.statistics[op.result]
        (epsilon, momentum), x = op.constants[:2], x.float()
        if step is None:
            scale = gain * torch.rsqrt(running_var + epsilon)
            return (x - running_mean[:, None]) * scale[:, None] + shift[:, None]
        mask = step.mask if len(step.mask) else torch.ones_like(x[:, :, :1])
        mean = (x * mask).sum(dim=1) / step.sizes
        centered = (x - mean[:, None]) * mask
        variance = centered.square().sum(dim=1) / step.sizes
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * step.sizes / (step.sizes - 1), momentum)
        return centered * (gain * torch.rsqrt(variance + epsilon))[:, None] + shift[:, None]

    def _dropout(self, number: int, x: Tensor, step: StepInputs) -> Tensor:
        """Drop elements by the masks of each member's key, which those of a member alone are, too."""
        n_elements, share = x[0].numel(), step.shares[number]
        n_hashes = (n_elements + 1) // 2
        if n_hashes not in self.counters:
            self.counters[n_hashes] = torch.arange(n_hashes, dtype=torch.int32, device=x.device)
        start = step.low + as_int32(number * HASH_OF_LAYER)
        kept = kept_elements(self.counters[n_hashes], start, step.high, share)[:, :n_elements]
        return x * kept.reshape(x.shape).to(x.dtype) * (-(2.0**15) / share[:, :, None]).to(x.dtype)


class CapturedStep:
    """A step that is recorded once as a CUDA graph, and launched as a whole from then on. Not measured: no GPU was
    available.

    Args:
        run: the step.
        step: inputs of the shapes that all later ones have.
        state: what a step changes; recording leaves it as it was.
    """

    def __init__(self, run: Callable[[StepInputs], Tensor], step: StepInputs, state: Sequence[Tensor]) -> None:
        before = [tensor.detach().clone() for tensor in state]
        self.step = StepInputs(*(tensor.clone() for tensor in step.tensors()))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # PyTorch asks for warm-up runs before it records
                run(self.step)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.losses = run(self.step)
        with torch.no_grad():
            for tensor, kept in zip(state, before, strict=True):
                tensor.copy_(kept)

    def __call__(self, step: StepInputs) -> Tensor:
        """Take one step, and return its losses."""
        for static, given in zip(self.step.tensors(), step.tensors(), strict=True):
            static.copy_(given)
        self.graph.replay()
        return self.losses.clone()
