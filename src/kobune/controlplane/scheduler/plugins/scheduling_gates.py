"""SchedulingGates: a pod with gates is not tried before the last of them is gone."""

from kobune.controlplane.scheduler.pod_info import PodInfo


class SchedulingGates:
    name = "SchedulingGates"

    def gate(self, pod: PodInfo) -> str:
        """Upstream's words for what the pod waits for; empty when it waits for nothing."""
        gates = [gate.name for gate in pod.pod.spec.scheduling_gates]
        return f"waiting for scheduling gates: [{' '.join(gates)}]" if gates else ""
