"""Type aliases that several packages share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
CodeArray = NDArray[np.int32]  # of the columns that have levels
Label = str | int | float | bool  # a class label, as JSON can hold it
