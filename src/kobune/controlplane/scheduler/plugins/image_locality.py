"""ImageLocality: prefers nodes that already have the pod's images, large and widespread ones most."""

import numpy as np

from kobune.controlplane.scheduler.arrays import MAX_SCORE, Rows, Scores
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Scope
from kobune.controlplane.scheduler.pod_info import PodInfo

# Bytes. Images below do not matter, and more than this per container adds nothing. Source: upstream ImageLocality.
LEAST = 23 * 1024 * 1024
MOST_PER_CONTAINER = 1000 * 1024 * 1024


class ImageLocality:
    name = "ImageLocality"
    scope = Scope.NODES

    def prefers(self, pod: PodInfo) -> bool:
        return True

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Scores:
        """The size of the images present, each scaled by the share of nodes that have it."""
        present = np.zeros(nodes.capacity, dtype=np.int64)
        total = len(nodes)
        for image in pod.shape.images:
            holders = nodes.images.get(image)
            if holders:
                spread = len(holders) / total
                where = np.fromiter(holders.keys(), dtype=np.intp, count=len(holders))
                sizes = np.fromiter(holders.values(), dtype=np.float64, count=len(holders))
                present[where] += (sizes * spread).astype(np.int64)
        most = MOST_PER_CONTAINER * pod.shape.container_count
        clipped = np.clip(present[rows], LEAST, most)
        scores: Scores = MAX_SCORE * (clipped - LEAST) // (most - LEAST)
        return scores
