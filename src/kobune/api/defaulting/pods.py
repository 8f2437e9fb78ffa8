"""Pods and pod templates: containers, probes and all that the spec holds."""

from collections.abc import Iterable

from kobune.api.defaulting.images import pull_policy
from kobune.api.defaulting.pod_resources import default_pod_level
from kobune.api.defaulting.references import default_reference
from kobune.api.defaulting.resources import requests_from_limits, round_up, round_up_requirements
from kobune.api.defaulting.volumes import default_volume
from kobune.api.errors import Json

CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def default_pod(pod: Json) -> None:
    """A Pod: what its template would get, and what only a pod gets."""
    spec = pod.get("spec")
    if spec is None:
        spec = pod["spec"] = {}
    requests_from_limits(spec.get("containers"))
    requests_from_limits(spec.get("initContainers"))
    if spec.get("resources"):
        default_pod_level(spec)
    if "enableServiceLinks" not in spec:
        spec["enableServiceLinks"] = True
    if spec.get("hostNetwork"):
        _host_ports(spec.get("containers"))
        _host_ports(spec.get("initContainers"))
    default_pod_spec(spec)
    status = pod.get("status")
    if status:
        for field in STATUSES:
            for each in status.get(field) or ():
                round_up(each.get("allocatedResources"))
                round_up_requirements(each.get("resources"))
        round_up(status.get("allocatedResources"))
        round_up_requirements(status.get("resources"))


def default_template(owner: Json) -> None:
    """The pod template under `owner["template"]`; upstream has one even where nothing was written."""
    template = owner.get("template")
    if template is None:
        template = owner["template"] = {}
    spec = template.get("spec")
    if spec is None:
        spec = template["spec"] = {}
    default_pod_spec(spec)


def default_pod_spec(spec: Json) -> None:
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if "securityContext" not in spec:
        spec["securityContext"] = {}
    if "terminationGracePeriodSeconds" not in spec:
        spec["terminationGracePeriodSeconds"] = 30
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    # The older name mirrors the newer one, which counts when both are there.
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in spec.get("volumes") or ():
        default_volume(volume)
    for field in CONTAINERS:
        for container in spec.get(field) or ():
            default_container(container)
    round_up(spec.get("overhead"))
    round_up_requirements(spec.get("resources"))


def default_container(container: Json) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source:
            default_reference(source)
    if "resources" in container:
        round_up_requirements(container["resources"])
    else:
        container["resources"] = {}
    for field in PROBES:
        if field in container:
            default_probe(container[field])
    lifecycle = container.get("lifecycle")
    if lifecycle:
        for field in ("postStart", "preStop"):
            _default_http_get((lifecycle.get(field) or {}).get("httpGet"))


def default_probe(probe: Json) -> None:
    if not probe.get("timeoutSeconds"):
        probe["timeoutSeconds"] = 1
    if not probe.get("periodSeconds"):
        probe["periodSeconds"] = 10
    if not probe.get("successThreshold"):
        probe["successThreshold"] = 1
    if not probe.get("failureThreshold"):
        probe["failureThreshold"] = 3
    _default_http_get(probe.get("httpGet"))
    grpc = probe.get("grpc")
    if grpc is not None and "service" not in grpc:
        grpc["service"] = ""


def _default_http_get(action: Json | None) -> None:
    if action is not None:
        if not action.get("path"):
            action["path"] = "/"
        if not action.get("scheme"):
            action["scheme"] = "HTTP"


def _host_ports(containers: Iterable[Json] | None) -> None:
    for container in containers or ():
        for port in container.get("ports") or ():
            if not port.get("hostPort"):
                port["hostPort"] = port.get("containerPort", 0)
