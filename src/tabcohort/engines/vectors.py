"""Matrix products by rows whose sums are in one order, as fast as those of BLAS and for small matrices faster.

The compiler turns a loop into vector instructions, but does not keep a tile of sums in registers over another loop:
`load`, `store` and `add_times` say so by hand. As plain Python they are the same on NumPy arrays.
"""

from __future__ import annotations

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model
from numba.np.arrayobj import populate_array

from tabcohort.compiling import IN_ORDER

# -- vectors ---------------------------------------------------------------------------------------------------------

# What fits eight sums and two numbers more into 16 registers of 32 bytes, or 32 of 64; the sums are the same with both.
BYTES = 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32
I32 = ir.IntType(32)


def lanes_of(array):
    """Return how many numbers of an array a vector takes: known to the compiler, other than the array's `itemsize`."""
    return BYTES // array.itemsize


def load(flat, start, count):
    """Return the numbers from a start on, at most a vector's; 0 after the first `count`."""
    lanes = np.zeros(lanes_of(flat), flat.dtype)
    count = max(0, min(count, lanes.size))
    lanes[:count] = flat[start : start + count]
    return lanes


def store(flat, start, count, lanes):
    """Write the first `count` numbers of a vector from a start on."""
    count = max(0, min(count, lanes.size))
    flat[start : start + count] = lanes[:count]


def part(flat, start, size):
    """Return some numbers of a flat array as an array; compiled code makes it for nothing, and must not hand it on."""
    return flat[start : start + size]


def matrix(flat, start, rows, columns):
    """Return some numbers of a flat array as a matrix, as `part` does."""
    return flat[start : start + rows * columns].reshape((rows, columns))


def flat(array):
    """Return all numbers of an array, row after row, as `part` does."""
    return array.reshape(-1)


def add_times(y, a, x):
    """y + a x, with a number or a vector a"""
    return y + a * x


def total(lanes):
    """Return the sum of a vector: the halves are added, then the halves of that, and so on."""
    while lanes.size > 1:
        lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    return lanes[0]


class Lanes(types.Type):
    """The type of a vector, for the compiler."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    """How the compiler holds a vector: as one of LLVM's."""

    def __init__(self, manager, kind):
        number = manager[kind.dtype].get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, 8 * BYTES // kind.dtype.bitwidth))


def _splat(builder, number, count):
    """Return a vector of one number."""
    kind = ir.VectorType(number.type, count)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, I32(0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(I32, count), [0] * count)
    )


