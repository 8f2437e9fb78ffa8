"""What ResourceQuotas leave to new pods, for plans: a pod over quota is never created, so it never comes to be placed.

Source: Kubernetes documentation, Resource Quotas. Requests and the number of pods are counted; limits are not, and a quota
with scopes is left out.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import msgspec

from kobune.api.objects.core import Quantities
from kobune.api.objects.meta import GVK, Object
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.pod_requests import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Amounts, amount_of
from kobune.controlplane.scheduler.why import amount_text

_REQUESTS = "requests."
# What a quota may call a resource that pods ask for.
_PLAIN = {PODS: PODS, "count/pods": PODS, CPU: CPU, MEMORY: MEMORY, EPHEMERAL_STORAGE: EPHEMERAL_STORAGE}


class _Spec(msgspec.Struct, rename="camel"):
    hard: Quantities = {}
    scopes: list[str] = []
    scope_selector: dict[str, Any] | None = None


class _Status(msgspec.Struct):
    hard: Quantities = {}
    used: Quantities = {}


class ResourceQuota(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "ResourceQuota")
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class Quotas:
    """Counts down what is left in each namespace, pod by pod."""

    def __init__(self, quotas: Iterable[ResourceQuota] = ()) -> None:
        self._quotas = [_Account(quota) for quota in quotas if not (quota.spec.scopes or quota.spec.scope_selector)]

    def charge(self, pod: PodInfo) -> str:
        """Why the pod would not be let in, in upstream's words; empty when it is, and counts from now on."""
        concerned = [one for one in self._quotas if one.namespace == pod.shape.namespace]
        for account in concerned:
            over = list(account.over(pod))
            if over:
                return (
                    f'pods "{pod.name}" is forbidden: exceeded quota: {account.name}, {_compared(over, account, pod)}'
                )
        for account in concerned:
            account.add(pod)
        return ""


class _Account:
    """One quota: what is allowed and what is used, by the quota's own names of resources."""

    def __init__(self, quota: ResourceQuota) -> None:
        self.namespace, self.name = quota.metadata.namespace, quota.metadata.name
        self.resources = {name: resource for name in quota.spec.hard if (resource := _resource(name))}
        self.hard: Amounts = {name: amount_of(self.resources[name], quota.spec.hard[name]) for name in self.resources}
        used = quota.status.used
        self.used: Amounts = {name: amount_of(self.resources[name], used.get(name, 0)) for name in self.resources}

    def over(self, pod: PodInfo) -> Iterator[str]:
        for name, resource in self.resources.items():
            wanted = asked(pod, resource)
            if wanted and self.used[name] + wanted > self.hard[name]:
                yield name

    def add(self, pod: PodInfo) -> None:
        for name, resource in self.resources.items():
            self.used[name] += asked(pod, resource)


def _resource(name: str) -> str:
    """What pods ask for under a quota's name of it; empty when it is not theirs."""
    if name in _PLAIN:
        return _PLAIN[name]
    rest = name.removeprefix(_REQUESTS)
    # Storage is what claims ask for.
    return rest if rest != name and rest != "storage" else ""


def asked(pod: PodInfo, resource: str) -> int:
    """How much of a resource one pod counts for."""
    return 1 if resource == PODS else pod.shape.amounts.get(resource, 0)


def _compared(names: Iterable[str], account: _Account, pod: PodInfo) -> str:
    names = sorted(names)

    def listed(amounts: Amounts) -> str:
        return ",".join(f"{name}={amount_text(account.resources[name], amounts[name])}" for name in names)

    wanted = {name: asked(pod, account.resources[name]) for name in names}
    return f"requested: {listed(wanted)}, used: {listed(account.used)}, limited: {listed(account.hard)}"
