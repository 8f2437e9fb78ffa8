"""What network policies go by, as far as they read it."""

from typing import Any, ClassVar

from msgspec import field

from kobune.api.objects.meta import GVK, Object, ObjectMeta, View


class Namespace(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Namespace")


class ContainerPort(View):
    name: str = ""
    container_port: int = 0
    protocol: str = "TCP"


class Container(View):
    ports: list[ContainerPort] = field(default_factory=list)
    restart_policy: str = ""


class PodSpec(View):
    node_name: str = ""
    host_network: bool = False
    containers: list[Container] = field(default_factory=list)
    init_containers: list[Container] = field(default_factory=list)


class PodStatus(View):
    phase: str = ""
    pod_ip: str = field(default="", name="podIP")


class Pod(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Pod")
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus = field(default_factory=PodStatus)

    @property
    def address(self) -> str:
        """Where policies find it; empty where they do not: nodes' own addresses are not pods'."""
        ended = self.status.phase in ("Succeeded", "Failed")
        return "" if self.spec.host_network or ended else self.status.pod_ip

    def named_ports(self, name: str, protocol: str) -> list[int]:
        """The numbers of the port of this name."""
        sidecars = [each for each in self.spec.init_containers if each.restart_policy == "Always"]
        return [
            port.container_port
            for container in [*self.spec.containers, *sidecars]
            for port in container.ports
            if port.name == name and port.protocol == protocol
        ]


def dns_pod(address: str, node_name: str) -> Pod:
    """The pod that policies mean when they speak of cluster DNS. Source: AKS's coredns pods."""
    ports = [
        ContainerPort(name=name, container_port=53, protocol=protocol)
        for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    return Pod(
        metadata=ObjectMeta(name="coredns", namespace="kube-system", labels={"k8s-app": "kube-dns"}),
        spec=PodSpec(node_name=node_name, containers=[Container(ports=ports)]),
        status=PodStatus(phase="Running", pod_ip=address),
    )


class IpBlock(View):
    cidr: str
    excluded: list[str] = field(default_factory=list, name="except")


class Peer(View):
    pod_selector: dict[str, Any] | None = None
    namespace_selector: dict[str, Any] | None = None
    ip_block: IpBlock | None = None


class Port(View):
    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class Rule(View):
    """Of ingress or egress; who is empty is everybody, no ports are all."""

    from_: list[Peer] = field(default_factory=list, name="from")
    to: list[Peer] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)

    @property
    def peers(self) -> list[Peer]:
        return self.from_ or self.to


class NetworkPolicySpec(View):
    pod_selector: dict[str, Any] = field(default_factory=dict)
    ingress: list[Rule] = field(default_factory=list)
    egress: list[Rule] = field(default_factory=list)
    policy_types: list[str] = field(default_factory=list)


class NetworkPolicy(Object):
    gvk: ClassVar[GVK] = GVK("networking.k8s.io", "v1", "NetworkPolicy")
    spec: NetworkPolicySpec = field(default_factory=NetworkPolicySpec)
