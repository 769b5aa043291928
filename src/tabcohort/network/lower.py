"""Lowering: from PyTorch modules to programs, and back; their numbers go both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from tabcohort.errors import EngineError
from tabcohort.network.models import MLP, LogisticRegression, ResidualBlock, ResidualMLP, Standardize
from tabcohort.network.ops import OPS, SCALING, Match, OpSpec
from tabcohort.network.program import Builder, Network, Program, blank_network


def lower(module: nn.Module, n_inputs: int) -> Program:
    """Return the program of a module that maps `(n_rows, n_inputs)` to logits.

    The layers in `OPS`, `nn.Identity`, this package's networks and residual block, and any `nn.Sequential` of these can
    be lowered.

    Raises:
        EngineError: a layer cannot be lowered; the message names it by its path.

    Examples:
        >>> print(lower(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 4))
        value  operation      reads  shape   parameters  layer
            0  rows                  (n, 4)
            1  linear             0  (n, 8)          40  0
            2  relu               1  (n, 8)              1
            3  linear             2  (n, 3)          27  2
            4  cross_entropy      3  ()
                                                     67  in total
    """
    _check_can_be_lowered(module)
    builder = Builder(n_inputs)
    program = builder.finish(_layer(builder, module, "", 0))
    if not program.n_parameters:
        raise EngineError("the module has no trainable parameters; there is nothing to train")
    return program


def network_of(module: nn.Module, program: Program) -> Network:
    """Return the network of a module with this program: its numbers, copied, in the dtype of its parameters."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    dtype = next(module.parameters()).detach().cpu().numpy().dtype.type
    return blank_network(program, dtype).with_named(arrays)


def write_numbers(network: Network, module: nn.Module) -> None:
    """Copy a network's numbers into the module that it was lowered from."""
    tensors = module.state_dict()
    with torch.no_grad():
        for name, array in network.named().items():
            tensors[name].copy_(torch.from_numpy(array))


def to_module(network: Network) -> nn.Module:
    """Return a PyTorch module that computes what the network does, in evaluation mode; `state_dict` has its names."""
    program = network.program
    first = program.operations[0]
    single_layer = not first.path  # lowered from a layer by itself, which has no path
    module = first.spec.make_layer(first, program.n_inputs) if single_layer else ProgramModule(program)
    module = module.to(torch.from_numpy(network.parameters[:0]).dtype).eval()
    for layer in module.modules():
        if isinstance(layer, Standardize):  # works in float64 whatever the module's dtype
            layer.center, layer.scale = layer.center.double(), layer.scale.double()
    write_numbers(network, module)
    return module


class ProgramModule(nn.Module):
    """Runs a program's operations one after another.

    Args:
        program: its layers become submodules under their paths.

    **Shape**: `(n_rows, n_inputs)` to `(n_rows, n_outputs)`.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._operations = program.operations[:-1]
        widths = program.widths
        for op in self._operations:
            if op.spec.layer:
                self._add(op.path, op.spec.make_layer(op, widths[op.sources[0]]))

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for op in self._operations:
            inputs = [values[source] for source in op.sources]
            values.append(self.get_submodule(op.path)(*inputs) if op.spec.layer else inputs[0] + inputs[1])
        return values[-1]

    def _add(self, path: str, layer: nn.Module) -> None:
        *folders, name = path.split(".")
        parent: nn.Module = self
        for folder in folders:
            if folder not in parent._modules:
                parent.add_module(folder, nn.Module())
            parent = parent.get_submodule(folder)
        parent.add_module(name, layer)


def _check_can_be_lowered(module: nn.Module) -> None:
    """Raise `EngineError` for what only PyTorch can do with layers: hooks, frozen and shared parameters."""
    for path, layer in module.named_modules():
        if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
            raise EngineError(f"{_where(path)} has a hook and cannot be compiled; train it with engine='torch'")
        if "forward" in vars(layer):
            raise EngineError(
                f"{_where(path)} has a replaced forward and cannot be compiled; train it with engine='torch'"
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
    distinct = {name for name, _ in module.named_parameters()}
    shared = [name for name, _ in module.named_parameters(remove_duplicate=False) if name not in distinct]
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
    width, before = builder.width(source), {op.kind for op in builder.operations}
    for kind, spec in OPS.items():
        # A subclass may do something else in its forward, so only the class itself matches.
        if spec.layer and type(layer) is spec.layer_class() and (spec.only_after is None or before <= spec.only_after):
            match = spec.match(layer, width)
            if match == "identity":
                return source
            if isinstance(match, Match):
                return builder.add(
                    kind, path, source, d_out=match.d_out, constants=match.constants, encoding=match.encoding
                )  # fmt: skip
    description = str(layer) if "\n" not in str(layer) else type(layer).__name__
    raise EngineError(
        f"{_where(path)} ({description}) cannot be compiled; train it with engine='torch', or build it of "
        f"{_supported(spec for kind, spec in OPS.items() if kind not in _OF_CONFIGS)}"
    )


_OF_CONFIGS = ("piecewise_linear", *SCALING.values(), "periodic", "scale")  # layers that no public name has


def _supported(specs: Iterable[OpSpec]) -> str:
    """Return the names of the layers that can be lowered."""
    names = [spec.layer.rpartition(".")[2] for spec in specs if spec.layer]
    return f"{', '.join(names)}, Identity, ResidualBlock and Sequential"


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
