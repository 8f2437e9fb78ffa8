"""ValidatingAdmissionWebhook: webhooks that judge what is about to be written, all at once."""

import asyncio
from collections.abc import Awaitable, Sequence

from kobune.api.catalogue import Kind
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.webhooks.client import WebhookClient
from kobune.controlplane.apiserver.admission.webhooks.dispatch import Dispatcher
from kobune.controlplane.apiserver.admission.webhooks.users import WebhookUsers
from kobune.controlplane.apiserver.registry.registry import Registry


class ValidatingAdmissionWebhook:
    name = "ValidatingAdmissionWebhook"
    operations = ("CREATE", "UPDATE", "DELETE", "CONNECT")
    resources = ("**",)

    def __init__(self, registry: Registry, client: WebhookClient, users: WebhookUsers) -> None:
        self._dispatcher = Dispatcher(registry, client, "ValidatingWebhookConfiguration", users)

    def admit(self, attributes: Attributes) -> None:
        return None

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return self._dispatcher.rests_on

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._validate(attributes) if self._dispatcher.has_any() else None

    async def _validate(self, attributes: Attributes) -> None:
        concerned = await self._dispatcher.concerned(attributes)
        if not concerned:
            return
        try:
            async with asyncio.TaskGroup() as group:
                for webhook, kind in concerned:
                    group.create_task(
                        self._dispatcher.ask(webhook, kind, attributes, may_patch=False), name=webhook.name
                    )
        except ExceptionGroup as refusals:
            # Upstream answers with the first one that comes.
            raise refusals.exceptions[0] from None
