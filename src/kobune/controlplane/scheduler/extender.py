"""Scheduler extenders: HTTP services that filter and rate nodes, choose whom to evict, or bind, beside the plugins.

Source: Kubernetes documentation, Scheduler Configuration, extenders; upstream pkg/scheduler/extender.go. Pods and nodes are
sent as the API server has them. Answers are read without regard to case, as upstream reads them.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from kobune.api.errors import ApiError, Json
from kobune.api.objects.meta import Key
from kobune.api.objects.scheduling import Pod
from kobune.api.timestamps import parse_duration
from kobune.client.client import Client, resource_of
from kobune.controlplane.scheduler.extender_tls import TlsOptions, context, read_tls
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.preemption import Room

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_SECONDS = 5.0  # Source: upstream DefaultExtenderTimeout.
SCALE = 10  # From an extender's scores, 0 to 10, to the plugins', 0 to 100.


class EvictionPlan(NamedTuple):
    """Pods to evict from one node, by uid, and how many of them a disruption budget protects."""

    uids: tuple[str, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class ExtenderConfiguration:
    """One extender; an empty verb is something that it does not do."""

    url_prefix: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    node_cache_capable: bool = False  # It knows the nodes; names are enough.
    managed_resources: frozenset[str] = frozenset()  # It is asked only about pods that want one of these.
    ignorable: bool = False  # Pods are placed also while it fails.
    timeout_seconds: float = TIMEOUT_SECONDS
    tls: TlsOptions | None = None  # None: as the system has it.


class ExtenderError(Exception):
    """An extender could not be asked, or answered with an error."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """An extender's verdict on nodes, by name."""

    names: tuple[str, ...]
    failed: Mapping[str, str]  # With the reason.
    hopeless: Mapping[str, str]  # Of those, where evicting pods would not help.


class Extender:
    """One extender, asked over one HTTP session."""

    def __init__(self, config: ExtenderConfiguration, session: "aiohttp.ClientSession", client: Client) -> None:
        self.config = config
        self._session, self._client = session, client
        self._tls = True if config.tls is None else context(config.tls)

    def is_interested(self, pod: PodInfo) -> bool:
        """Whether it wants to be asked about the pod."""
        managed = self.config.managed_resources
        return not managed or any(resource in managed for resource in pod.shape.amounts)

    async def filter(self, pod: PodInfo, names: Sequence[str]) -> Filtered:
        """Which of the nodes it accepts. Raises ExtenderError."""
        answer = await self._send(self.config.filter_verb, await self._args(pod, names))
        if answer.get("error"):
            raise ExtenderError(str(answer["error"]))
        accepted = answer.get("nodenames") if self.config.node_cache_capable else None
        if accepted is None:
            items = _folded(answer.get("nodes") or {}).get("items") or ()
            accepted = [item["metadata"]["name"] for item in items]
        asked = set(names)
        strange = next((name for name in accepted if name not in asked), None)
        if strange is not None:
            raise ExtenderError(
                f'extender "{self.config.url_prefix}" claims a filtered node "{strange}" '
                "which is not found in the input node list"
            )
        return Filtered(
            tuple(accepted), answer.get("failednodes") or {}, answer.get("failedandunresolvablenodes") or {}
        )

    async def prioritize(self, pod: PodInfo, names: Sequence[str]) -> dict[str, int]:
        """Points for each node, weighted and on the plugins' scale. Raises ExtenderError."""
        answer = await self._send(self.config.prioritize_verb, await self._args(pod, names))
        scores = [_folded(entry) for entry in answer.get("items", ())]
        return {entry["host"]: int(entry["score"]) * self.config.weight * SCALE for entry in scores}

    async def preempt(self, pod: PodInfo, rooms: Sequence[Room]) -> dict[str, EvictionPlan]:
        """Which pods it would evict, by node; nodes that it leaves out are none to evict from. Raises ExtenderError."""
        known = self.config.node_cache_capable
        try:
            args: Json = {"Pod": await self._whole(pod.key), "NodeNameToVictims": None, "NodeNameToMetaVictims": None}
            victims = {
                room.node_name: {
                    "Pods": [{"UID": one.uid} if known else await self._whole(one.key) for one in room.victims],
                    "NumPDBViolations": room.violations,
                }
                for room in rooms
            }
        except ApiError as error:
            raise ExtenderError(str(error)) from error
        args["NodeNameToMetaVictims" if known else "NodeNameToVictims"] = victims
        answer = await self._send(self.config.preempt_verb, args)
        plans = {name: _folded(plan or {}) for name, plan in (answer.get("nodenametometavictims") or {}).items()}
        return {
            name: EvictionPlan(
                tuple(str(_folded(one).get("uid", "")) for one in plan.get("pods") or ()),
                int(plan.get("numpdbviolations") or 0),
            )
            for name, plan in plans.items()
        }

    async def bind(self, pod: PodInfo, node_name: str) -> None:
        """Have it bind the pod. Raises ExtenderError."""
        args = {"PodName": pod.name, "PodNamespace": pod.key.namespace, "PodUID": pod.uid, "Node": node_name}
        answer = await self._send(self.config.bind_verb, args)
        if answer.get("error"):
            raise ExtenderError(str(answer["error"]))

    async def _args(self, pod: PodInfo, names: Sequence[str]) -> Json:
        try:
            whole = await self._whole(pod.key)
            if self.config.node_cache_capable:
                return {"Pod": whole, "Nodes": None, "NodeNames": list(names)}
            nodes = orjson.loads(await self._client.call("GET", "/api/v1/nodes"))
        except ApiError as error:
            raise ExtenderError(str(error)) from error
        wanted = set(names)
        nodes["items"] = [item for item in nodes["items"] if item["metadata"]["name"] in wanted]
        return {"Pod": whole, "Nodes": nodes, "NodeNames": None}

    async def _whole(self, key: Key) -> Json:
        """The pod as the API server has it."""
        pod: Json = orjson.loads(await self._client.call("GET", resource_of(Pod).path(key.namespace, key.name)))
        return pod

    async def _send(self, verb: str, args: Json) -> Json:
        url = f"{self.config.url_prefix.rstrip('/')}/{verb}"
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self.config.timeout_seconds)
        headers = {"Content-Type": "application/json"}
        name = self.config.tls.server_name if self.config.tls is not None else ""
        try:
            async with self._session.post(
                url,
                data=orjson.dumps(args),
                headers=headers,
                timeout=timeout,
                ssl=self._tls,
                server_hostname=name or None,
            ) as response:
                if response.status != 200:
                    raise ExtenderError(
                        f"failed {verb} with extender at URL {self.config.url_prefix}, code {response.status}"
                    )
                answer = orjson.loads(await response.read())
        except (TimeoutError, aiohttp.ClientError, orjson.JSONDecodeError) as error:
            raise ExtenderError(f"failed {verb} with extender at URL {self.config.url_prefix}: {error}") from error
        return {"items": answer} if isinstance(answer, list) else _folded(answer or {})


