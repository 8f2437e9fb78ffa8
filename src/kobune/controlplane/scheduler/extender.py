"""Scheduler extenders: HTTP services that filter and rate nodes, or bind, beside the plugins.

Source: Kubernetes documentation, Scheduler Configuration, extenders; upstream pkg/scheduler/extender.go. Pods and nodes are
sent as the API server has them. Answers are read without regard to case, as upstream reads them.
"""

import ssl
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from kobune.api.errors import ApiError, Json
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client, resource_of
from kobune.controlplane.scheduler.pod_info import PodInfo

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_SECONDS = 5.0  # Source: upstream DefaultExtenderTimeout.
SCALE = 10  # From an extender's scores, 0 to 10, to the plugins', 0 to 100.


@dataclass(frozen=True, slots=True)
class ExtenderConfiguration:
    """One extender; an empty verb is something that it does not do."""

    url_prefix: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    node_cache_capable: bool = False  # It knows the nodes; names are enough.
    managed_resources: frozenset[str] = frozenset()  # It is asked only about pods that want one of these.
    ignorable: bool = False  # Pods are placed also while it fails.
    timeout_seconds: float = TIMEOUT_SECONDS
    insecure: bool = False
    ca_file: str = ""


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
        self._tls = _tls(config)

    def is_interested(self, pod: PodInfo) -> bool:
        """Whether it wants to be asked about the pod."""
        managed = self.config.managed_resources
        return not managed or any(resource in managed for resource in pod.shape.amounts)

    async def filter(self, pod: PodInfo, names: Sequence[str]) -> Filtered:
        """Which of the nodes it accepts. Raises ExtenderError."""
        answer = await self._send(self.config.filter_verb, await self._args(pod, names))
        if answer.get("error"):
            raise ExtenderError(str(answer["error"]))
        accepted = answer.get("nodenames")
        if accepted is None:
            items = _folded(answer.get("nodes") or {}).get("items") or ()
            accepted = [item["metadata"]["name"] for item in items]
        strange = sorted(set(accepted) - set(names))
        if strange:
            raise ExtenderError(
                f'extender "{self.config.url_prefix}" claims a filtered node "{strange[0]}" '
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

    async def bind(self, pod: PodInfo, node_name: str) -> None:
        """Have it bind the pod. Raises ExtenderError."""
        args = {"PodName": pod.name, "PodNamespace": pod.key.namespace, "PodUID": pod.uid, "Node": node_name}
        answer = await self._send(self.config.bind_verb, args)
        if answer.get("error"):
            raise ExtenderError(str(answer["error"]))

    async def _args(self, pod: PodInfo, names: Sequence[str]) -> Json:
        try:
            path = resource_of(Pod).path(pod.key.namespace, pod.key.name)
            whole = orjson.loads(await self._client.call("GET", path))
            if self.config.node_cache_capable:
                return {"Pod": whole, "Nodes": None, "NodeNames": list(names)}
            nodes = orjson.loads(await self._client.call("GET", "/api/v1/nodes"))
        except ApiError as error:
            raise ExtenderError(str(error)) from error
        wanted = set(names)
        nodes["items"] = [item for item in nodes["items"] if item["metadata"]["name"] in wanted]
        return {"Pod": whole, "Nodes": nodes, "NodeNames": None}

    async def _send(self, verb: str, args: Json) -> Json:
        url = f"{self.config.url_prefix.rstrip('/')}/{verb}"
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self.config.timeout_seconds)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                url, data=orjson.dumps(args), headers=headers, timeout=timeout, ssl=self._tls
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
    return tuple(Extender(one, session, client) for one in configs)


def _folded(answer: Mapping[str, Any]) -> Json:
    return {name.lower(): value for name, value in answer.items()}


def _tls(config: ExtenderConfiguration) -> ssl.SSLContext | bool:
    if config.ca_file:
        return ssl.create_default_context(cafile=config.ca_file)
    return not config.insecure


def read_extenders(listed: Sequence[Json]) -> tuple[ExtenderConfiguration, ...]:
    """The `extenders` of a configuration that has been checked."""
    return tuple(_read(one) for one in listed)


def _read(one: Json) -> ExtenderConfiguration:
    tls = one.get("tlsConfig") or {}
    insecure = bool(tls.get("insecure") or (one.get("enableHTTPS") and not tls.get("caFile")))
    return ExtenderConfiguration(
        url_prefix=one["urlPrefix"],
        filter_verb=one.get("filterVerb") or "",
        prioritize_verb=one.get("prioritizeVerb") or "",
        bind_verb=one.get("bindVerb") or "",
        weight=one.get("weight") or 1,
        node_cache_capable=bool(one.get("nodeCacheCapable")),
        managed_resources=frozenset(resource["name"] for resource in one.get("managedResources") or ()),
        ignorable=bool(one.get("ignorable")),
        timeout_seconds=_seconds(one.get("httpTimeout")),
        insecure=insecure,
        ca_file=tls.get("caFile") or "",
    )


def _seconds(duration: str | None) -> float:
    """A duration as Go writes it, of one unit: "5s", "500ms", "1m"."""
    if not duration:
        return TIMEOUT_SECONDS
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        if duration.endswith(unit):
            return float(duration.removesuffix(unit)) * factor
    return float(duration)
