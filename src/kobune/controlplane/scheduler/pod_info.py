"""A pod as the scheduler sees it: everything that decides where it may go, parsed once for all identical pods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from kobune.api.objects import core
from kobune.api.objects.core import Toleration
from kobune.api.objects.meta import Key, wire_name
from kobune.api.objects.scheduling import Pod, PodVolume
from kobune.api.selectors import EVERYTHING, NOTHING, LabelSelector, Requirement, labels_from_json
from kobune.controlplane.scheduler.node_rules import RequiredNodes, WeightedTerm, compile_term, required_nodes
from kobune.controlplane.scheduler.pod_requests import CPU, EPHEMERAL_STORAGE, MEMORY, Amounts, Requests, pod_requests

# Volume sources that bear on placement. A pod's other volumes have generated names, which would make every pod unlike.
PLACED_VOLUMES = {
    wire_name(field): field
    for field in (
        "persistent_volume_claim", "ephemeral", "gce_persistent_disk", "aws_elastic_block_store", "azure_disk",
        "azure_file", "cinder", "rbd", "iscsi", "image", "csi",
    )
}  # fmt: skip
SHAPES_KEPT = 20_000

# Kinds of affinity terms between pods.
REQUIRED_AFFINITY, REQUIRED_ANTI_AFFINITY = "required affinity", "required anti-affinity"
PREFERRED_AFFINITY, PREFERRED_ANTI_AFFINITY = "preferred affinity", "preferred anti-affinity"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PodGroup:
    """Pods that no selector can tell apart: same namespace, same labels. One object per group, compared by identity."""

    namespace: str
    labels: Mapping[str, str]


class PodTerm(NamedTuple):
    """An affinity or anti-affinity term: which pods are meant, and in what sense of "near"."""

    kind: str
    topology_key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector  # Adds namespaces by their labels.
    weight: int = 0

    def means(self, group: PodGroup, namespace_labels: Mapping[str, str]) -> bool:
        """Whether pods of `group`, in a namespace with these labels, are meant."""
        in_scope = group.namespace in self.namespaces or self.namespace_selector.matches(namespace_labels)
        return in_scope and self.selector.matches(group.labels)


class SpreadConstraint(NamedTuple):
    """A topology spread constraint with its selector compiled, the values of `matchLabelKeys` included."""

    max_skew: int
    topology_key: str
    hard: bool  # DoNotSchedule.
    selector: LabelSelector
    min_domains: int = 1
    honor_node_affinity: bool = True
    honor_taints: bool = False


class HostPort(NamedTuple):
    protocol: str
    port: int
    ip: str  # "0.0.0.0" is every address.


class Volume(NamedTuple):
    """A volume that bears on placement: its name, the kind of its source, and the source as JSON."""

    name: str
    kind: str
    source: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class PodShape:
    """What identical pods have in common. One object per shape, compared by identity, so that it can key caches."""

    group: PodGroup
    requests: NDArray[np.int64]  # [cpu in millicores, memory in bytes, ephemeral storage in bytes].
    core: tuple[int, int, int]  # The same as plain integers.
    amounts: Amounts  # All requests by resource name.
    extended: tuple[tuple[str, int], ...]  # Every other resource asked for, zero amounts left out.
    assumed: NDArray[np.int64]  # [millicores, bytes] for scoring, with upstream's guess for what is not asked for.
    node_name: str  # The node that the pod insists on.
    required_nodes: RequiredNodes
    preferred_nodes: tuple[WeightedTerm, ...]
    tolerations: tuple[Toleration, ...]
    ports: tuple[HostPort, ...]
    images: tuple[str, ...]  # Of init containers, containers and image volumes, normalised, repeated as they are.
    container_count: int  # Init containers included.
    spread: tuple[SpreadConstraint, ...]
    terms: tuple[PodTerm, ...]
    volumes: tuple[Volume, ...]
    claims: tuple[Mapping[str, Any], ...]  # spec.resourceClaims.
    features: frozenset[str]  # What the node's kubelet must have declared.
    owner: tuple[str, str, str]  # (apiVersion, kind, name) of the controller; empty strings when there is none.

    def takes_like(self, other: "PodShape") -> bool:
        """Whether a node has as much left beside a pod of this shape as beside one of the other."""
        return self is other or (
            self.core == other.core
            and self.extended == other.extended
            and self.ports == other.ports
            and self.volumes == other.volumes
            and self.assumed.tobytes() == other.assumed.tobytes()
        )

    @property
    def namespace(self) -> str:
        return self.group.namespace

    @property
    def labels(self) -> Mapping[str, str]:
        return self.group.labels

    def terms_of(self, kind: str) -> list[PodTerm]:
        return [term for term in self.terms if term.kind == kind]


@dataclass(slots=True, eq=False)
class PodInfo:
    """One pod: its shape and what is its own."""

    pod: Pod
    shape: PodShape
    key: Key
    uid: str
    priority: int
    created: datetime | None
    deleting: bool

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def node_name(self) -> str:
        """The node that the pod is bound to."""
        return self.pod.spec.node_name

    @property
    def scheduling_group(self) -> Key | None:
        """The PodGroup that the pod is of."""
        group = self.pod.spec.scheduling_group
        return Key(self.key.namespace, group.pod_group_name) if group is not None else None

    @property
    def started(self) -> datetime | None:
        """When the kubelet first saw the pod."""
        return self.pod.status.start_time

    def __repr__(self) -> str:
        return f"PodInfo({self.key})"


class PodParser:
    """Turns pods into PodInfo; identical pods share one shape."""

    def __init__(self) -> None:
        self._shapes: dict[bytes, PodShape] = {}
        # Weak: labels that are unlike for every Job would otherwise pile up for ever.
        self._groups: WeakValueDictionary[tuple[str, frozenset[tuple[str, str]]], PodGroup] = WeakValueDictionary()

    def parse(self, pod: Pod) -> PodInfo:
        """The pod with its shape, known or new."""
        meta = pod.metadata
        return PodInfo(
            pod=pod,
            shape=self._shape(pod),
            key=Key(meta.namespace, meta.name),
            uid=meta.uid,
            priority=pod.spec.priority,
            created=meta.creation_timestamp,
            deleting=meta.deletion_timestamp is not None,
        )

    def _shape(self, pod: Pod) -> PodShape:
        key = _shape_key(pod)
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= SHAPES_KEPT:
                self._shapes.clear()  # Shapes in use live on; their successors only start with empty caches.
            shape = self._shapes[key] = new_shape(pod, self.group(pod.metadata.namespace, pod.metadata.labels))
        return shape

    def group(self, namespace: str, labels: Mapping[str, str]) -> PodGroup:
        """The one group of pods with this namespace and these labels."""
        key = (namespace, frozenset(labels.items()))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = PodGroup(namespace, labels)
        return group


_encode = msgspec.msgpack.Encoder().encode


def _shape_key(pod: Pod) -> bytes:
    spec, meta = pod.spec, pod.metadata
    owner = meta.controller if meta.owner_references else None
    return _encode(
        (
            meta.namespace, meta.labels, owner and (owner.api_version, owner.kind, owner.name),
            spec.node_selector, spec.affinity, spec.tolerations, spec.topology_spread_constraints, spec.overhead,
            spec.resources, spec.resource_claims, spec.host_users, spec.host_network,
            [(one.resources, one.ports, one.image, one.restart_policy, one.restart_policy_rules) for one in spec.containers],
            [(one.resources, one.ports, one.image, one.restart_policy, one.restart_policy_rules) for one in spec.init_containers],
            [volume for volume in spec.volumes if any(True for _ in _sources(volume))],
            (_resizes(pod) or None) if spec.node_name else None, meta.name if _is_named_by_pod(pod) else "",
        )
    )  # fmt: skip


def _resizes(pod: Pod) -> list[tuple[str, object]]:
    statuses = [*pod.status.container_statuses, *pod.status.init_container_statuses]
    return [(one.name, one.resources.requests) for one in statuses if one.resources and one.resources.requests]


def _is_named_by_pod(pod: Pod) -> bool:
    """Generic ephemeral volumes and claim templates name their claims after the pod."""
    return any(volume.ephemeral is not None for volume in pod.spec.volumes) or bool(pod.spec.resource_claims)


def _sources(volume: PodVolume) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the volume is, as far as that bears on placement: the API's name of the source, and the source."""
    for kind, field in PLACED_VOLUMES.items():
        source = getattr(volume, field)
        if source is not None:
            yield kind, source


