"""Which pods a Service selects and which Services select a pod, without looking through all of either."""

from collections.abc import Iterable
from typing import NamedTuple

from kobune.api.objects.core import Service, ServicePort
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context

HEADLESS = "None"


class Label(NamedTuple):
    """A label somewhere; pods are indexed by all of theirs, Services by one of their selector's."""

    namespace: str
    name: str
    value: str


def index_pods_and_services(context: Context) -> None:
    """Make the look-ups below possible."""
    context.informer(Pod).add_index("label", labels_of)
    context.informer(Service).add_index("selector", _leading_label)


def pods_of(context: Context, service: Service) -> list[Pod]:
    """The pods that match the Service's selector."""
    pods = context.informer(Pod)
    wanted = service.spec.selector.items()
    labels = [Label(service.namespace, name, value) for name, value in wanted]
    rarest = min(labels, key=lambda label: pods.index_size("label", label))
    return [pod for pod in pods.index("label", rarest) if wanted <= pod.metadata.labels.items()]


def services_of_pod(context: Context, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    """For `Maps`: the Services that select the pod now or did before, if what a Service sees of it has changed."""
    if old is not None and new is not None and _seen(old) == _seen(new):
        return ()
    found: dict[Key, None] = {}
    services = context.informer(Service)
    for pod in (old, new):
        if pod is None:
            continue
        labels = pod.metadata.labels
        for name, value in labels.items():
            for service in services.index("selector", Label(pod.namespace, name, value)):
                if service.spec.selector.items() <= labels.items():
                    found[service.key] = None
    return found


def belongs_to_endpoints(pod: Pod, *, terminating: bool) -> bool:
    """The pod may take traffic or be drained of it. Source: upstream ShouldPodBeInEndpoints."""
    return not pod.is_finished and bool(pod.status.pod_ips) and (terminating or not pod.is_deleting)


def target_port(pod: Pod, port: ServicePort) -> int | None:
    """The port of the pod that the Service's port means; None when the pod has none of that name."""
    if isinstance(port.target_port, int):
        return port.target_port or port.port
    sidecars = [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    for container in (*pod.spec.containers, *sidecars):
        for each in container.ports:
            if each.name == port.target_port and each.protocol == port.protocol:
                return each.container_port
    return None


def hostname_of(pod: Pod, service: Service) -> str | None:
    """The pod's name within a headless Service that is its subdomain."""
    named = pod.spec.hostname and pod.spec.subdomain == service.name
    return pod.spec.hostname if named else None


def labels_of(pod: Pod) -> list[Label]:
    """What a pod is indexed by."""
    namespace = pod.metadata.namespace
    return [Label(namespace, name, value) for name, value in pod.metadata.labels.items()]


def _leading_label(service: Service) -> list[Label]:
    if not service.spec.selector:
        return []
    name = min(service.spec.selector)
    return [Label(service.namespace, name, service.spec.selector[name])]


def _seen(pod: Pod) -> tuple[object, ...]:
    status, spec = pod.status, pod.spec
    return (
        pod.metadata.labels,
        status.pod_ips,
        pod.is_ready,
        pod.is_finished,
        pod.is_deleting,
        spec.node_name,
        spec.hostname,
        spec.subdomain,
    )
