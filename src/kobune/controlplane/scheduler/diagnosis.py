"""Why a pod fits nowhere: which plugin refuses which nodes and in which words, as masks; and upstream's one-line message."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kobune.controlplane.scheduler.arrays import Mask

NO_NODES = "no nodes available to schedule pods"


class Exclusion(NamedTuple):
    """Nodes that one plugin refuses for one reason. The first plugin that refuses a node has the say."""

    plugin: str
    text: str
    rows: Mask
    resolvable: bool  # Evicting pods from these nodes might help.


@dataclass(slots=True)
class Diagnosis:
    """The reasons of one failed attempt.

    A node may stand in several exclusions of the same plugin (too little cpu and too little memory).
    """

    nodes: int  # How many nodes there are.
    exclusions: list[Exclusion] = field(default_factory=list)
    refusal: str = ""  # Why no node was looked at.
    refused_by: str = ""  # The plugin that said so.
    resolvable: Mask = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))  # Rows that an eviction might help.
    afterwards: str = ""  # What came of freeing a claim and of making room.

    @property
    def plugins(self) -> frozenset[str]:
        """The plugins whose events may make the pod schedulable."""
        names = {name for exclusion in self.exclusions for name in exclusion.plugin.split(",")}
        return frozenset(names | {self.refused_by} if self.refused_by else names)

    def counts(self) -> Counter[str]:
        """How many nodes each text excludes."""
        counts: Counter[str] = Counter()
        for exclusion in self.exclusions:
            counts[exclusion.text] += int(np.count_nonzero(exclusion.rows))
        return counts

    def message(self) -> str:
        """The text of the FailedScheduling event and of the PodScheduled condition. Source: upstream FitError.Error."""
        if not self.nodes:
            return NO_NODES
        text = none_available(self.nodes, self.counts(), self.refusal)
        return f"{text} {self.afterwards}" if self.afterwards else text


def none_available(nodes: int, counts: Mapping[str, int] | Iterable[tuple[str, int]], refusal: str = "") -> str:
    """`0/5 nodes are available: 2 Insufficient cpu, 3 node(s) were unschedulable.`; the parts in order of their text."""
    if refusal:
        return f"0/{nodes} nodes are available: {refusal}."
    pairs = counts.items() if isinstance(counts, Mapping) else counts
    parts = sorted(f"{count} {text}" for text, count in pairs if count)
    return f"0/{nodes} nodes are available:" + (f" {', '.join(parts)}." if parts else "")
