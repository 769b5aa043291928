"""A network as a flat list of operations over one parameter vector and one buffer vector; no PyTorch in it.

An operation reads one value (`add` reads two), and writes the next. Value 0 is the rows; the last value is the logits.
`print(program)` shows the list.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "linear", "batch_norm", "layer_norm", "relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "dropout", "add",
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One step of the network.

    Args:
        kind: one of `KINDS`.
        path: where the layer is in the module, for people.
        sources: the values it reads.
        result: the value it writes.
        d_out: columns of what it writes.
        weight: where its matrix `(d_in, d_out)`, or its gains, begin in the parameter vector.
        bias: where its biases, or its shifts, begin.
        buffers: where its running means, then variances, begin in the buffer vector.
        constants: epsilon and momentum of batch norm, epsilon of layer norm, the slope of leaky ReLU, the share that
            dropout keeps in 32,768ths.
        n_parameters: how many it has.
    """

    kind: str
    path: str
    sources: tuple[int, ...]
    result: int
    d_out: int
    weight: int = 0
    bias: int = 0
    buffers: int = 0
    constants: tuple[float, ...] = ()
    n_parameters: int = 0


@dataclass(frozen=True)
class Program:
    """A network.

    Args:
        operations: in the order of the forward pass.
        n_inputs: columns of the rows.
        n_parameters: length of the parameter vector; matrices come first, as only they decay.
        n_in_matrices: how many of the parameters are in matrices.
        n_buffers: length of the buffer vector.
    """

    operations: tuple[Operation, ...]
    n_inputs: int
    n_parameters: int
    n_in_matrices: int
    n_buffers: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each value, the rows' first."""
        return (self.n_inputs, *(operation.d_out for operation in self.operations))

    @property
    def has_batch_norm(self) -> bool:
        """Whether a step of a single row is impossible."""
        return any(operation.kind == "batch_norm" for operation in self.operations)

    def __str__(self) -> str:
        lines = [("value", "operation", "reads", "shape", "parameters", "layer")]
        lines.append(("0", "rows", "", f"(n, {self.n_inputs})", "", ""))
        for each in self.operations:
            reads = " + ".join(str(source) for source in each.sources)
            count = f"{each.n_parameters:,}" if each.n_parameters else ""
            lines.append((str(each.result), each.kind, reads, f"(n, {each.d_out})", count, each.path))
        lines.append(("", "", "", "", f"{self.n_parameters:,}", "in all"))
        widths = [max(len(line[column]) for line in lines) for column in range(6)]
        return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    sides = "rlrlrl"  # numbers to the right
    pairs = zip(cells, widths, sides, strict=True)
    return "  ".join(cell.rjust(w) if side == "r" else cell.ljust(w) for cell, w, side in pairs).rstrip()
