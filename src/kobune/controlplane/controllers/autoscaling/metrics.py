"""Asks the three metrics APIs: metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from kobune.api.errors import ApiError, Json
from kobune.api.objects.autoscaling import CrossVersionObjectReference
from kobune.api.quantity import cpu_millicores
from kobune.api.selectors import LabelSelector, labels_from_json
from kobune.api.timestamps import parse_duration
from kobune.client.client import Client
from kobune.client.discovery import Discovered
from kobune.controlplane.controllers.autoscaling.replicas import MetricError, Sample

RESOURCES = "/apis/metrics.k8s.io/v1beta1"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
DEFAULT_WINDOW = timedelta(minutes=1)  # Of custom metrics that name none. Source: upstream.


class _ContainerUsage(msgspec.Struct):
    name: str = ""
    usage: dict[str, str] = {}


class _Meta(msgspec.Struct):
    name: str = ""


class _PodUsage(msgspec.Struct):
    metadata: _Meta
    timestamp: datetime
    window: str = "0s"
    containers: list[_ContainerUsage] = []


class _PodUsages(msgspec.Struct):
    items: list[_PodUsage] = []


_usages = msgspec.json.Decoder(_PodUsages)


class Metrics:
    """Figures by name of pod or object, in thousandths. Every method raises MetricError."""

    def __init__(self, client: Client, served: Discovered) -> None:
        self._client = client
        self._served = served

    async def resource(
        self, namespace: str, selector: LabelSelector, resource: str, container: str
    ) -> dict[str, Sample]:
        """What each pod, or one container of it, uses of a resource."""
        path = f"{RESOURCES}/namespaces/{namespace}/pods"
        body = await self._get(path, {"labelSelector": str(selector)}, "resource")
        items = _usages.decode(body).items
        if not items:
            raise MetricError("no metrics returned from resource metrics API")
        samples = {}
        for item in items:
            used = [each.usage.get(resource) for each in item.containers if container in ("", each.name)]
            if used and None not in used:
                value = sum(cpu_millicores(amount) for amount in used if amount is not None)
                samples[item.metadata.name] = Sample(value, item.timestamp, parse_duration(item.window))
        return samples

    async def pods(
        self, namespace: str, selector: LabelSelector, metric: str, metric_selector: Json | None
    ) -> dict[str, Sample]:
        """A custom metric of each pod."""
        query = {"labelSelector": str(selector), **_metric_labels(metric_selector)}
        items = await self._custom(f"namespaces/{namespace}/pods/*/{quote(metric)}", query)
        if not items:
            raise MetricError("no metrics returned from custom metrics API")
        samples = {}
        for item in items:
            seconds = item.get("windowSeconds")
            window = DEFAULT_WINDOW if seconds is None else timedelta(seconds=seconds)
            moment = datetime.fromisoformat(item["timestamp"])
            samples[item["describedObject"]["name"]] = Sample(cpu_millicores(item["value"]), moment, window)
        return samples

    async def object(
        self, namespace: str, target: CrossVersionObjectReference, metric: str, metric_selector: Json | None
    ) -> int:
        """A custom metric of one object."""
        group = target.api_version.rpartition("/")[0]
        if target.kind == "Namespace" and not group:
            path = f"namespaces/{namespace}/metrics/{quote(metric)}"  # Whatever it is called: it is the own one.
        else:
            found = [
                each.resource
                for each in self._served.resources
                if (each.kind, each.resource.group) == (target.kind, group)
            ]
            if not found:
                why = f'no matches for kind "{target.kind}" in group "{group}"'
                raise MetricError(f"unable to fetch metrics from custom metrics API: {why}")
            resource = f"{found[0].plural}.{group}" if group else found[0].plural
            path = f"namespaces/{namespace}/{resource}/{quote(target.name)}/{quote(metric)}"
        items = await self._custom(path, _metric_labels(metric_selector))
        if len(items) != 1:
            why = f"the custom metrics API server returned {len(items)} results when we asked for exactly one"
            raise MetricError(f"unable to fetch metrics from custom metrics API: {why}")
        return cpu_millicores(items[0]["value"])

    async def external(self, namespace: str, metric: str, metric_selector: Json | None) -> list[int]:
        """The values of an external metric."""
        selector = labels_from_json(metric_selector)
        query = {} if selector.is_everything else {"labelSelector": str(selector)}
        path = f"{EXTERNAL}/namespaces/{namespace}/{quote(metric)}"
        items = orjson.loads(await self._get(path, query, "external")).get("items") or []
        if not items:
            raise MetricError("no metrics returned from external metrics API")
        return [cpu_millicores(item["value"]) for item in items]

    async def _custom(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        version = _version(self._served, "custom.metrics.k8s.io", CUSTOM_VERSIONS)
        if version is None:
            why = "no custom metrics API (custom.metrics.k8s.io) registered"
            raise MetricError(f"unable to fetch metrics from custom metrics API: {why}")
        body = await self._get(f"/apis/custom.metrics.k8s.io/{version}/{path}", query, "custom")
        items: list[dict[str, Any]] = orjson.loads(body).get("items") or []
        return items

    async def _get(self, path: str, query: dict[str, str], which: str) -> bytes:
        try:
            return await self._client.call("GET", path, query=query)
        except ApiError as error:
            raise MetricError(f"unable to fetch metrics from {which} metrics API: {error}") from error


def _metric_labels(selector: Json | None) -> dict[str, str]:
    return {"metricLabelSelector": str(labels_from_json(selector))} if selector is not None else {}


def _version(served: Discovered, group: str, known: Iterable[str]) -> str | None:
    """The first version known to both sides."""
    versions = {each.resource.version for each in served.resources if each.resource.group == group}
    return next((version for version in known if version in versions), None)
