"""Columns of the tables that describe a program to the kernels; `Layout` fills them."""

from __future__ import annotations

# A row of the table of operations: its kind; the values that it reads and writes; where weight, bias, buffers and
# scratch memory begin; whether the backward pass sets the gradient of what it reads (1), adds to it (0) or leaves it
# (-1), for both sources; the number of the dropout layer; what is fused (see `FusedOperation`), with the number of bins
# that are multiplied by their weights; and the first column of what a linear reads whose gradient is needed.
(KIND, SOURCE, SOURCE_2, RESULT, WEIGHT, BIAS, BUFFERS, SCRATCH, SETS_GRADIENT, SETS_GRADIENT_2, LAYER, FUSES_ADD,
 FUSES_RELU, BIAS_CANCELS, N_BINS, NEEDED_FROM) = range(16)  # fmt: skip
N_COLUMNS = 16
# A row of the table of values: its width, and where the value and its gradient are in the work memory.
WIDTH, VALUE, GRADIENT = range(3)
