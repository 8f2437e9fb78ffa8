"""Who decides what is allowed, in the order of the configuration."""

from collections.abc import Mapping, Sequence

from kobune.api.clock import Clock
from kobune.controlplane.apiserver.authorization.authorizer import AlwaysAllow, AlwaysDeny, Authorizer
from kobune.controlplane.apiserver.authorization.configuration import Stage, Webhook, label_of
from kobune.controlplane.apiserver.authorization.webhook import WebhookAuthorizer
from kobune.controlplane.apiserver.reviewer import Reviewers


def authorizers_of(
    stages: Sequence[Stage], known: Mapping[str, Authorizer | None], reviewers: Reviewers, clock: Clock
) -> list[Authorizer]:
    """An authorizer for each stage.

    Args:
        known: those of modes that look at the cluster's objects.
    Raises:
        ValueError: a mode that is none.
    """
    modes = {**known, "AlwaysAllow": AlwaysAllow(), "AlwaysDeny": AlwaysDeny()}
    found: list[Authorizer] = []
    for stage in stages:
        if isinstance(stage, Webhook):
            ask = reviewers.open(stage.kubeconfig, timeout_seconds=stage.timeout_seconds)
            found.append(WebhookAuthorizer(stage, ask, clock))
        elif (mode := modes.get(label_of(stage)[0])) is not None:
            found.append(mode)
        else:
            raise ValueError(f"{stage} is not a valid mode of authorization")
    return found
