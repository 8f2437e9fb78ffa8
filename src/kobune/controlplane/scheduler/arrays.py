"""The array types of the scheduler, and arrays with one entry per node row that grow by doubling."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]  # One truth per row.
Scores: TypeAlias = NDArray[np.signedinteger[Any]]  # One score per row.
Counts: TypeAlias = NDArray[np.int32]
Codes: TypeAlias = NDArray[np.int32]  # Interned values; 0 is "none".
Rows: TypeAlias = slice | NDArray[np.intp]  # Some rows of the table.

MAX_SCORE = 100  # Source: upstream MaxNodeScore.
ALL_ROWS = slice(None)


def widened(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    """A copy with `capacity` entries along the last axis, the new ones zero."""
    wider = np.zeros((*array.shape[:-1], capacity), dtype=array.dtype)
    wider[..., : array.shape[-1]] = array
    return wider


def some_rows(rows: list[int]) -> Rows:
    """The cheapest index for these rows: one row is a view, several are a copy."""
    return slice(rows[0], rows[0] + 1) if len(rows) == 1 else np.array(rows, dtype=np.intp)
