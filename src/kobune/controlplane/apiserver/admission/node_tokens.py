"""Which tokens a kubelet may ask for: of pods on its node, for an audience that the pod names.

Source: upstream plugin/pkg/admission/noderestriction, admitServiceAccount, with ServiceAccountNodeAudienceRestriction.
"""

from collections.abc import AsyncIterator

from kobune.api.errors import Json, not_found
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.authorization.authorizer import Access, Authorization, Verdict
from kobune.controlplane.apiserver.registry.registry import Registry

VERB = "request-serviceaccounts-token-audience"


class NodeTokens:
    def __init__(self, registry: Registry, authorization: Authorization) -> None:
        self._registry = registry
        self._authorization = authorization

    async def check(self, attributes: Attributes, node: str) -> None:
        """Judge a TokenRequest of a kubelet. Raises Forbidden, or NotFound for a pod that is not there."""
        spec = (attributes.object or {}).get("spec") or {}
        reference, namespace = spec.get("boundObjectRef") or {}, attributes.call.namespace
        name, uid = reference.get("name") or "", reference.get("uid") or ""
        if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not name:
            raise refused(attributes, "node requested token not bound to a pod")
        if not uid:
            raise refused(attributes, "node requested token with a pod binding without a uid")
        pod = await self._registry.find(self._registry.builtin("", "v1", "Pod"), namespace, name)
        if pod is None:
            raise not_found("pods", name)
        if pod["metadata"]["uid"] != uid:
            words = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise refused(attributes, words)
        if pod["spec"].get("nodeName") != node:
            raise refused(attributes, "node requested token bound to a pod scheduled on a different node")
        await self._check_audience(attributes, pod, spec.get("audiences") or [])

    async def _check_audience(self, attributes: Attributes, pod: Json, audiences: list[str]) -> None:
        if len(audiences) > 1:
            raise refused(attributes, "node may only request 0 or 1 audiences")
        audience, call = "".join(audiences), attributes.call
        async for named in self._audiences(pod):
            if named == audience:
                return
        access = Access(call.user, VERB, "", "v1", audience, namespace=call.namespace, name=call.name)
        if (await self._authorization.decide(access)).verdict is not Verdict.ALLOW:
            words = (
                f'audience "{audience}" not found in pod spec volume, {call.user.name} is not authorized to request '
                "tokens for this audience"
            )
            raise refused(attributes, words)

    async def _audiences(self, pod: Json) -> AsyncIterator[str]:
        """Those of the pod's projected tokens, and of the CSI drivers of its volumes."""
        for volume in pod["spec"].get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if "serviceAccountToken" in source:
                    yield source["serviceAccountToken"].get("audience") or ""
            driver = await self._driver(volume, pod)
            if not driver:
                continue
            found = await self._registry.find(self._registry.builtin("storage.k8s.io", "v1", "CSIDriver"), "", driver)
            for request in ((found or {}).get("spec") or {}).get("tokenRequests") or ():
                yield request.get("audience") or ""

    async def _driver(self, volume: Json, pod: Json) -> str:
        """The CSI driver of a volume, of its own or by way of a claim; "" for none."""
        if "csi" in volume:
            return str(volume["csi"].get("driver") or "")
        if "ephemeral" in volume:
            name = f"{pod['metadata']['name']}-{volume['name']}"
        else:
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
        if not name:
            return ""
        registry, namespace = self._registry, pod["metadata"]["namespace"]
        claim = await registry.find(registry.builtin("", "v1", "PersistentVolumeClaim"), namespace, name)
        bound = ((claim or {}).get("spec") or {}).get("volumeName") or ""
        found = await registry.find(registry.builtin("", "v1", "PersistentVolume"), "", bound) if bound else None
        return str((((found or {}).get("spec") or {}).get("csi") or {}).get("driver") or "")
