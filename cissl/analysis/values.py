"""Types that the whole analysis shares: what may distinguish one trial from another, and arrays of figures."""

from typing import Any

import numpy as np
import numpy.typing as npt

Value = str | int | float | None  # of a setting, or of a part of a split's name
Values = dict[str, Value]  # by name
Key = tuple[tuple[str, Value], ...]  # (name, value) pairs that identify a row or a column
FloatArray = npt.NDArray[np.floating[Any]]
IndexArray = npt.NDArray[np.intp]