async def open_extenders(
    configs: Sequence[ExtenderConfiguration], client: Client, stack: AsyncExitStack
) -> tuple[Extender, ...]:
    """The extenders, ready to be asked as long as the stack is open."""
    if not configs:
        return ()
    import aiohttp  # Late: few schedulers have extenders.

    session = await stack.enter_async_context(aiohttp.ClientSession())
    # Those that may fail are asked last. Source: upstream buildExtenders.
    return tuple(Extender(one, session, client) for one in sorted(configs, key=lambda one: one.ignorable))


async def bound_by_extender(extenders: Sequence[Extender], pod: PodInfo, node_name: str) -> bool:
    """Whether an extender has bound the pod. Raises ExtenderError when one failed that may not be ignored."""
    for extender in extenders:
        if not (extender.config.bind_verb and extender.is_interested(pod)):
            continue
        try:
            await extender.bind(pod, node_name)
        except ExtenderError:
            if extender.config.ignorable:
                continue
            raise
        return True
    return False


def _folded(answer: Mapping[str, Any]) -> Json:
    return {name.lower(): value for name, value in answer.items()}


def read_extenders(listed: Sequence[Json]) -> tuple[ExtenderConfiguration, ...]:
    """The `extenders` of a configuration that has been checked."""
    return tuple(_read(one) for one in listed)


def _read(one: Json) -> ExtenderConfiguration:
    return ExtenderConfiguration(
        url_prefix=one["urlPrefix"],
        filter_verb=one.get("filterVerb") or "",
        prioritize_verb=one.get("prioritizeVerb") or "",
        preempt_verb=one.get("preemptVerb") or "",
        bind_verb=one.get("bindVerb") or "",
        weight=one.get("weight") or 1,
        node_cache_capable=bool(one.get("nodeCacheCapable")),
        managed_resources=frozenset(resource["name"] for resource in one.get("managedResources") or ()),
        ignorable=bool(one.get("ignorable")),
        timeout_seconds=_seconds(one.get("httpTimeout")),
        tls=read_tls(one.get("tlsConfig"), https=bool(one.get("enableHTTPS"))),
    )


def _seconds(duration: str | None) -> float:
    return (parse_duration(duration).total_seconds() if duration else 0.0) or TIMEOUT_SECONDS
