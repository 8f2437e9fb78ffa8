"""What the workers of one node share, put together once by `kubelet.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kobune.api.clock import Clock
from kobune.client.client import Client
from kobune.client.events import EventRecorder
from kobune.node.kubelet.cgroups import PodCgroups
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.dns import Resolver
from kobune.node.kubelet.fields import Place
from kobune.node.kubelet.images import Images
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.resize import Pending
from kobune.node.kubelet.runtime_state import RuntimeState
from kobune.node.kubelet.sources import Sources
from kobune.node.kubelet.volumes.manager import Volumes
from kobune.node.kubelet.volumes.volume import Offload
from kobune.node.runtime.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Services:
    """The node, from a pod worker's point of view."""

    client: Client
    runtime: Runtime
    runtime_name: str
    config: KubeletConfig
    clock: Clock
    recorder: EventRecorder
    state: RuntimeState
    images: Images
    sources: Sources
    volumes: Volumes
    cgroups: PodCgroups
    host_resolver: Callable[[], Resolver]
    # Variables for the services that a pod of the namespace sees: (namespace, enableServiceLinks).
    service_variables: Callable[[str, bool], Mapping[str, str]]
    offload: Offload
    find_obstacle: Callable[[Pod], Pending | None]  # To the pod's getting all that it asks for.

    def place(self, pod_ips: tuple[str, ...] = ()) -> Place:
        """Where this node's pods run."""
        host_ips = (self.config.node_ip,) if self.config.node_ip else ()
        return Place(pod_ips, host_ips, self.config.node_name, self.config.allocatable())
