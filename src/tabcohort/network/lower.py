"""PyTorch modules become programs, and programs become modules again; their numbers go both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from tabcohort.errors import EngineError
from tabcohort.network.models import (
    MLP,
    Encode,
    LogisticRegression,
    ResidualBlock,
    ResidualMLP,
    SmoothClip,
    Standardize,
)
from tabcohort.network.program import PREPARING, Builder, Network, Operation, Program, blank_network

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}
SUPPORTED = (
    "Encode, Standardize, SmoothClip, Linear, BatchNorm1d, LayerNorm, ReLU, LeakyReLU, GELU, SiLU, Tanh, Sigmoid, "
    "Dropout, Identity, ResidualBlock and Sequential"
)


def lower(module: nn.Module, n_inputs: int) -> Program:
    """Return the program of a module that maps `(n_rows, n_inputs)` to logits.

    Linear, BatchNorm1d, LayerNorm, ReLU, LeakyReLU, GELU, SiLU, Tanh, Sigmoid, Dropout, Identity, this package's
    input layers, networks and residual block, and any `nn.Sequential` of these can be lowered.

    Raises:
        EngineError: a layer cannot be lowered; the sentence names it by its path.

    Example:
        >>> print(lower(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 4))
        value  operation      reads  shape   parameters  layer
            0  rows                  (n, 4)
            1  linear             0  (n, 8)          40  0
            2  relu               1  (n, 8)              1
            3  linear             2  (n, 3)          27  2
            4  cross_entropy      3  ()
                                                     67  in all
    """
    _refuse_what_only_pytorch_does(module)
    builder = Builder(n_inputs)
    program = builder.finish(_layer(builder, module, "", 0))
    if not program.n_parameters:
        raise EngineError("the module has no trainable parameters; there is nothing to train")
    return program


def numbers_of(module: nn.Module, program: Program) -> Network:
    """Return the network of a module whose program is known: its numbers, copied, in the dtype of its parameters."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    dtype = next(module.parameters()).detach().cpu().numpy().dtype.type
    return blank_network(program, dtype).with_named(arrays)


def write_numbers(network: Network, module: nn.Module) -> None:
    """Copy a network's numbers into the module that it was made from."""
    tensors = module.state_dict()
    with torch.no_grad():
        for name, array in network.named().items():
            tensors[name].copy_(torch.from_numpy(array))


def to_module(network: Network) -> nn.Module:
    """Return a PyTorch module that does what the network does, in evaluation mode; its `state_dict` has its names."""
    program = network.program
    first = program.operations[0]
    module = ProgramModule(program) if first.path else _made(first, program.n_inputs)  # a layer by itself has no path
    module = module.to(torch.from_numpy(network.parameters[:0]).dtype).eval()
    for layer in module.modules():
        if isinstance(layer, Standardize):  # works in float64 whatever the module's dtype
            layer.centre, layer.scale = layer.centre.double(), layer.scale.double()
    write_numbers(network, module)
    return module


class ProgramModule(nn.Module):
    """Runs a program's operations one after another.

    Args:
        program: its layers are kept under their paths.

    **Shape**: `(n_rows, n_inputs)` to `(n_rows, n_outputs)`.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._operations = program.operations[:-1]
        widths = program.widths
        for each in self._operations:
            if each.kind != "add":
                self._keep(each.path, _made(each, widths[each.sources[0]]))

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for each in self._operations:
            read = [values[source] for source in each.sources]
            values.append(read[0] + read[1] if each.kind == "add" else self.get_submodule(each.path)(*read))
        return values[-1]

    def _keep(self, path: str, layer: nn.Module) -> None:
        *folders, name = path.split(".")
        parent: nn.Module = self
        for folder in folders:
            if folder not in parent._modules:
                parent.add_module(folder, nn.Module())
            parent = parent.get_submodule(folder)
        parent.add_module(name, layer)


def _made(each: Operation, d_in: int) -> nn.Module:
    """Return the PyTorch layer of an operation, its numbers as PyTorch draws them."""
    constants = each.constants
    match each.kind:
        case "encode":
            return Encode(each.d_out)
        case "standardize":
            return Standardize(d_in)
        case "smooth_clip":
            return SmoothClip(constants[0])
        case "linear":
            return nn.Linear(d_in, each.d_out)
        case "batch_norm":
            return nn.BatchNorm1d(d_in, eps=constants[0], momentum=constants[1])
        case "layer_norm":
            return nn.LayerNorm(d_in, eps=constants[0])
        case "dropout":
            return nn.Dropout(1 - constants[0] / 2**15)
        case "leaky_relu":
            return nn.LeakyReLU(constants[0])
    return next(layer for layer, kind in ACTIVATIONS.items() if kind == each.kind)()


def _refuse_what_only_pytorch_does(module: nn.Module) -> None:
    """Raise `EngineError` for what a layer's class and numbers do not say: hooks, frozen and shared parameters."""
    for path, layer in module.named_modules():
        if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
            raise EngineError(f"{_where(path)} has a hook and cannot be compiled; train it with engine='torch'")
        if "forward" in vars(layer):
            raise EngineError(
                f"{_where(path)} has another forward and cannot be compiled; train it with engine='torch'"
            )
    for path, parameter in module.named_parameters():
        if not parameter.requires_grad:
            raise EngineError(f"the parameter {path!r} is frozen and cannot be compiled; train it with engine='torch'")
        if parameter._backward_hooks:
            raise EngineError(f"the parameter {path!r} has a hook and cannot be compiled; train it with engine='torch'")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise EngineError(
                f"the parameter {path!r} is {parameter.dtype} and cannot be compiled; make it float32 or float64"
            )
    every = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    once = {name for name, _ in module.named_parameters()}
    shared = [name for name in every if name not in once]
    if shared:
        raise EngineError(
            f"the parameter {shared[0]!r} is shared by two layers and cannot be compiled; train it with engine='torch'"
        )


