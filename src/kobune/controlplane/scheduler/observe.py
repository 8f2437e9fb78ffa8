"""The scheduler's view of a cluster, taken once over the API: for explanations and plans outside the running scheduler."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, TypeVar

from msgspec import Struct, field

from kobune.api.errors import ApiError, NotFound
from kobune.api.objects.core import Node
from kobune.api.objects.meta import GVK, Key, Object
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client, resource_of
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.listers import KINDS, Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodInfo, PodParser
from kobune.controlplane.scheduler.profiles import build_profile
from kobune.controlplane.scheduler.quotas import ResourceQuota
from kobune.controlplane.scheduler.why import Explanation, Gang, Pool, Situation, explain, refused_at_admission

T = TypeVar("T", bound=Object)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Observation:
    """Nodes with the pods on them, the pods that wait, and everything else that bears on placement."""

    table: NodeTable
    listers: Listers
    nominated: Nominations
    pending: dict[Key, PodInfo]
    quotas: list[ResourceQuota]


class _Involved(Struct, rename="camel"):
    name: str = ""


class FailedCreation(Object):
    """An Event, as far as it tells what could not be created."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Event")
    involved_object: _Involved = field(default_factory=_Involved)
    message: str = ""
    last_timestamp: datetime | None = None


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


async def observe(client: Client) -> Observation:
    """The cluster as it is now. Kinds that the server does not serve count as having no objects.

    Raises:
        ApiError: nodes or pods cannot be listed.
    """
    async with asyncio.TaskGroup() as tasks:
        nodes = tasks.create_task(client.list(Node))
        pods = tasks.create_task(client.list(Pod, fields="status.phase!=Succeeded,status.phase!=Failed"))
        quotas = tasks.create_task(_list(client, ResourceQuota))
        others = {name: tasks.create_task(_list(client, view)) for name, view in KINDS.items()}
    table, nominated, parser, listers = NodeTable(), Nominations(), PodParser(), Listers()
    for node in nodes.result().items:
        table.put_node(node)
    pending = {}
    for pod in pods.result().items:
        info = parser.parse(pod)
        if info.scheduling_group is not None:
            listers.members.put(info.scheduling_group, info.uid, placed=bool(pod.spec.node_name))
        if pod.spec.node_name:
            table.add_pod(info, pod.spec.node_name)
        else:
            pending[info.key] = info
            nominated.put(info, pod.status.nominated_node_name)
    for name, task in others.items():
        setattr(listers, name, {item.key: item for item in task.result()})
    return Observation(table, listers, nominated, pending, quotas.result())


async def served_kinds(client: Client) -> list[str]:
    """The names of `KINDS` that this API server has; older ones lack some."""

    async def ask(view: type[Object]) -> bool:
        try:
            await client.call("GET", resource_of(view).path(), query={"limit": "1"})
        except NotFound:
            log.info("kind left out", extra={"kind": view.gvk.kind})
            return False
        except ApiError:
            return True  # Perhaps roles are still being made: its informer tries again.
        return True

    async with asyncio.TaskGroup() as tasks:
        answers = {name: tasks.create_task(ask(view)) for name, view in KINDS.items()}
    return [name for name, answer in answers.items() if answer.result()]


async def _list(client: Client, view: type[T]) -> list[T]:
    try:
        return (await client.list(view)).items
    except ApiError:
        return []


async def explain_pod(
    client: Client,
    key: Key,
    *,
    pools: list[Pool] | None = None,
    declared: tuple[Pool, ...] = (),
    offers: tuple[Pool, ...] = (),
    profile: ProfileConfiguration | None = None,
) -> Explanation:
    """Why a pod of the cluster is pending, or was never created. `pools`, `declared` and `offers` are as in `why.Situation`.

    Raises:
        NotFound: there is no such pod and no controller complains, or it is no longer pending; the message says which.
        ApiError: the cluster cannot be read.
    """
    seen = await observe(client)
    pod = seen.pending.get(key)
    if pod is None:
        found = await client.find(Pod, key)
        if found is None:
            refused = await _refused(client, key)
            if refused is not None:
                return refused
            raise NotFound(f'pods "{key.name}" not found', resource="pods", name=key.name)
        where = f"is on node {found.spec.node_name}" if found.spec.node_name else f"is {found.status.phase}"
        raise NotFound(f'pod "{key.name}" is not pending: it {where}', resource="pods", name=key.name)
    running = build_profile(profile or ProfileConfiguration(), seen.listers)
    situation = Situation(
        gates=tuple(gate.name for gate in pod.pod.spec.scheduling_gates),
        gang=_gang_of(pod, seen),
        budgets=tuple(seen.listers.disruption_budgets.values()),
        pools=pools,
        declared=declared,
        offers=offers,
        nominated=seen.nominated,
    )
    return explain(pod, seen.table, running, situation)


def _gang_of(pod: PodInfo, seen: Observation) -> Gang | None:
    """What is known of the pod's gang; None when it is of none."""
    key = pod.scheduling_group
    if key is None:
        return None
    group, members = seen.listers.pod_groups.get(key), seen.listers.members
    if group is None:
        return Gang(key.name, None)
    gang = group.spec.scheduling_policy.gang
    if gang is None:
        return None
    waiting = sorted(
        (one for one in seen.pending.values() if one.scheduling_group == key),
        key=lambda one: (-one.priority, one.created or _LONG_AGO),
    )
    return Gang(key.name, gang.min_count, members.count(key), members.placed(key), tuple(waiting))


async def _refused(client: Client, key: Key) -> Explanation | None:
    """What a controller says that could not create the pod, or any pod of the workload of that name."""
    events = await client.list(FailedCreation, key.namespace, fields="reason=FailedCreate")
    about = [
        event
        for event in events.items
        if (name := event.involved_object.name)
        and (key.name == name or key.name.startswith(f"{name}-") or name.startswith(f"{key.name}-"))
    ]
    if not about:
        return None
    latest = max(about, key=lambda event: event.last_timestamp or event.metadata.creation_timestamp or _LONG_AGO)
    return refused_at_admission(str(key), latest.message.removeprefix("Error creating: "))