def new_shape(pod: Pod, group: PodGroup, *, node_name: str = "") -> PodShape:
    """Parse everything that bears on placement. `node_name` is a node that a still unbound pod insists on."""
    spec = pod.spec
    requests = pod_requests(pod)
    owner = pod.metadata.controller
    containers = [*spec.init_containers, *spec.containers]
    volumes = tuple(Volume(volume.name, kind, source) for volume in spec.volumes for kind, source in _sources(volume))
    affinity = spec.affinity
    node_affinity = affinity.node_affinity if affinity else None
    required = node_affinity.required_during_scheduling_ignored_during_execution if node_affinity else None
    preferred = node_affinity.preferred_during_scheduling_ignored_during_execution if node_affinity else None
    return PodShape(
        group=group,
        requests=_core(requests),
        core=(
            requests.amounts.get(CPU, 0),
            requests.amounts.get(MEMORY, 0),
            requests.amounts.get(EPHEMERAL_STORAGE, 0),
        ),
        amounts=requests.amounts,
        extended=tuple(sorted(_extended(requests).items())),
        assumed=np.array([requests.assumed_millicores, requests.assumed_memory_bytes], dtype=np.int64),
        node_name=node_name,
        required_nodes=required_nodes(spec.node_selector, required),
        preferred_nodes=tuple(
            WeightedTerm(term.weight, compile_term(term.preference)) for term in preferred or () if term.weight
        ),
        tolerations=tuple(spec.tolerations),
        ports=tuple(
            HostPort(port.protocol or "TCP", port.host_port, port.host_ip or "0.0.0.0")
            for container in [
                *(one for one in spec.init_containers if one.restart_policy == "Always"),
                *spec.containers,
            ]
            for port in container.ports
            if port.host_port > 0
        ),
        images=tuple(
            normalized_image(image)
            for image in [
                *(container.image for container in containers),
                *(volume.source.get("reference", "") for volume in volumes if volume.kind == "image"),
            ]
        ),
        container_count=len(containers),
        spread=tuple(compile_spread(constraint, group.labels) for constraint in spec.topology_spread_constraints),
        terms=_terms(pod),
        volumes=volumes,
        claims=tuple(spec.resource_claims),
        features=frozenset(_needed_features(pod)),
        owner=(owner.api_version, owner.kind, owner.name) if owner else ("", "", ""),
    )


