"""The Node object: registered once, then its status kept true and its Lease renewed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fractions import Fraction
from typing import ClassVar, NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.core import Node
from kobune.api.objects.meta import GVK, Key, Object
from kobune.api.quantity import format_binary, format_decimal
from kobune.api.timestamps import format_micro, format_time
from kobune.client.client import Client, Patch
from kobune.node.kubelet.config import Amounts, KubeletConfig
from kobune.node.kubelet.machine import Machine
from kobune.node.runtime.runtime import Image

log = logging.getLogger(__name__)

IMAGES_SHOWN, NAMES_SHOWN = 50, 5  # Source: upstream nodeStatusMaxImages, MaxNamesPerImageInNodeStatus.
RETRY_SECONDS = 1.0  # Between attempts to register or to take the lease; upstream starts at 0.1 s and ends at 7 s.
LEASE_NAMESPACE = "kube-node-lease"

# (type, reason and message when good, reason and message when bad, event suffixes). Source: upstream nodestatus setters.
PRESSURES = {
    "MemoryPressure": (
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("NodeHasSufficientMemory", "NodeHasInsufficientMemory"),
    ),
    "DiskPressure": (
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("NodeHasNoDiskPressure", "NodeHasDiskPressure"),
    ),
    "PIDPressure": (
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("NodeHasSufficientPID", "NodeHasInsufficientPID"),
    ),
}


class Lease(Object):
    """The node's heartbeat."""

    gvk: ClassVar[GVK] = GVK("coordination.k8s.io", "v1", "Lease")


class Facts(NamedTuple):
    """What the status is made from, apart from the configuration."""

    runtime_version: str
    images: Sequence[Image]
    pressures: frozenset[str]  # Types of PRESSURES that hold.
    problems: Sequence[str]  # What keeps the node from being Ready.


def resource_list(amounts: Amounts, pods: int, hugepages: Mapping[str, str]) -> dict[str, str]:
    """Amounts as a Node's capacity or allocatable shows them."""
    return {
        "cpu": format_decimal(Fraction(amounts.cpu_millicores, 1000)),
        "ephemeral-storage": format_binary(amounts.ephemeral_bytes),
        **hugepages,
        "memory": format_binary(amounts.memory_bytes),
        "pods": str(pods),
    }


def default_labels(config: KubeletConfig, machine: Machine) -> dict[str, str]:
    """The labels every node has, and those it was given."""
    return {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": config.hostname,
        "kubernetes.io/os": "linux",
        **config.labels,
    }


def render_node(config: KubeletConfig, machine: Machine, facts: Facts, now: str) -> Json:
    """The Node as it is first registered."""
    taints = [
        {"key": taint.key, "effect": taint.effect, **({"value": taint.value} if taint.value else {})}
        for taint in config.taints
    ]
    if config.unschedulable:
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    spec: Json = {"taints": taints} if taints else {}
    if config.provider_id:
        spec["providerID"] = config.provider_id
    if config.pod_cidr:
        spec |= {"podCIDR": config.pod_cidr, "podCIDRs": [config.pod_cidr]}
    if config.unschedulable:
        spec["unschedulable"] = True
    annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true", **config.annotations}
    return {
        "metadata": {
            "name": config.node_name,
            "labels": default_labels(config, machine),
            "annotations": annotations,
        },
        "spec": spec,
        "status": render_status(config, machine, facts, {}, now),
    }


