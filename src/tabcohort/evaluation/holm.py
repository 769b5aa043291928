"""Several tests at once: p-values corrected so that any false rejection at all is as rare as that of one test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tabcohort.types import FloatArray


def holm(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """Return p-values corrected for their number (Holm 1979), `(n,)`; whatever their dependence, it is valid.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return corrected