def _needed_features(pod: Pod) -> Iterator[str]:
    """Source: upstream nodedeclaredfeatures, InferForScheduling of each feature."""
    spec = pod.spec
    if spec.host_network and not spec.host_users:
        yield "UserNamespacesHostNetworkSupport"
    rules = (rule for one in (*spec.containers, *spec.init_containers) for rule in one.restart_policy_rules)
    if any(rule.get("action") == "RestartAllContainers" for rule in rules):
        yield "RestartAllContainersOnContainerExits"


def _core(requests: Requests) -> NDArray[np.int64]:
    amounts = requests.amounts
    return np.array(
        [amounts.get(CPU, 0), amounts.get(MEMORY, 0), amounts.get(EPHEMERAL_STORAGE, 0)],
        dtype=np.int64,
    )


def _extended(requests: Requests) -> dict[str, int]:
    core_resources = (CPU, MEMORY, EPHEMERAL_STORAGE)
    return {name: amount for name, amount in requests.amounts.items() if amount and name not in core_resources}


def normalized_image(name: str) -> str:
    """With the tag that is meant when none is written. Source: upstream normalizedImageName."""
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"


def selector_of(view: core.LabelSelector | None) -> LabelSelector:
    """A label selector from its view: None matches nothing, an empty one everything."""
    if view is None:
        return NOTHING
    if not view.match_labels and not view.match_expressions:
        return EVERYTHING
    selector: dict[str, Any] = msgspec.to_builtins(view)
    return labels_from_json(selector)


def compile_spread(constraint: core.TopologySpreadConstraint, labels: Mapping[str, str]) -> SpreadConstraint:
    """The constraint of a pod with these labels."""
    selector = selector_of(constraint.label_selector)
    same = [Requirement(key, "=", (labels[key],)) for key in constraint.match_label_keys or () if key in labels]
    return SpreadConstraint(
        max_skew=constraint.max_skew,
        topology_key=constraint.topology_key,
        hard=constraint.when_unsatisfiable == "DoNotSchedule",
        selector=_narrowed(selector, same),
        min_domains=constraint.min_domains or 1,
        honor_node_affinity=constraint.node_affinity_policy != "Ignore",
        honor_taints=constraint.node_taints_policy == "Honor",
    )


def _narrowed(selector: LabelSelector, requirements: list[Requirement]) -> LabelSelector:
    if not requirements or selector.nothing:
        return selector
    return LabelSelector([*selector.requirements, *requirements])


def _terms(pod: Pod) -> tuple[PodTerm, ...]:
    affinity = pod.spec.affinity
    if affinity is None:
        return ()
    terms: list[PodTerm] = []
    for part, required_kind, preferred_kind in (
        (affinity.pod_affinity, REQUIRED_AFFINITY, PREFERRED_AFFINITY),
        (affinity.pod_anti_affinity, REQUIRED_ANTI_AFFINITY, PREFERRED_ANTI_AFFINITY),
    ):
        if part is None:
            continue
        for term in part.required_during_scheduling_ignored_during_execution or ():
            terms.append(_term(pod, term, required_kind, 0))
        for weighted in part.preferred_during_scheduling_ignored_during_execution or ():
            terms.append(_term(pod, weighted.pod_affinity_term, preferred_kind, weighted.weight))
    return tuple(terms)


def _term(pod: Pod, term: core.PodAffinityTerm, kind: str, weight: int) -> PodTerm:
    labels = pod.metadata.labels
    same = [Requirement(key, "in", (labels[key],)) for key in term.match_label_keys or () if key in labels]
    other = [Requirement(key, "notin", (labels[key],)) for key in term.mismatch_label_keys or () if key in labels]
    selector = selector_of(term.label_selector)
    # The API server adds these requirements when the pod is created; adding one again changes nothing.
    fresh = [one for one in same + other if one not in selector.requirements]
    own = not term.namespaces and term.namespace_selector is None
    return PodTerm(
        kind=kind,
        topology_key=term.topology_key,
        selector=_narrowed(selector, fresh),
        namespaces=frozenset((pod.metadata.namespace,) if own else term.namespaces or ()),
        namespace_selector=selector_of(term.namespace_selector),
        weight=weight,
    )
