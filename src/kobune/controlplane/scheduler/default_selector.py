"""Which pods belong together when nobody has said so: those of the same Services and the same controller.

Source: upstream helper.DefaultSelector, for default topology spread constraints.
"""

from kobune.api.objects.meta import Key
from kobune.api.selectors import EVERYTHING, LabelSelector, Requirement
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.pod_info import PodGroup, PodInfo, selector_of

REMEMBERED = 4096


class DefaultSelectors:
    """The selectors, remembered until a Service or controller changes."""

    def __init__(self, listers: Listers) -> None:
        self._listers = listers
        self._known: dict[tuple[PodGroup, tuple[str, str, str]], LabelSelector] = {}
        self._version = -1

    def selector(self, pod: PodInfo) -> LabelSelector:
        """The selector of the pod's siblings; EVERYTHING when it has none."""
        version = self._listers.selector_changes
        if version != self._version or len(self._known) > REMEMBERED:
            self._known.clear()
            self._version = version
        key = (pod.shape.group, pod.shape.owner)
        selector = self._known.get(key)
        if selector is None:
            selector = self._known[key] = self._deduce(pod)
        return selector

    def _deduce(self, pod: PodInfo) -> LabelSelector:
        listers, group = self._listers, pod.shape.group
        merged: dict[str, str] = {}
        for key, service in listers.services.items():
            wanted = service.spec.selector
            if key.namespace != group.namespace or not wanted:
                continue
            if all(group.labels.get(name) == value for name, value in wanted.items()):
                merged.update(wanted)
        api_version, kind, name = pod.shape.owner
        owner = Key(group.namespace, name)
        more: LabelSelector | None = None
        if (api_version, kind) == ("v1", "ReplicationController"):
            controller = listers.replication_controllers.get(owner)
            merged.update((controller and controller.spec.selector) or {})
        elif (api_version, kind) == ("apps/v1", "ReplicaSet"):
            replica_set = listers.replica_sets.get(owner)
            more = selector_of(replica_set.spec.selector) if replica_set else None
        elif (api_version, kind) == ("apps/v1", "StatefulSet"):
            stateful_set = listers.stateful_sets.get(owner)
            more = selector_of(stateful_set.spec.selector) if stateful_set else None
        requirements = [Requirement(name, "=", (value,)) for name, value in merged.items()]
        requirements.extend(more.requirements if more is not None else ())
        return LabelSelector(requirements) if requirements else EVERYTHING