def _layer(builder: Builder, layer: nn.Module, path: str, source: int) -> int:
    """Add a layer that reads value `source`, and return the value that it writes."""
    if isinstance(layer, nn.Identity):
        return source
    if type(layer) in _COMPOSITES:
        for name, child in _COMPOSITES[type(layer)](layer):
            source = _layer(builder, child, _joined(path, name), source)
        return source
    if type(layer) is ResidualBlock:
        main = source
        for name in ("linear", "norm", "activation", "dropout"):
            main = _layer(builder, getattr(layer, name), _joined(path, name), main)
        return builder.add("add", path, main, _layer(builder, layer.skip, _joined(path, "skip"), source))
    return _leaf(builder, layer, path, source)


def _leaf(builder: Builder, layer: nn.Module, path: str, source: int) -> int:
    width = builder.width(source)
    kind = type(layer)  # a subclass may do something else in its forward, so only the very classes will do
    if kind in ACTIVATIONS and not (isinstance(layer, nn.GELU) and layer.approximate != "none"):
        slope = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
        return builder.add(ACTIVATIONS[kind], path, source, constants=(slope,))
    if kind is nn.Dropout and isinstance(layer, nn.Dropout):
        return builder.dropout(path, source, layer.p)
    done = {each.kind for each in builder.operations}
    if kind is Encode and isinstance(layer, Encode) and not done:
        return builder.add("encode", path, source, d_out=layer.n_columns)
    if kind is Standardize and done <= {"encode"}:
        return builder.add("standardize", path, source)
    if kind is SmoothClip and isinstance(layer, SmoothClip) and done <= {*PREPARING}:
        return builder.add("smooth_clip", path, source, constants=(layer.limit,))
    if kind is nn.Linear and isinstance(layer, nn.Linear) and layer.bias is not None and layer.in_features == width:
        return builder.add("linear", path, source, d_out=layer.out_features)
    if kind is nn.LayerNorm and isinstance(layer, nn.LayerNorm):
        has_both = layer.elementwise_affine and layer.bias is not None
        if has_both and layer.normalized_shape == (width,):
            return builder.add("layer_norm", path, source, constants=(layer.eps,))
    if kind is nn.BatchNorm1d and isinstance(layer, nn.BatchNorm1d) and layer.affine and layer.num_features == width:
        mean, momentum = layer.running_mean, layer.momentum
        if mean is not None and momentum is not None:
            return builder.add("batch_norm", path, source, constants=(layer.eps, momentum))
    raise EngineError(
        f"{_where(path)} ({_short(layer)}) cannot be compiled; train it with engine='torch', or build it of {SUPPORTED}"
    )


def _short(layer: nn.Module) -> str:
    return str(layer) if "\n" not in str(layer) else type(layer).__name__


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _where(path: str) -> str:
    return f"the layer {path!r}" if path else "the module"


def _children(*names: str) -> Callable[[nn.Module], Iterable[tuple[str, Any]]]:
    return lambda module: [(name, getattr(module, name)) for name in names]


_COMPOSITES: dict[type[nn.Module], Callable[[nn.Module], Iterable[tuple[str, Any]]]] = {
    nn.Sequential: lambda module: module._modules.items(),  # its named_children() leaves out a layer's second use
    LogisticRegression: _children("linear"),
    MLP: _children("layers"),
    ResidualMLP: _children("input_norm", "blocks", "output_norm", "linear"),
}
