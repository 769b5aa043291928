"""PyTorch modules become programs, and programs' numbers go back into their modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import NDArray
from torch import Tensor

from tabcohort.errors import EngineError
from tabcohort.models import MLP, LogisticRegression, ResidualBlock, ResidualMLP
from tabcohort.program import Operation, Program

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}


@dataclass(frozen=True)
class Slot:
    """Where a tensor of the module lies in the parameter vector, or in the buffer vector.

    Args:
        tensor: of the module; it stays the module's own.
        start: its first place.
        is_matrix: whether it lies transposed, `(d_in, d_out)` where PyTorch has `(d_out, d_in)`.
        is_buffer: whether it lies in the buffer vector.
    """

    tensor: Tensor
    start: int
    is_matrix: bool
    is_buffer: bool


@dataclass(frozen=True)
class Lowered:
    """A module's program and where its tensors lie."""

    program: Program
    slots: tuple[Slot, ...]

    def read(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the parameter vector and the buffer vector, copied from the module, in its dtype."""
        dtype = next(slot.tensor for slot in self.slots).detach().numpy().dtype
        parameters = np.zeros(self.program.n_parameters, dtype)
        buffers = np.zeros(self.program.n_buffers, dtype)
        for slot in self.slots:
            array = slot.tensor.detach().numpy()
            flat = (array.T if slot.is_matrix else array).reshape(-1)
            (buffers if slot.is_buffer else parameters)[slot.start : slot.start + flat.size] = flat
        return parameters, buffers

    def write(self, parameters: NDArray[np.floating], buffers: NDArray[np.floating]) -> None:
        """Copy the vectors into the module's tensors."""
        with torch.no_grad():
            for slot in self.slots:
                source = buffers if slot.is_buffer else parameters
                flat = torch.from_numpy(source[slot.start : slot.start + slot.tensor.numel()].copy())
                shape = slot.tensor.shape
                slot.tensor.copy_(flat.view(shape[1], shape[0]).T if slot.is_matrix else flat.view(shape))


def lower(module: nn.Module, n_inputs: int) -> Lowered:
    """Return the program of a module that maps `(n_rows, n_inputs)` to logits.

    Linear, BatchNorm1d, LayerNorm, ReLU, LeakyReLU, GELU, SiLU, Tanh, Sigmoid, Dropout, Identity, this package's
    networks and residual block, and any `nn.Sequential` of these can be lowered.

    Raises:
        EngineError: a layer cannot be lowered; the sentence names it by its path.
    """
    builder = _Builder([n_inputs])
    builder.layer(module, "", 0)
    if not builder.parameters:
        raise EngineError("the module has no trainable parameters; there is nothing to train")
    return builder.finish()


@dataclass
class _Builder:
    """Collects operations while it walks a module."""

    widths: list[int]
    operations: list[Operation] = field(default_factory=list)
    parameters: list[Tensor] = field(default_factory=list)
    buffers: list[Tensor] = field(default_factory=list)

    def layer(self, layer: nn.Module, path: str, source: int) -> int:
        """Add a layer that reads value `source`, and return the value that it writes."""
        if isinstance(layer, nn.Identity):
            return source
        if type(layer) in _COMPOSITES:
            for name, child in _COMPOSITES[type(layer)](layer):
                source = self.layer(child, f"{path}.{name}".lstrip("."), source)
            return source
        if type(layer) is ResidualBlock:
            return self._block(layer, path, source)
        return self._leaf(layer, path, source)

    def _block(self, block: ResidualBlock, path: str, source: int) -> int:
        main = source
        for name in ("linear", "norm", "activation", "dropout"):
            main = self.layer(getattr(block, name), f"{path}.{name}".lstrip("."), main)
        skip = self.layer(block.skip, f"{path}.skip".lstrip("."), source)
        return self._add("add", path, (main, skip), self.widths[main])

    def _leaf(self, layer: nn.Module, path: str, source: int) -> int:
        width = self.widths[source]
        kind = type(layer)
        if kind in ACTIVATIONS and not (isinstance(layer, nn.GELU) and layer.approximate != "none"):
            slope = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
            return self._add(ACTIVATIONS[kind], path, (source,), width, constants=(slope,))
        if isinstance(layer, nn.Dropout):
            if layer.p == 0:
                return source
            share = 0 if layer.p == 1 else min(max(round((1 - layer.p) * 2**15), 1), 2**15 - 1)
            return self._add("dropout", path, (source,), width, constants=(share,))
        # A subclass may do something else in its forward, so only the very classes will do.
        if kind is nn.Linear and isinstance(layer, nn.Linear) and layer.bias is not None:
            return self._add("linear", path, (source,), layer.out_features, (layer.weight, layer.bias))
        if isinstance(layer, nn.LayerNorm) and layer.bias is not None and layer.normalized_shape == (width,):
            return self._add("layer_norm", path, (source,), width, (layer.weight, layer.bias), (layer.eps,))
        if kind is nn.BatchNorm1d and isinstance(layer, nn.BatchNorm1d) and layer.affine:
            mean, var = layer.running_mean, layer.running_var
            if mean is not None and var is not None and layer.momentum is not None:
                self.buffers += [mean, var]
                constants = (layer.eps, layer.momentum)
                return self._add("batch_norm", path, (source,), width, (layer.weight, layer.bias), constants)
        where = f"the layer {path!r}" if path else "the module"
        raise EngineError(
            f"{where} ({layer}) cannot be compiled; train it with engine='torch', or build it of {SUPPORTED}"
        )

    def _add(
        self,
        kind: str,
        path: str,
        sources: tuple[int, ...],
        d_out: int,
        tensors: tuple[Tensor, ...] = (),
        constants: tuple[float, ...] = (),
    ) -> int:
        # Offsets are known only when all tensors are; until then they are places in the lists.
        weight, bias = len(self.parameters), len(self.parameters) + 1
        self.parameters += tensors
        self.widths.append(d_out)
        self.operations.append(
            Operation(
                kind, path, sources, len(self.widths) - 1, d_out,
                weight=weight, bias=bias, buffers=len(self.buffers) - 2 if kind == "batch_norm" else 0,
                constants=constants, n_parameters=sum(tensor.numel() for tensor in tensors),
            )
        )  # fmt: skip
        return len(self.widths) - 1

    def finish(self) -> Lowered:
        """Lay out the vectors, matrices first, and return the program with its offsets."""
        order = sorted(range(len(self.parameters)), key=lambda i: self.parameters[i].ndim < 2)
        starts = _starts([self.parameters[i] for i in order])
        place = dict(zip(order, starts, strict=False))
        buffer_starts = _starts(self.buffers)
        operations = tuple(
            replace(each, weight=place[each.weight], bias=place[each.bias], buffers=buffer_starts[each.buffers])
            if each.n_parameters
            else each
            for each in self.operations
        )
        n_in_matrices = sum(tensor.numel() for tensor in self.parameters if tensor.ndim == 2)
        program = Program(operations, self.widths[0], starts[-1], n_in_matrices, buffer_starts[-1])
        slots = [Slot(self.parameters[i], place[i], self.parameters[i].ndim == 2, is_buffer=False) for i in order]
        slots += [
            Slot(each, start, is_matrix=False, is_buffer=True)
            for each, start in zip(self.buffers, buffer_starts, strict=False)
        ]
        return Lowered(program, tuple(slots))


def _starts(tensors: list[Tensor]) -> list[int]:
    """Return where each tensor begins in a vector of all of them, and the vector's length."""
    return [0, *np.cumsum([tensor.numel() for tensor in tensors], dtype=int).tolist()]


def _children(*names: str) -> Callable[[nn.Module], Iterable[tuple[str, nn.Module]]]:
    return lambda module: [(name, getattr(module, name)) for name in names]


_COMPOSITES: dict[type[nn.Module], Callable[[nn.Module], Iterable[tuple[str, nn.Module]]]] = {
    nn.Sequential: lambda module: module.named_children(),
    LogisticRegression: _children("linear"),
    MLP: _children("layers"),
    ResidualMLP: _children("input_norm", "blocks", "output_norm", "linear"),
}
SUPPORTED = (
    "Linear, BatchNorm1d, LayerNorm, ReLU, LeakyReLU, GELU, SiLU, Tanh, Sigmoid, Dropout, Identity, ResidualBlock and "
    "Sequential"
)
