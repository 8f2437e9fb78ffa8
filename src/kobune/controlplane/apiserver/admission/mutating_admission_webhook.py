"""MutatingAdmissionWebhook: webhooks that change what is written, one after the other."""

from collections.abc import Awaitable, Callable, Sequence

from kobune.api.catalogue import Kind
from kobune.api.copying import clone
from kobune.api.errors import ApiError, Json
from kobune.api.patch import jsonpatch
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.webhooks.client import WebhookClient
from kobune.controlplane.apiserver.admission.webhooks.dispatch import Dispatcher
from kobune.controlplane.apiserver.admission.webhooks.matching import Webhook
from kobune.controlplane.apiserver.admission.webhooks.users import WebhookUsers
from kobune.controlplane.apiserver.registry.decoding import checked_object
from kobune.controlplane.apiserver.registry.registry import Registry


class MutatingAdmissionWebhook:
    name = "MutatingAdmissionWebhook"
    operations = ("CREATE", "UPDATE", "DELETE", "CONNECT")
    resources = ("**",)

    def __init__(
        self,
        registry: Registry,
        client: WebhookClient,
        users: WebhookUsers,
        *,
        then: Callable[[Attributes], Awaitable[None]],
    ) -> None:
        """`then` is called when a webhook has changed the object."""
        self._registry = registry
        self._then = then
        self._dispatcher = Dispatcher(registry, client, "MutatingWebhookConfiguration", users)

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._admit(attributes) if self._dispatcher.has_any() else None

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return self._dispatcher.rests_on

    def validate(self, attributes: Attributes) -> None:
        return None

    async def _admit(self, attributes: Attributes) -> None:
        concerned = await self._dispatcher.concerned(attributes)
        last_change = -1
        for position, (webhook, kind) in enumerate(concerned):
            if await self._ask(webhook, kind, attributes):
                last_change = position
        # Those who saw the object before somebody else changed it may want to look again, once.
        for webhook, kind in concerned[: max(last_change, 0)]:
            if webhook.reinvoked:
                await self._ask(webhook, kind, attributes)
        if last_change >= 0:
            await self._then(attributes)

    async def _ask(self, webhook: Webhook, kind: Kind, attributes: Attributes) -> bool:
        """Whether the webhook has changed the object."""
        verdict = await self._dispatcher.ask(webhook, kind, attributes, may_patch=True)
        if verdict is None or not verdict.patch:
            return False
        obj, own = attributes.object, attributes.call.kind
        if obj is None:
            raise ApiError(
                f'Internal error occurred: admission webhook "{webhook.name}" attempted to modify the object, '
                "which is not supported for this operation"
            )
        before: Json = clone(obj)
        seen = await self._registry.in_version(before, own, kind)
        new = await self._registry.in_version(jsonpatch.apply(seen, verdict.patch), kind, own)
        if not attributes.call.subresource or attributes.call.subresource == "status":
            new = checked_object(new, own, self._registry.schema(own))
            self._registry.default(own, new)
        obj.clear()
        obj.update(new)
        return obj != before
