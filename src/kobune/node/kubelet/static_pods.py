"""Pods from manifests on the node: run without the API server, and shown there by mirror pods."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.core import Node
from kobune.client.client import Client
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.pod import Pod, pod_from_json

log = logging.getLogger(__name__)

# Source: upstream pkg/kubelet/types.
SOURCE, HASH, MIRROR = "kubernetes.io/config.source", "kubernetes.io/config.hash", "kubernetes.io/config.mirror"
CHECK_SECONDS = 5.0  # Upstream looks every 20 s and is told of changes by inotify.


class StaticPod(NamedTuple):
    pod: Pod
    manifest: Json  # As the mirror is made from it.


def read_manifests(directory: Path, node_name: str) -> dict[str, StaticPod]:
    """The pods of a directory's manifests by uid; a file that is no pod is left out, and said so."""
    found: dict[str, StaticPod] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.name.startswith(".") or path.suffix not in (".yaml", ".yml", ".json"):
            continue
        try:
            document = yaml.safe_load(path.read_text())
            static = static_pod(document, node_name)
        except (OSError, yaml.YAMLError, msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
            log.error("manifest not read", extra={"path": str(path), "error": str(error)})
            continue
        found[static.pod.uid] = static
    return found


def static_pod(document: Json, node_name: str) -> StaticPod:
    """The pod of a manifest, named after the node as well.

    Raises:
        ValueError: it is no pod.
    """
    if not isinstance(document, dict) or document.get("kind") != "Pod":
        raise ValueError("not a Pod")
    # Another content is another pod; the same content on another node too.
    uid = hashlib.md5(msgspec.json.encode([document, node_name]), usedforsecurity=False).hexdigest()
    meta = {**document.get("metadata", {})}
    annotations = {**(meta.get("annotations") or {}), SOURCE: "file", HASH: uid}
    meta |= {"name": f"{meta['name']}-{node_name}", "namespace": meta.get("namespace") or "default"}
    meta |= {"uid": uid, "annotations": annotations}
    everything = {"operator": "Exists", "effect": "NoExecute"}
    spec = {**document["spec"], "nodeName": node_name}
    spec["tolerations"] = [*(spec.get("tolerations") or []), everything]
    manifest = {**document, "metadata": meta, "spec": spec}
    return StaticPod(pod_from_json(manifest), manifest)


def render_mirror(static: StaticPod, owner: Node | None) -> Json:
    """What the API server is shown."""
    meta = {name: value for name, value in static.manifest["metadata"].items() if name != "uid"}
    meta["annotations"] = {**meta["annotations"], MIRROR: static.pod.uid}
    if owner is not None and owner.uid:
        reference = {"apiVersion": "v1", "kind": "Node", "name": owner.name, "uid": owner.uid, "controller": True}
        meta["ownerReferences"] = [reference]
    return {"metadata": meta, "spec": static.manifest["spec"]}


class StaticPods:
    """The static pods of one node and their mirrors.

    Args:
        started, gone: told of a pod whose manifest has appeared or disappeared.
        mirrored: told when the API server has a mirror: (uid of the static pod, mirror).
        find_mirror: the mirror that the API server has, if any.
    """

    def __init__(
        self,
        client: Client,
        config: KubeletConfig,
        *,
        started: Callable[[Pod], None],
        gone: Callable[[str], None],
        mirrored: Callable[[str, Pod], None],
        find_mirror: Callable[[Pod], Pod | None],
        node: Callable[[], Node | None],
        clock: Clock,
    ) -> None:
        self._client = client
        self._config = config
        self._started, self._gone, self._mirrored = started, gone, mirrored
        self._find_mirror = find_mirror
        self._node = node
        self._clock = clock
        self._pods: dict[str, StaticPod] = {}

    async def run(self, directory: Path) -> None:
        """Follow the directory, for ever."""
        while True:
            self.compare(read_manifests(directory, self._config.node_name))
            for static in list(self._pods.values()):
                try:
                    await self._mirror(static)
                except ApiError as error:
                    log.info("mirror pod not made", extra={"pod": str(static.pod.key), "error": str(error)})
            await self._clock.sleep(CHECK_SECONDS)

    def compare(self, found: dict[str, StaticPod]) -> None:
        for uid in self._pods.keys() - found.keys():
            self._gone(uid)
        for uid in found.keys() - self._pods.keys():
            self._started(found[uid].pod)
        self._pods = found

    async def _mirror(self, static: StaticPod) -> None:
        """Make the mirror, or replace one that shows another content or is being deleted."""
        present = self._find_mirror(static.pod)
        if present is not None:
            current = present.metadata.annotations.get(MIRROR) == static.pod.uid
            if current and not present.is_deleting:
                self._mirrored(static.pod.uid, present)
                return
            try:
                await self._client.delete(Pod, present.key, uid=present.uid, grace_seconds=0)
            except NotFound:
                log.debug("the old mirror was gone already")
        try:
            mirror = await self._client.create(Pod, render_mirror(static, self._node()))
        except AlreadyExists:
            return  # The watch will tell of it.
        self._mirrored(static.pod.uid, mirror)