def _masked(context, builder, flat_type, flat, start, count, vector):
    """Return what a masked load or store is called with: a pointer, its alignment, the mask; and the type's name."""
    array = context.make_array(flat_type)(context, builder, flat)
    pointer = builder.bitcast(builder.gep(array.data, [start]), vector.as_pointer())
    numbers = ir.Constant(ir.VectorType(I32, vector.count), list(range(vector.count)))
    mask = builder.icmp_signed("<", numbers, _splat(builder, builder.trunc(count, I32), vector.count))
    bits = flat_type.dtype.bitwidth
    return pointer, I32(bits // 8), mask, f"v{vector.count}f{bits}.p0"


def _view_of(context, builder, signature, array, start, shape):
    """Return a view of a flat array that holds no reference to it."""
    kind = signature.return_type
    item = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
    strides = [item] if len(shape) == 1 else [builder.mul(shape[1], item), item]
    view = context.make_array(kind)(context, builder)
    source = context.make_array(signature.args[0])(context, builder, array)
    populate_array(view, builder.gep(source.data, [start]), shape, strides, item, None)
    return view._getvalue()


@intrinsic
def _compiled_part(_, flat, start, size):
    def code(context, builder, signature, args):
        return _view_of(context, builder, signature, args[0], args[1], args[2:])

    return types.Array(flat.dtype, 1, "C")(flat, types.intp, types.intp), code


@intrinsic
def _compiled_matrix(_, flat, start, rows, columns):
    def code(context, builder, signature, args):
        return _view_of(context, builder, signature, args[0], args[1], args[2:])

    return types.Array(flat.dtype, 2, "C")(flat, types.intp, types.intp, types.intp), code


@intrinsic
def _compiled_flat(_, array):
    def code(context, builder, signature, args):
        size = context.make_array(array)(context, builder, args[0]).nitems
        return _view_of(context, builder, signature, args[0], size.type(0), [size])

    return types.Array(array.dtype, 1, "C")(array), code


@intrinsic
def _compiled_load(_, flat, start, count):
    def code(context, builder, signature, args):
        vector = context.get_value_type(signature.return_type)
        pointer, align, mask, name = _masked(context, builder, flat, *args, vector)
        zeros = ir.Constant(vector, [0.0] * vector.count)
        kind = ir.FunctionType(vector, [pointer.type, I32, mask.type, vector])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.{name}")
        return builder.call(function, [pointer, align, mask, zeros])

    return Lanes(flat.dtype)(flat, types.intp, types.intp), code


@intrinsic
def _compiled_store(_, flat, start, count, lanes):
    def code(context, builder, signature, args):
        pointer, align, mask, name = _masked(context, builder, flat, *args[:3], args[3].type)
        kind = ir.FunctionType(ir.VoidType(), [args[3].type, pointer.type, I32, mask.type])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.{name}")
        builder.call(function, [args[3], pointer, align, mask])
        return context.get_dummy_value()

    return types.void(flat, types.intp, types.intp, lanes), code


@intrinsic
def _compiled_add_times(_, y, a, x):
    def code(context, builder, signature, args):
        factor = args[1] if a == y else _splat(builder, args[1], args[2].type.count)
        return builder.fadd(args[0], builder.fmul(factor, args[2], flags=("contract",)), flags=("contract",))

    return y(y, y if a == y else y.dtype, y), code


@intrinsic
def _compiled_total(_, lanes):
    def code(context, builder, signature, args):
        sums = args[0]
        while sums.type.count > 1:
            half, nothing = sums.type.count // 2, ir.Constant(sums.type, ir.Undefined)
            places = [ir.Constant(ir.VectorType(I32, half), list(range(at, at + half))) for at in (0, half)]
            sums = builder.fadd(*(builder.shuffle_vector(sums, nothing, place) for place in places))
        return builder.extract_element(sums, I32(0))

    return lanes.dtype(lanes), code


@overload(lanes_of)
def _lanes_of_in_code(array):
    lanes = 8 * BYTES // array.dtype.bitwidth
    return lambda array: lanes


@overload(part)
def _part_in_code(flat, start, size):
    return lambda flat, start, size: _compiled_part(flat, start, size)


@overload(matrix)
def _matrix_in_code(flat, start, rows, columns):
    return lambda flat, start, rows, columns: _compiled_matrix(flat, start, rows, columns)


@overload(flat)
def _flat_in_code(array):
    return lambda array: _compiled_flat(array)


@overload(load)
def _load_in_code(flat, start, count):
    return lambda flat, start, count: _compiled_load(flat, start, count)


@overload(store)
def _store_in_code(flat, start, count, lanes):
    return lambda flat, start, count, lanes: _compiled_store(flat, start, count, lanes)


@overload(add_times)
def _add_times_in_code(y, a, x):
    return lambda y, a, x: _compiled_add_times(y, a, x)


@overload(total)
def _total_in_code(lanes):
    return lambda lanes: _compiled_total(lanes)


# -- products --------------------------------------------------------------------------------------------------------


@njit(**IN_ORDER)
def eight_rows(x, i, panel, start, j, out):
    """out = start + x w for 8 rows from i on and the panel's columns from j on: the sums stay in registers."""
    last, left = x.shape[0] - 1, start.size - j
    # Past the end the last row again, to the same sums.
    i1, i2, i3, i4 = min(i + 1, last), min(i + 2, last), min(i + 3, last), min(i + 4, last)
    i5, i6, i7 = min(i + 5, last), min(i + 6, last), min(i + 7, last)
    x0, x1, x2, x3, x4, x5, x6, x7 = x[i], x[i1], x[i2], x[i3], x[i4], x[i5], x[i6], x[i7]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = load(start, j, left)
    for k in range(x.shape[1]):
        row = load(panel[k], 0, lanes_of(x))  # all of it: a load without a mask
        s0 = add_times(s0, x0[k], row)
        s1 = add_times(s1, x1[k], row)
        s2 = add_times(s2, x2[k], row)
        s3 = add_times(s3, x3[k], row)
        s4 = add_times(s4, x4[k], row)
        s5 = add_times(s5, x5[k], row)
        s6 = add_times(s6, x6[k], row)
        s7 = add_times(s7, x7[k], row)
    store(out[i], j, left, s0)
    store(out[i1], j, left, s1)
    store(out[i2], j, left, s2)
    store(out[i3], j, left, s3)
    store(out[i4], j, left, s4)
    store(out[i5], j, left, s5)
    store(out[i6], j, left, s6)
    store(out[i7], j, left, s7)


@njit(**IN_ORDER)
def one_row(x, W, b, out):
    """out = x W + b for one row: the same sums as those of eight"""
    d_in, d_out = W.shape
    for j in range(d_out):
        out[j] = b[j]
    for k in range(0, d_in - d_in % 4, 4):
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        for j in range(d_out):
            out[j] = out[j] + x0 * W[k, j] + x1 * W[k + 1, j] + x2 * W[k + 2, j] + x3 * W[k + 3, j]
    for k in range(d_in - d_in % 4, d_in):
        for j in range(d_out):
            out[j] = out[j] + x[k] * W[k, j]


@njit(**IN_ORDER)
def one_column(x, w, b, out, j):
    """out = x w + b for column j: a vector of partial sums for a row, added up at the end"""
    lanes = lanes_of(x)
    whole = w.size - w.size % lanes
    for i in range(x.shape[0]):
        row, sums = x[i], load(w, 0, 0)
        for k in range(0, whole, lanes):
            sums = add_times(sums, load(row, k, lanes), load(w, k, lanes))
        sums = add_times(sums, load(row, whole, w.size - whole), load(w, whole, w.size - whole))
        out[i, j] = b[j] + total(sums)


@njit(**IN_ORDER)
def column_sums(x, out):
    """out = sums of x over its rows"""
    for j in range(0, out.size, lanes_of(x)):
        left, sums = out.size - j, load(out, 0, 0)
        for i in range(x.shape[0]):
            sums = add_times(sums, x.dtype.type(1), load(x[i], j, left))
        store(out, j, left, sums)


@njit(**IN_ORDER)
def product(x, W, b, out):
    """out = x W + b; a row's result is the same to the bit whatever rows are beside it, and wherever it lies"""
    rows, (d_in, d_out), lanes = x.shape[0], W.shape, lanes_of(x)
    if d_out < 4:
        w = np.empty(d_in, x.dtype)
        for j in range(d_out):
            for k in range(d_in):
                w[k] = W[k, j]
            one_column(x, w, b, out, j)
    elif rows < 4:
        for i in range(rows):
            one_row(x[i], W, b, out[i])
    else:
        panel = np.empty((d_in, lanes), x.dtype)
        for j in range(0, d_out, lanes):
            for k in range(d_in):  # what the tiles read, side by side: it lies on fewer pages
                store(panel[k], 0, lanes, load(W[k], j, d_out - j))
            for i in range(0, rows, 8):
                eight_rows(x, i, panel, b, j, out)


@njit(**IN_ORDER)
def inputs(dout, W, dx):
    """dx = dout W^T"""
    (d_in, d_out), lanes = W.shape, lanes_of(W)
    panel, zeros = np.empty((d_out, lanes), W.dtype), np.zeros(d_in, W.dtype)
    for j in range(0, d_in, lanes):
        part = W[j : j + lanes]
        for k in range(d_out):
            for c in range(part.shape[0]):
                panel[k, c] = part[c, k]
        for i in range(0, dout.shape[0], 8):
            eight_rows(dout, i, panel, zeros, j, dx)


@njit(**IN_ORDER)
def inputs_of_one(dout, W, dx):
    """dx = dout W^T for a W of one column"""
    for i in range(dx.shape[0]):
        d, row = dout[i, 0], dx[i]
        for j in range(row.size):
            row[j] = d * W[j, 0]
