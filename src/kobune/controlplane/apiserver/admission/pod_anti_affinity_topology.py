"""LimitPodHardAntiAffinityTopology: pods may keep away from each other by host only."""

from kobune.api.errors import forbidden
from kobune.controlplane.apiserver.admission.attributes import Attributes

HOST = "kubernetes.io/hostname"


class LimitPodHardAntiAffinityTopology:
    name = "LimitPodHardAntiAffinityTopology"
    operations = ("CREATE", "UPDATE")
    resources = ("pods",)

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        pod = attributes.object or {}
        avoided = ((pod.get("spec") or {}).get("affinity") or {}).get("podAntiAffinity") or {}
        for term in avoided.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            key = term.get("topologyKey") or ""
            if key != HOST:
                words = f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOST} is allowed"
                raise forbidden("pods", pod["metadata"].get("name") or "", words)
