"""The parameter arrays of a network while it is trained: how large its weights and gradients are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tabcohort.settings import Config

QUANTILE_LEVELS = (
    0.0,
    0.05,
    0.25,
    0.5,
    0.75,
    0.95,
    1.0,
)  # of the weights of an array that are below each of its quantiles


class LayerArrays(NamedTuple):
    """A parameter array of a network after an epoch.

    Args:
        name: as PyTorch's `state_dict` has it, such as "output.weight".
        values: the parameters, `(n,)`.
        gradients: the moving average of the gradients of the last steps that the optimizer keeps, `(n,)`; see
            `average_gradient`.
    """

    name: str
    values: NDArray[Any]
    gradients: NDArray[Any]


class LayerStatistics(NamedTuple):
    """Figures about a parameter array after an epoch.

    Args:
        name: of the array.
        n: number of its parameters.
        quantiles: of the parameters, at `QUANTILE_LEVELS`: from the smallest to the largest.
        rms: root mean square of the parameters.
        gradient_rms: root mean square of the average gradients.
    """

    name: str
    n: int
    quantiles: tuple[float, ...]
    rms: float
    gradient_rms: float


def layer_arrays(
    places: Iterable[tuple[str, slice]], values: NDArray[Any], gradients: NDArray[Any]
) -> list[LayerArrays]:
    """Return the parameter arrays of a network that have any parameters.

    Args:
        places: the name of each array and where it is in `values`.
        values: all parameters, `(n,)`.
        gradients: their average gradients, `(n,)`.
    """
    return [LayerArrays(name, values[place], gradients[place]) for name, place in places if values[place].size]


def average_gradient(moment: NDArray[Any], config: Config, n_steps: int) -> NDArray[Any]:
    """Return the weighted mean of the gradients of all steps so far, in which recent steps count most.

    The optimizer keeps it anyway, after clipping and with the part of a weight decay that is not decoupled: Adam as its
    first moment, and SGD as its momentum, which is a sum. Without momentum it is the gradient of the last step.

    Args:
        moment: what the optimizer keeps.
        config: `optimizer`, `momentum` and `beta1` are used.
        n_steps: number of steps so far.

    Examples:
        >>> moment = np.array([0.1])  # of Adam, after one step with a gradient of 1
        >>> average_gradient(moment, Config(beta1=0.9), 1).round(6)
        array([1.])
    """
    decay = config.momentum if config.optimizer == "sgd" else config.beta1
    total = 1 - decay**n_steps  # of the weights of all steps, of which the last has 1 - decay
    return moment * ((1 - decay) / total if config.optimizer == "sgd" else 1 / total)


def layer_statistics(arrays: LayerArrays) -> LayerStatistics:
    """Return figures about a parameter array, computed in 64 bits.

    Args:
        arrays: `n >= 1` parameters and their average gradients.

    Returns:
        The quantiles, each of which is one of the parameters, and the root mean squares of parameters and gradients.

    Examples:
        >>> values = np.arange(-10.0, 11.0)
        >>> layer_statistics(LayerArrays("output.weight", values, np.full(21, 0.5))).quantiles
        (-10.0, -9.0, -5.0, 0.0, 5.0, 9.0, 10.0)
    """
    ordered = np.sort(arrays.values.astype(np.float64))
    places = [round(share * (len(ordered) - 1)) for share in QUANTILE_LEVELS]
    return LayerStatistics(
        arrays.name, len(ordered), tuple(ordered[places].tolist()), _rms(arrays.values), _rms(arrays.gradients)
    )


def _rms(values: NDArray[Any]) -> float:
    """Return the root mean square of some numbers, in 64 bits: squares of weights of 1e-25 are 0 in 32 bits."""
    values = values.astype(np.float64)
    return math.sqrt(float(np.dot(values, values)) / len(values))