def render_status(
    config: KubeletConfig, machine: Machine, facts: Facts, transitions: Mapping[str, tuple[str, str]], now: str
) -> Json:
    """The Node's status.

    Args:
        transitions: per condition type its last status and since when.
        now: as the API writes times.
    """
    version = config.kubelet_version
    status: Json = {
        "capacity": resource_list(config.capacity, config.max_pods, config.hugepages),
        "allocatable": resource_list(config.allocatable(), config.max_pods, config.hugepages),
        "addresses": [{"type": kind, "address": address} for kind, address in config.addresses],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.system_uuid,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": config.os_image or machine.os_image,
            "containerRuntimeVersion": facts.runtime_version,
            "kubeletVersion": version,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
        "conditions": [],
    }
    for kind, (good, bad, _) in PRESSURES.items():
        holds = kind in facts.pressures
        reason, message = bad if holds else good
        status["conditions"].append(_condition(kind, "True" if holds else "False", reason, message, transitions, now))
    # Ready comes last, as upstream has it.
    if facts.problems:
        words = facts.problems[0] if len(facts.problems) == 1 else f"[{', '.join(facts.problems)}]"
        ready = _condition("Ready", "False", "KubeletNotReady", words, transitions, now)
    else:
        ready = _condition("Ready", "True", "KubeletReady", "kubelet is posting ready status", transitions, now)
    status["conditions"].append(ready)
    images = sorted(facts.images, key=lambda image: -image.size_bytes)[:IMAGES_SHOWN]
    status["images"] = [
        {"names": [*image.digests, *image.tags][:NAMES_SHOWN], "sizeBytes": image.size_bytes}
        for image in images
        if image.digests or image.tags
    ]
    return status


def _condition(
    kind: str, status: str, reason: str, message: str, transitions: Mapping[str, tuple[str, str]], now: str
) -> Json:
    before, since = transitions.get(kind, ("", now))
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": since if before == status else now,
    }


def _without_heartbeats(status: Json) -> Json:
    conditions = [{**condition, "lastHeartbeatTime": ""} for condition in status["conditions"]]
    return {**status, "conditions": conditions}


