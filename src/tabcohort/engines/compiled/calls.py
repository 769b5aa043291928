"""Calls of compiled functions by their address: each is compiled once, and only if a program has its operation.

A direct call would make the function a part of every function that calls it, and compile it again for each of them.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import config, from_dtype, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload
from numpy.typing import DTypeLike, NDArray

from tabcohort.errors import EngineError

_INT, _TABLE = types.int64[::1], types.int64[:, ::1]


def forward_types(dtype: DTypeLike) -> tuple[types.Type, ...]:
    """Return the types of the arguments of a kernel's forward pass; see `operations.OpKernels`."""
    numbers = from_dtype(np.dtype(dtype))[::1]
    key, rows, training = types.int64, types.int64, types.boolean
    return _INT, numbers, _TABLE, numbers, types.float64[::1], numbers, rows, training, key


def backward_types(dtype: DTypeLike) -> tuple[types.Type, ...]:
    """Return the types of the arguments of a kernel's backward pass; see `operations.OpKernels`."""
    numbers = from_dtype(np.dtype(dtype))[::1]
    return _INT, numbers, _TABLE, numbers, numbers, numbers, types.int64, types.int64, numbers


def inference_types(dtype: DTypeLike) -> tuple[types.Type, ...]:
    """Return the types of the arguments of a kernel that predicts; see `inference_kernels.KERNELS`."""
    numbers = from_dtype(np.dtype(dtype))[::1]
    return _INT, numbers, numbers, numbers, types.int64


_EXPECTED = {
    types.Tuple(list(types_of(dtype)))  # type: ignore[no-untyped-call]
    for types_of in (forward_types, backward_types, inference_types)
    for dtype in (np.float32, np.float64)
}


def addresses(kernels: list[Any], arg_types: tuple[types.Type, ...]) -> NDArray[Any]:
    """Return the addresses of kernels for arguments of these types, `(n_kernels,)`, and compile them where necessary.

    With NUMBA_DISABLE_JIT=1 they are the functions themselves.

    Raises:
        EngineError: a kernel returns something, or is not decorated by `njit`.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        functions = np.empty(len(kernels), dtype=object)
        functions[:] = kernels
        return functions
    return np.array([_address(kernel, arg_types) for kernel in kernels], dtype=np.int64)


@functools.cache
def _address(kernel: Any, arg_types: tuple[types.Type, ...]) -> int:
    if not hasattr(kernel, "py_func"):
        raise EngineError(f"the kernel {kernel.__qualname__!r} must be decorated by numba.njit")
    kernel.compile(types.void(*arg_types))
    compiled = kernel.overloads[arg_types]
    returned = compiled.signature.return_type
    if returned != types.none:  # which `call` does not make room for
        raise EngineError(f"the kernel {kernel.py_func.__qualname__!r} must return nothing; it returns {returned}")
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def call(kernel: Any, arguments: tuple[Any, ...]) -> None:
    """Call a kernel, which compiled code has the address of."""
    kernel(*arguments)


@intrinsic
def _call(typing: Any, address: Any, arguments: Any) -> Any:
    if arguments not in _EXPECTED:
        raise TypingError(f"these are not the arguments of a kernel: {arguments}")

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arg_types, unpacked = signature.args[1].types, cgutils.unpack_tuple(builder, values[1])  # type: ignore[no-untyped-call]
        function = builder.inttoptr(values[0], context.call_conv.get_function_type(types.none, arg_types).as_pointer())
        status, _ = context.call_conv.call_function(builder, function, types.none, arg_types, unpacked)
        with cgutils.if_unlikely(builder, status.is_error):  # type: ignore[no-untyped-call]  # such as no memory
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(address, arguments), generate


@overload(call)
def _call_of(kernel: Any, arguments: Any) -> Any:
    def called(kernel: Any, arguments: Any) -> None:
        _call(kernel, arguments)  # type: ignore[call-arg]

    return called
