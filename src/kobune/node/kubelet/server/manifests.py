"""Pods as JSON again, for whoever asks the node instead of the API server."""

from collections.abc import Sequence

import msgspec

from kobune.node.kubelet.pod import Pod


def pod_list(pods: Sequence[Pod]) -> bytes:
    """A v1 PodList with the fields that the kubelet reads, and its own status."""
    items = [msgspec.to_builtins(pod) for pod in pods]
    return msgspec.json.encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
