"""One label key over all nodes: an interned code per row, so that a rule on the label is one look-up per distinct value."""

from collections.abc import Callable

import numpy as np

from kobune.controlplane.scheduler.arrays import Codes, Mask, widened


class LabelColumn:
    """`codes[row]` is the interned value of the label, 0 where the node has none. Codes are never reused."""

    def __init__(self, capacity: int) -> None:
        self.codes: Codes = np.zeros(capacity, dtype=np.int32)
        self.values: list[str] = [""]  # By code; entry 0 stands for the absent label.
        self._code_of: dict[str, int] = {}

    def put(self, row: int, value: str | None) -> None:
        """Note the value of one row; None is no such label."""
        self.codes[row] = 0 if value is None else self.code(value)

    def code(self, value: str) -> int:
        """The code of a value, new if need be."""
        code = self._code_of.get(value)
        if code is None:
            code = self._code_of[value] = len(self.values)
            self.values.append(value)
        return code

    def grow(self, capacity: int) -> None:
        self.codes = widened(self.codes, capacity)

    def truth_of(self, accepts: Callable[[str], bool], *, absent: bool) -> Mask:
        """A table by code: whether `accepts` the value; `absent` for rows without the label."""
        truth = np.fromiter(map(accepts, self.values), dtype=np.bool_, count=len(self.values))
        truth[0] = absent
        return truth

    def truth_of_values(self, values: frozenset[str], *, member: bool) -> Mask:
        """A table by code: whether the value is in (or, with `member` False, not in) `values`; absent is not in."""
        truth = np.full(len(self.values), not member)
        for value in values:
            code = self._code_of.get(value)
            if code is not None:
                truth[code] = member
        truth[0] = not member
        return truth