class NodeStatus:
    """Keeps one Node and its Lease.

    Args:
        facts: asked before each report.
        notify: told an event about the node: (reason, message).
    """

    def __init__(
        self,
        client: Client,
        config: KubeletConfig,
        machine: Machine,
        facts: Callable[[], Awaitable[Facts]],
        notify: Callable[[str, str], None],
        *,
        clock: Clock,
    ) -> None:
        self.node: Node | None = None  # As last read or written.
        self._client = client
        self._config = config
        self._machine = machine
        self._facts = facts
        self._notify = notify
        self._clock = clock
        self._key = Key("", config.node_name)
        self._reported: Json | None = None
        self._reported_at = 0.0
        self._transitions: dict[str, tuple[str, str]] = {}
        self._changed = asyncio.Event()

    def report_soon(self) -> None:
        """Something that the status shows has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Register, then report changes at once and everything now and then, and keep the lease."""
        if self._config.register:
            await self.register()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_reporting(), name="node status")
            tasks.create_task(self._keep_lease(), name="node lease")

    async def register(self) -> None:
        """Create the Node, or bring an existing one's labels and status in line; tries until it succeeds."""
        while True:
            try:
                await self._register()
                return
            except ApiError as error:
                log.warning("unable to register node", extra={"node": self._config.node_name, "error": str(error)})
                await self._clock.sleep(RETRY_SECONDS)

    async def _register(self) -> None:
        now = format_time(self._clock.now())
        facts = await self._facts()
        manifest = render_node(self._config, self._machine, facts, now)
        try:
            self.node = await self._client.create(Node, manifest)
            self._remember(manifest["status"])
            self._announce(manifest["status"]["conditions"], {})
        except AlreadyExists:
            self.node = await self._client.get(Node, self._key)
            await self._reconcile(manifest)
            await self.report(force=True)

    async def _reconcile(self, manifest: Json) -> None:
        """Only what the kubelet owns: its labels, annotations and provider id. Taints are given at creation only."""
        assert self.node is not None
        meta, wanted = self.node.metadata, manifest["metadata"]
        patch: Json = {}
        for field, present in (("labels", meta.labels), ("annotations", meta.annotations)):
            missing = {name: value for name, value in wanted[field].items() if present.get(name) != value}
            if missing:
                patch.setdefault("metadata", {})[field] = missing
        if self._config.provider_id and not self.node.spec.provider_id:
            patch.setdefault("spec", {})["providerID"] = self._config.provider_id
        if self._config.pod_cidr and not self.node.spec.pod_cidr:
            cidr = self._config.pod_cidr
            patch.setdefault("spec", {}).update({"podCIDR": cidr, "podCIDRs": [cidr]})
        if patch:
            self.node = await self._client.patch(Node, self._key, patch)
        for condition in self.node.status.conditions:
            if condition.last_transition_time is not None:
                since = format_time(condition.last_transition_time)
                self._transitions[condition.type] = (condition.status, since)

    async def report(self, *, force: bool = False) -> bool:
        """Write the status when it changed, or when its time has come; whether it was written."""
        facts = await self._facts()
        status = render_status(self._config, self._machine, facts, self._transitions, format_time(self._clock.now()))
        due = self._clock.monotonic() - self._reported_at >= self._config.status_report_seconds
        known = self._reported
        if not force and not due and known is not None and _without_heartbeats(status) == _without_heartbeats(known):
            return False
        patch = {**status, "addresses": [{"$patch": "replace"}, *status["addresses"]]}
        before = dict(self._transitions)
        self.node = await self._client.patch_status(Node, self._key, patch, how=Patch.STRATEGIC)
        self._remember(status)
        self._announce(status["conditions"], before)
        return True

    def _remember(self, status: Json) -> None:
        self._reported = status
        self._reported_at = self._clock.monotonic()
        for condition in status["conditions"]:
            self._transitions[condition["type"]] = (condition["status"], condition["lastTransitionTime"])

    def _announce(self, conditions: Sequence[Json], before: Mapping[str, tuple[str, str]]) -> None:
        """Events for conditions that changed, in upstream's words."""
        for condition in conditions:
            kind, status = condition["type"], condition["status"]
            if before.get(kind, ("", ""))[0] == status:
                continue
            if kind == "Ready":
                reason = "NodeReady" if status == "True" else "NodeNotReady"
            else:
                reason = PRESSURES[kind][2][status == "True"]
            self._notify(reason, f"Node {self._config.node_name} status is now: {reason}")

    async def _keep_reporting(self) -> None:
        while True:
            try:
                await self.report()
            except NotFound:
                if self._config.register:
                    await self.register()  # Somebody deleted the Node; a running kubelet brings it back.
            except ApiError as error:
                log.warning("node status not written", extra={"node": self._config.node_name, "error": str(error)})
            self._changed.clear()
            await wait_or(self._clock, self._config.status_update_seconds, self._changed)

    async def _keep_lease(self) -> None:
        """Renew four times as often as the lease runs out. Source: upstream nodeLeaseRenewIntervalFraction 0.25."""
        while True:
            pause = self._config.lease_seconds * 0.25
            try:
                await self._renew()
            except ApiError as error:
                log.warning("lease not renewed", extra={"node": self._config.node_name, "error": str(error)})
                pause = min(pause, RETRY_SECONDS)
            await self._clock.sleep(pause)

    async def _renew(self) -> None:
        key = Key(LEASE_NAMESPACE, self._config.node_name)
        renewed = {"renewTime": format_micro(self._clock.now())}
        try:
            await self._client.patch(Lease, key, {"spec": renewed})
        except NotFound:
            meta: Json = {"name": key.name, "namespace": key.namespace}
            if self.node is not None:
                owner = {"apiVersion": "v1", "kind": "Node", "name": self.node.name, "uid": self.node.uid}
                meta["ownerReferences"] = [owner]
            spec = {"holderIdentity": key.name, "leaseDurationSeconds": self._config.lease_seconds, **renewed}
            await self._client.create(Lease, {"metadata": meta, "spec": spec})


async def wait_or(clock: Clock, seconds: float, event: asyncio.Event) -> None:
    """Return after `seconds`, or as soon as `event` is set."""
    async with asyncio.TaskGroup() as tasks:
        sleeping = tasks.create_task(clock.sleep(seconds))
        waiting = tasks.create_task(event.wait())
        await asyncio.wait((sleeping, waiting), return_when=asyncio.FIRST_COMPLETED)
        sleeping.cancel()
        waiting.cancel()
