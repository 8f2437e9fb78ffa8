"""What both sorts of webhook plugin share: choosing webhooks, asking one, living with failure."""

import logging
from collections.abc import Sequence

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.conditions import hold, values_of
from kobune.controlplane.apiserver.admission.webhooks.client import CallFailed, WebhookClient
from kobune.controlplane.apiserver.admission.webhooks.matching import EXEMPT_GROUP, Webhook, Webhooks
from kobune.controlplane.apiserver.admission.webhooks.review import (
    BadAnswer,
    Verdict,
    denial,
    is_dry_run,
    no_dry_run,
    read_verdict,
    review_of,
)
from kobune.controlplane.apiserver.admission.webhooks.users import WebhookUsers
from kobune.controlplane.apiserver.admission.webhooks.versions import namespace_labels, versions_of
from kobune.controlplane.apiserver.registry.registry import Registry

log = logging.getLogger(__name__)

GROUP = "admissionregistration.k8s.io"


class Dispatcher:
    """The webhooks of one kind of configuration, asked in the name of `users`."""

    def __init__(self, registry: Registry, client: WebhookClient, configuration: str, users: WebhookUsers) -> None:
        self._registry = registry
        self._client = client
        self._users = users
        self._kind = registry.builtin(GROUP, "v1", configuration)
        self._webhooks = Webhooks()

    def has_any(self) -> bool:
        """Whether there is any webhook; a look at the cache, so that writes without webhooks cost nothing."""
        cache = self._registry.open_cache(self._kind)
        return cache is None or len(cache) > 0

    @property
    def rests_on(self) -> Sequence[Kind] | None:
        """On what it rests that there is no webhook; None when there is one."""
        return None if self.has_any() else (self._kind,)

    async def concerned(self, attributes: Attributes) -> list[tuple[Webhook, Kind]]:
        """The webhooks to ask, and the version of the object that each wants."""
        cache = await self._registry.cache(self._kind)
        webhooks = self._webhooks.read(cache)
        call = attributes.call
        if not webhooks or call.kind.group == EXEMPT_GROUP:
            return []
        labels = await namespace_labels(self._registry, attributes)
        found = []
        for webhook in webhooks:
            version = webhook.version_for(
                attributes.operation, versions_of(self._registry.catalogue, call.kind), call.subresource
            )
            if version is not None and webhook.wants(attributes, labels):
                found.append((webhook, version))
        return found

    async def ask(self, webhook: Webhook, kind: Kind, attributes: Attributes, *, may_patch: bool) -> Verdict | None:
        """The verdict; None when the webhook does not want to know, or failed and may. Raises ApiError for a denial, or a failure that counts."""
        review = await review_of(self._registry, attributes, kind)
        if webhook.conditions and not await self._conditions_hold(webhook, attributes, review):
            return None
        if is_dry_run(attributes) and webhook.side_effects not in ("None", "NoneOnDryRun"):
            raise no_dry_run(webhook)
        try:
            answer = await self._client.call(webhook, review, self._users)
            verdict = read_verdict(answer, review["request"]["uid"], may_patch=may_patch)
        except (CallFailed, BadAnswer) as error:
            what = "failed to call webhook" if isinstance(error, CallFailed) else "received invalid webhook response"
            if webhook.ignores_failure:
                log.warning("webhook failed, going on", extra={"webhook": webhook.name, "error": str(error)})
                return None
            raise ApiError(
                f'Internal error occurred: failed calling webhook "{webhook.name}": {what}: {error}'
            ) from error
        attributes.call.warnings.extend(verdict.warnings)
        for key, value in verdict.annotations.items():
            attributes.call.annotations.setdefault(f"{webhook.name}/{key}", value)
        if not verdict.allowed:
            raise denial(webhook, verdict.status)
        return verdict

    async def _conditions_hold(self, webhook: Webhook, attributes: Attributes, review: Json) -> bool:
        call = attributes.call
        values = await values_of(self._registry, attributes, review["request"])
        return hold(webhook.conditions, values, call.kind, call.name, ignores_failure=webhook.ignores_failure)
