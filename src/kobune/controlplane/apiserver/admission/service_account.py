"""ServiceAccount: every pod has an account, and its token where programs look for it."""

from collections.abc import Awaitable, Sequence
from typing import Any

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.selection import Item

DEFAULT_NAME = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607  # The odd 7 tells these tokens from those that a user asked for.
MIRROR = "kubernetes.io/config.mirror"
# A new namespace gets its default account a moment after it is made.
ATTEMPTS, PAUSE_SECONDS = 10, 0.15


class ServiceAccount:
    name = "ServiceAccount"
    operations = ("CREATE",)
    resources = ("pods",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("", "v1", "ServiceAccount")

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        pod = attributes.object
        assert pod is not None
        spec = pod.setdefault("spec", {})
        if MIRROR in (pod["metadata"].get("annotations") or {}):
            _check_mirror(attributes, spec)
            return None
        name = spec.get("serviceAccountName") or DEFAULT_NAME
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        cache = self._registry.open_cache(self._kind)
        account = cache.get(attributes.call.namespace, name) if cache else None
        if account is None:
            return self._wait(attributes, name)
        self._apply(account, attributes.call, spec)
        return None

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return (self._kind,)

    def validate(self, attributes: Attributes) -> None:
        return None

    async def _wait(self, attributes: Attributes, name: str) -> None:
        namespace = attributes.call.namespace
        for attempt in range(ATTEMPTS if name == DEFAULT_NAME else 1):
            if attempt:
                await self._registry.clock.sleep(PAUSE_SECONDS)
            account = await self._registry.find_item(self._kind, namespace, name)
            if account is not None:
                assert attributes.object is not None
                self._apply(account, attributes.call, attributes.object["spec"])
                return
        raise refused(
            attributes,
            f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found',
        )

    def _apply(self, item: Item, call: Call, spec: Json) -> None:
        account: Json = orjson.loads(item.body)
        wanted = spec.get("automountServiceAccountToken")
        if wanted is None:
            wanted = account.get("automountServiceAccountToken", True)
        if wanted:
            self._mount(call, spec)
        secrets = account.get("imagePullSecrets")
        if secrets and not spec.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [{"name": one.get("name", "")} for one in secrets]

    def _mount(self, call: Call, spec: Json) -> None:
        volumes: list[Json] = spec.get("volumes") or []
        volume = next((one["name"] for one in volumes if str(one.get("name", "")).startswith(VOLUME_PREFIX)), "")
        name = volume or VOLUME_PREFIX + self._registry.mint.suffix()
        used = False
        for field in ("initContainers", "containers"):
            for container in spec.get(field) or ():
                mounts: list[Any] = container.get("volumeMounts") or []
                if any(one.get("mountPath") == MOUNT_PATH for one in mounts):
                    continue
                container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
                used = True
        if used and not volume:
            spec["volumes"] = [*volumes, token_volume(name)]
            call.made_up.append((VOLUME_PREFIX, name))


def token_volume(name: str) -> Json:
    """The volume with the token, the cluster's CA and the namespace."""
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 0o644,
        },
    }


def _check_mirror(attributes: Attributes, spec: Json) -> None:
    """What a kubelet runs from its own disk may hold nothing of the cluster's."""
    if spec.get("serviceAccountName"):
        raise refused(attributes, "a mirror pod may not reference service accounts")
    for volume in spec.get("volumes") or ():
        if "secret" in volume:
            raise refused(attributes, "a mirror pod may not reference secrets")
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "serviceAccountToken" in source:
                raise refused(attributes, "a mirror pod may not use ServiceAccountToken volume projections")
            if "secret" in source:
                raise refused(attributes, "a mirror pod may not reference secrets")
