"""Counting per topology domain: nodes with the same value of a label are one zone, one rack, one host."""

import numpy as np
from numpy.typing import NDArray

from kobune.controlplane.scheduler.arrays import Codes, Counts, Mask, Scores
from kobune.controlplane.scheduler.node_table import NodeTable


def codes_of(nodes: NodeTable, topology_key: str) -> Codes:
    """The domain of each row in use; 0 is none."""
    return nodes.column(topology_key).codes[nodes.rows]


def per_domain(codes: Codes, counts: Counts, among: Mask | None = None) -> NDArray[np.int64]:
    """The sum of `counts` over the rows of each domain, by code; `among` leaves other rows out. Entry 0 is always 0."""
    weights = counts[: len(codes)]
    if among is not None:
        weights = weights * among
    sums = np.bincount(codes, weights=weights, minlength=1).astype(np.int64)
    sums[0] = 0
    return sums


def spread_out(codes: Codes, sums: NDArray[np.int64]) -> Scores:
    """For each row the sum of its domain."""
    result: Scores = sums[codes]
    return result
