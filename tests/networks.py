"""Random networks that several test files share."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tabcohort.lower import ACTIVATIONS
from tabcohort.program import Builder, Network, Program, blank_network

CONSTANTS = {"batch_norm": (1e-3, 0.1), "layer_norm": (0.1,), "leaky_relu": (0.2,), "smooth_clip": (3.0,)}
KINDS = ("linear", "batch_norm", "layer_norm", "dropout", "add", *ACTIVATIONS.values())


@st.composite
def programs(draw: st.DrawFn, widest: int = 40, prepares: bool = True) -> Program:
    """Any network of these operations, also such as no module is lowered to: values are read again later on.

    Args:
        widest: columns of a value.
        prepares: whether it may begin with `standardize` and `smooth_clip`.
    """
    builder = Builder(draw(st.integers(1, 12)))
    first = 0
    if prepares and draw(st.booleans()):
        first = builder.add("standardize", "standardize", 0)
    for _ in range(draw(st.integers(0, 2)) if prepares else 0):
        first = builder.add("smooth_clip", f"clip{first}", first, constants=CONSTANTS["smooth_clip"])
    value = first
    for number in range(draw(st.integers(0, 8))):
        kind, path = draw(st.sampled_from(KINDS)), f"layer{number}"
        source = draw(st.one_of(st.just(value), st.integers(first, value)))
        if kind == "linear":
            value = builder.add("linear", path, source, d_out=draw(st.integers(1, widest)))
        elif kind == "dropout":
            value = builder.dropout(path, source, 0.5)
        elif kind == "add":
            alike = [each for each in range(first, value + 1) if builder.width(each) == builder.width(source)]
            value = builder.add("add", path, source, draw(st.sampled_from(alike)))
        else:
            value = builder.add(kind, path, source, constants=CONSTANTS.get(kind, (0.0,)))
    return builder.finish(builder.add("linear", "last", value, d_out=draw(st.integers(1, 5))))


def drawn_network(program: Program, dtype: type[np.floating], seed: int = 0) -> Network:
    """Return a network with weights that keep values of size 1, and statistics of its own everywhere."""
    rng = np.random.default_rng(seed)
    network = blank_network(program, np.float64)
    named = {name: rng.uniform(0.5, 1.5, array.shape) for name, array in network.named().items()}
    for name, array in named.items():
        if array.ndim == 2:
            named[name] = rng.normal(0, 1 / np.sqrt(array.shape[1]), array.shape)
        elif name.endswith(("bias", "mean", "centre")):
            named[name] = rng.normal(0, 0.5, array.shape)
    return blank_network(program, dtype).with_named(named)
