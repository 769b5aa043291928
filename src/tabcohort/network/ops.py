"""The operations of networks, one `OpSpec` each: shapes, arrays, initial values, and the PyTorch layer they stand for.

An operation is added by one row of `OPS` here and its kernels in `tabcohort.engines.compiled.operations`. PyTorch is
imported only when a layer is made or matched.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from tabcohort.data.encoder import Encoding

KEEP_UNITS = 2**15  # dropout's share of kept units is counted in 32,768ths
GLOROT, VECTORS, NORMAL, TURNS = "glorot_uniform", "vectors", "normal", "turns"
LECUN = "lecun_normal"  # in the place of GLOROT where a config asks for it
SCALING = {
    "robust": "robust_scale",
    "quantile": "quantile_scale",
}  # the operation of each `Config.scaling` that has one


@dataclass(frozen=True)
class Operation:
    """One step of the network.

    Args:
        kind: a name in `OPS`.
        path: where the layer is in the module, as PyTorch names it.
        sources: the values that it reads.
        result: the value that it writes.
        d_out: columns of what it writes.
        parameters: where each of its parameters begins in the parameter vector; a matrix is `(d_in, d_out)` there.
        buffers: where each of its buffers begins in the buffer vector.
        constants: what `OPS` says of its kind: epsilon and momentum of batch norm, epsilon of layer norm, the slope of
            leaky ReLU, the share that dropout keeps in 32,768ths, the limit of smooth clip; of `embed` the number of
            categories, the rows of their table and the length of a vector; of `robust_scale` the limit and the number
            of numbers, of `quantile_scale` the knots of each number and their number; of `periodic` the number of
            numbers, the column of the first, and sigma.
        n_parameters: number of parameters.
        encoding: of `encode`, how inputs become columns.
    """

    kind: str
    path: str
    sources: tuple[int, ...]
    result: int
    d_out: int
    parameters: tuple[int, ...] = ()
    buffers: tuple[int, ...] = ()
    constants: tuple[float, ...] = ()
    n_parameters: int = 0
    encoding: Encoding | None = None

    @property
    def spec(self) -> OpSpec:
        """What is known of its kind."""
        return OPS[self.kind]


@dataclass(frozen=True)
class ArraySpec:
    """An array that an operation has, under the name that PyTorch's `state_dict` gives it.

    Args:
        name: of the array.
        shape: given the operation and the columns that it reads; that of a matrix is `(d_out, d_in)`.
        initial: the value of each number before training, or for random ones "glorot_uniform" (Glorot & Bengio 2010),
            "vectors" (uniform up to one over the root of a vector's length), "normal" (standard normal) or "turns"
            (uniform from -1/2 to 1/2).
    """

    name: str
    shape: Callable[[Operation, int], tuple[int, ...]] = lambda operation, d_in: (operation.d_out,)
    initial: float | str = 0.0


@dataclass(frozen=True)
class Match:
    """What a layer's operation has beside its inputs: its columns, where they differ, its constants and encoding."""

    d_out: int | None = None
    constants: tuple[float, ...] = ()
    encoding: Encoding | None = None


@dataclass(frozen=True)
class OpSpec:
    """One kind of operation.

    Args:
        code: the number by which kernels know it; any that no other operation has.
        parameters: what training changes, at most two arrays; matrices decay.
        buffers: statistics, in vectors one after another.
        layer: dotted name of its PyTorch class; empty where it has none of its own.
        arguments: the arguments of that class, given the operation and the columns that it reads.
        match: what the operation of such a layer has, given the layer and the columns that it reads; None where the
            layer does something that the operation does not, and "identity" where it does nothing.
        changes_width: whether its columns are given, rather than as many as it reads.
        prepares_input: whether it comes before rows are mixed, and learns nothing from the loss.
        acts_on_columns: whether each number that it writes comes from one column, in prediction; only where this is so
            are linear members explained as sums over columns.
        only_after: the operations that may come before it; None for all.
        is_possible: whether the constants, which are finite, and the widths of an operation fit, given the columns that
            it reads; kernels trust them.
        n_products: multiplications and additions per row, given the columns that it reads and writes.
    """

    code: int
    parameters: tuple[ArraySpec, ...] = ()
    buffers: tuple[ArraySpec, ...] = ()
    layer: str = ""
    arguments: Callable[[Operation, int], tuple[Any, ...]] = lambda operation, d_in: ()
    match: Callable[[Any, int], Match | str | None] = lambda layer, d_in: Match()
    changes_width: bool = False
    prepares_input: bool = False
    acts_on_columns: bool = False
    only_after: frozenset[str] | None = field(default=None)
    is_possible: Callable[[Operation, int], bool] = lambda operation, d_in: not operation.constants
    n_products: Callable[[int, int], int] = lambda d_in, d_out: 0

    def layer_class(self) -> type[nn.Module]:
        """Return the PyTorch class."""
        module, _, name = self.layer.rpartition(".")
        return getattr(importlib.import_module(module), name)

    def make_layer(self, operation: Operation, d_in: int) -> nn.Module:
        """Return the PyTorch layer of an operation that reads `d_in` columns, its weights as PyTorch draws them."""
        return self.layer_class()(*self.arguments(operation, d_in))


def keep_share(p: float) -> int:
    """Return the share of units that dropout with probability `p` keeps, in 32,768ths; never all, none only for 1."""
    return 0 if p == 1 else min(max(round((1 - p) * KEEP_UNITS), 1), KEEP_UNITS - 1)


def scheduled_share(share: int, factor: float) -> int:
    """Return the share that dropout keeps, in 32,768ths, where its probability is multiplied by a factor up to 1."""
    return share if factor == 1 else KEEP_UNITS - max(1, round((KEEP_UNITS - share) * factor))


# -- what PyTorch layers must be like to be an operation -------------------------------------------------------------


def _match_encode(layer: Any, d_in: int) -> Match | None:
    encoding = layer.encoding
    return Match(encoding.n_columns, encoding=encoding) if encoding.n_inputs == d_in else None


def _match_embed(layer: Any, d_in: int) -> Match | None:
    return Match(layer.d_out(d_in), constants=layer.sizes) if layer.sizes[0] <= d_in else None


def _match_dropout(layer: Any, d_in: int) -> Match | str:
    return "identity" if layer.p == 0 else Match(constants=(keep_share(layer.p),))


def _match_linear(layer: Any, d_in: int) -> Match | None:
    return Match(layer.out_features) if layer.bias is not None and layer.in_features == d_in else None


def _match_batch_norm(layer: Any, d_in: int) -> Match | None:
    has_statistics = layer.running_mean is not None and layer.momentum is not None
    if layer.affine and has_statistics and layer.num_features == d_in:
        return Match(constants=(layer.eps, layer.momentum))
    return None


def _match_layer_norm(layer: Any, d_in: int) -> Match | None:
    is_affine = layer.elementwise_affine and layer.bias is not None
    return Match(constants=(layer.eps,)) if is_affine and layer.normalized_shape == (d_in,) else None


def _encoding(operation: Operation) -> Encoding:
    assert operation.encoding is not None  # every `encode` has one
    return operation.encoding


def _sizes(operation: Operation, d_in: int) -> tuple[int, ...]:
    return tuple(int(size) for size in operation.constants)


def _match_scaling(layer: Any, d_in: int) -> Match | None:
    return Match(constants=layer.constants) if layer.n_numbers <= d_in else None


def _match_periodic(layer: Any, d_in: int) -> Match | None:
    n_numbers, first, _ = layer.constants
    return Match(d_in + len(layer.weight), layer.constants) if first + n_numbers <= d_in else None


# -- what operations must be like to be computed ---------------------------------------------------------------------


def _is_whole(number: float, low: int, high: float = math.inf) -> bool:
    return low <= number <= high and number == int(number)


def _encodes(operation: Operation, d_in: int) -> bool:
    """Return whether an encoding reads each of the inputs once, and has columns for what it says."""
    encoding = operation.encoding
    if encoding is None or operation.constants or encoding.n_inputs != d_in or operation.d_out < 1:
        return False
    reads_all = sorted((*encoding.numbers, *encoding.codes)) == list(range(d_in))
    has_sizes = all(
        own.n_codes >= 1 and own.width >= 0 and 0 <= own.n_learned <= own.n_codes for own in encoding.categories
    )
    has_missing = all(0 <= place < len(encoding.numbers) for place in encoding.missing)
    is_whole = len(encoding.categories) == len(encoding.codes) and encoding.n_columns == operation.d_out
    return reads_all and has_sizes and has_missing and is_whole


def _scales(operation: Operation, d_in: int) -> bool:
    if len(operation.constants) != 2 or not _is_whole(operation.constants[1], 1, d_in):
        return False
    size = operation.constants[0]
    return _is_whole(size, 2) if operation.kind == "quantile_scale" else size > 0


def _embeds(operation: Operation, d_in: int) -> bool:
    if len(operation.constants) != 3 or not all(_is_whole(number, 1) for number in operation.constants):
        return False
    n_learned, _, length = operation.constants
    return n_learned <= d_in and operation.d_out == d_in + n_learned * (length - 1)


def _has_waves(operation: Operation, d_in: int) -> bool:
    if len(operation.constants) != 3 or not all(_is_whole(number, 0) for number in operation.constants[:2]):
        return False
    n_numbers, first, _ = operation.constants
    n_waves = operation.d_out - d_in
    return n_numbers >= 1 and first + n_numbers <= d_in and n_waves > 0 and n_waves % n_numbers == 0


def _constants_within(*limits: tuple[float, float]) -> Callable[[Operation, int], bool]:
    """Return whether an operation has a constant within each of some limits, and no others."""
    return lambda operation, d_in: (
        len(operation.constants) == len(limits)
        and all(low <= number <= high for number, (low, high) in zip(operation.constants, limits, strict=True))
    )


_ANY, _NOT_NEGATIVE, _POSITIVE = (-math.inf, math.inf), (0.0, math.inf), (5e-324, math.inf)
_ACTIVATES = _constants_within(_ANY)
_IS_LOSS = lambda operation, d_in: not operation.constants and operation.d_out == 0  # noqa: E731
_WAVES = lambda operation, d_in: (operation.d_out - d_in,)  # noqa: E731
_KNOTS = lambda operation, d_in: (int(operation.constants[0] * operation.constants[1]),)  # noqa: E731
_NUMBERS = lambda operation, d_in: (int(operation.constants[1]),)  # noqa: E731
_NORM = (ArraySpec("weight", initial=1.0), ArraySpec("bias"))
_OWN = "tabcohort.network.models"

OPS: dict[str, OpSpec] = {
    "encode": OpSpec(
        0,
        buffers=(
            ArraySpec("fill", lambda operation, d_in: (len(_encoding(operation).numbers),), math.nan),
            ArraySpec("lookup", lambda operation, d_in: (int(_encoding(operation).lookup_starts[-1]),)),
            ArraySpec("vector_row", lambda operation, d_in: (int(_encoding(operation).code_starts[-1]),)),
        ),
        changes_width=True, prepares_input=True, acts_on_columns=True, only_after=frozenset(), layer=f"{_OWN}.Encode",
        arguments=lambda operation, d_in: (operation.encoding,), match=_match_encode, is_possible=_encodes,
    ),
    "standardize": OpSpec(
        1, buffers=(ArraySpec("center"), ArraySpec("scale", initial=1.0)), prepares_input=True, acts_on_columns=True,
        only_after=frozenset({"encode"}), layer=f"{_OWN}.Standardize", arguments=lambda operation, d_in: (d_in,),
    ),
    "robust_scale": OpSpec(
        20, buffers=(ArraySpec("median", _NUMBERS), ArraySpec("inverse_range", _NUMBERS, 1.0)), prepares_input=True,
        acts_on_columns=True, only_after=frozenset({"encode", "standardize"}), layer=f"{_OWN}.RobustScale",
        arguments=lambda operation, d_in: (int(operation.constants[1]), operation.constants[0]), match=_match_scaling,
        is_possible=_scales,
    ),
    "quantile_scale": OpSpec(
        21, buffers=(ArraySpec("knots", _KNOTS), ArraySpec("heights", _KNOTS)), prepares_input=True,
        acts_on_columns=True, only_after=frozenset({"encode", "standardize"}), layer=f"{_OWN}.QuantileScale",
        arguments=lambda operation, d_in: _sizes(operation, d_in)[::-1], match=_match_scaling, is_possible=_scales,
    ),
    "smooth_clip": OpSpec(
        2, prepares_input=True, acts_on_columns=True, only_after=frozenset({"encode", "standardize", "smooth_clip"}),
        layer=f"{_OWN}.SmoothClip", arguments=lambda operation, d_in: operation.constants[:1],
        match=lambda layer, d_in: Match(constants=(layer.limit,)), is_possible=_constants_within(_POSITIVE),
    ),
    "piecewise_linear": OpSpec(
        17,
        buffers=tuple(ArraySpec(name, lambda op, d_in: (op.d_out - d_in,)) for name in ("column", "lower", "inverse")),
        changes_width=True, prepares_input=True, acts_on_columns=True,
        only_after=frozenset({"encode", "standardize", *SCALING.values()}),
        layer=f"{_OWN}.PiecewiseLinear", arguments=lambda operation, d_in: (operation.d_out - d_in,),
        match=lambda layer, d_in: Match(d_in + layer.n_bins),
        is_possible=lambda operation, d_in: not operation.constants and operation.d_out > d_in,
    ),
    "embed": OpSpec(
        16, parameters=(ArraySpec("weight", lambda op, d_in: (int(op.constants[2]), int(op.constants[1])), VECTORS),),
        acts_on_columns=True, changes_width=True,
        only_after=frozenset({"encode", "standardize", *SCALING.values(), "piecewise_linear"}),
        layer=f"{_OWN}.Embed", arguments=_sizes, match=_match_embed, is_possible=_embeds,
    ),
    "periodic": OpSpec(
        22, parameters=(ArraySpec("weight", _WAVES, NORMAL), ArraySpec("bias", _WAVES, TURNS)),
        acts_on_columns=True, changes_width=True,
        layer=f"{_OWN}.Periodic", match=_match_periodic, is_possible=_has_waves,
        arguments=lambda op, d_in: (
            int(op.constants[0]), (op.d_out - d_in) // int(op.constants[0]), op.constants[2], int(op.constants[1])
        ),
    ),
    "scale": OpSpec(
        23, parameters=(ArraySpec("weight", initial=1.0),), acts_on_columns=True, layer=f"{_OWN}.Scale",
        arguments=lambda operation, d_in: (d_in,),
        match=lambda layer, d_in: Match() if len(layer.weight) == d_in else None,
    ),
    "linear": OpSpec(
        3, parameters=(ArraySpec("weight", lambda op, d_in: (op.d_out, d_in), GLOROT), ArraySpec("bias")),
        changes_width=True, layer="torch.nn.Linear", arguments=lambda operation, d_in: (d_in, operation.d_out),
        match=_match_linear, is_possible=lambda operation, d_in: not operation.constants and operation.d_out >= 1,
        n_products=lambda d_in, d_out: d_in * d_out,
    ),
    "batch_norm": OpSpec(
        4, parameters=_NORM, buffers=(ArraySpec("running_mean"), ArraySpec("running_var", initial=1.0)),
        layer="torch.nn.BatchNorm1d", arguments=lambda operation, d_in: (d_in, *operation.constants[:2]),
        match=_match_batch_norm, is_possible=_constants_within(_NOT_NEGATIVE, (0.0, 1.0)),
    ),
    "layer_norm": OpSpec(
        5, parameters=_NORM, layer="torch.nn.LayerNorm",
        arguments=lambda operation, d_in: (d_in, operation.constants[0]), match=_match_layer_norm,
        is_possible=_constants_within(_NOT_NEGATIVE),
    ),
    "relu": OpSpec(
        6, layer="torch.nn.ReLU", is_possible=_ACTIVATES, match=lambda layer, d_in: Match(constants=(0.0,)),
    ),
    "leaky_relu": OpSpec(
        7, layer="torch.nn.LeakyReLU", is_possible=_ACTIVATES,
        arguments=lambda operation, d_in: operation.constants[:1],
        match=lambda layer, d_in: Match(constants=(layer.negative_slope,)),
    ),
    "gelu": OpSpec(
        8, is_possible=_ACTIVATES, layer="torch.nn.GELU",
        match=lambda layer, d_in: Match(constants=(0.0,)) if layer.approximate == "none" else None,
    ),
    "silu": OpSpec(
        9, layer="torch.nn.SiLU", is_possible=_ACTIVATES, match=lambda layer, d_in: Match(constants=(0.0,)),
    ),
    "tanh": OpSpec(
        10, layer="torch.nn.Tanh", is_possible=_ACTIVATES, match=lambda layer, d_in: Match(constants=(0.0,)),
    ),
    "sigmoid": OpSpec(
        11, layer="torch.nn.Sigmoid", is_possible=_ACTIVATES, match=lambda layer, d_in: Match(constants=(0.0,)),
    ),
    "mish": OpSpec(
        18, layer="torch.nn.Mish", is_possible=_ACTIVATES, match=lambda layer, d_in: Match(constants=(0.0,)),
    ),
    "selu": OpSpec(
        19, layer="torch.nn.SELU", is_possible=_ACTIVATES, match=lambda layer, d_in: Match(constants=(0.0,)),
    ),
    "dropout": OpSpec(
        12, acts_on_columns=True, layer="torch.nn.Dropout", match=_match_dropout, is_possible=lambda operation, d_in: (
            len(operation.constants) == 1 and _is_whole(operation.constants[0], 0, KEEP_UNITS)
        ),
        arguments=lambda operation, d_in: (1 - operation.constants[0] / KEEP_UNITS,),
    ),
    "add": OpSpec(13),
    "binary_cross_entropy": OpSpec(14, changes_width=True, is_possible=_IS_LOSS),
    "cross_entropy": OpSpec(15, changes_width=True, is_possible=_IS_LOSS),
}  # fmt: skip
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "mish", "selu")
