"""What may only be taken where a quota covers it: the `limitedResources` of ResourceQuota's configuration.

Source: upstream apiserver, pkg/admission/plugin/resourcequota (apis, and CheckRequest).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kobune.api.errors import Json
from kobune.api.quota.amounts import Amounts
from kobune.api.quota.scopes import scopes_of
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.quota.evaluators import Evaluator
from kobune.controlplane.apiserver.admission.refusal import plain_failure, refused

VERSIONS = {
    "ResourceQuotaConfiguration": ("apiserver.config.k8s.io/v1",),
    "Configuration": tuple(f"resourcequota.admission.k8s.io/{version}" for version in ("v1beta1", "v1alpha1")),
}


@dataclass(frozen=True, slots=True)
class Limited:
    group: str
    resource: str
    contains: Sequence[str]  # Parts of the names that quotas use.
    scopes: Sequence[Json]


def read_limited(configuration: Json) -> tuple[Limited, ...]:
    """Raises ValueError for what is no configuration of ResourceQuota."""
    if configuration.get("apiVersion") not in VERSIONS.get(configuration.get("kind") or "", ()):
        raise ValueError(f"not a configuration of ResourceQuota: {configuration.get('apiVersion')}")
    return tuple(
        Limited(
            one.get("apiGroup") or "",
            one.get("resource") or "",
            tuple(one.get("matchContains") or ()),
            tuple(one.get("matchScopes") or ()),
        )
        for one in configuration.get("limitedResources") or ()
    )


def check_covered(
    limited: Sequence[Limited], quotas: Sequence[Json], concerned: Sequence[Json], attributes: Attributes,
    evaluator: Evaluator, usage: Amounts,
) -> None:  # fmt: skip
    """Every limited thing that the object takes is in a quota that concerns it.

    Args:
        quotas: all of the namespace; those of them that are `concerned` hold the object.
        usage: what the object takes, without what is zero.
    Raises:
        Forbidden, ApiError
    """
    obj, kind, measure = attributes.object or {}, attributes.call.kind, evaluator.measure
    names = {
        name
        for one in limited
        if (one.group, one.resource) == (kind.group, kind.plural)
        for name in usage
        if any(part in name for part in one.contains)
    }
    missing = names.difference(*(quota["status"]["hard"] for quota in concerned))
    if missing:
        raise refused(attributes, f"insufficient quota to consume: {','.join(sorted(missing))}")
    covered = {scope["scopeName"] for quota in quotas for scope in scopes_of(quota) if measure.in_scope(scope, obj)}
    bare = [
        scope
        for one in limited
        for scope in one.scopes
        if measure.in_scope(scope, obj) and scope["scopeName"] not in covered
    ]
    if bare:
        told = " ".join(
            f"{{{one['scopeName']} {one.get('operator') or ''} [{' '.join(one.get('values') or ())}]}}" for one in bare
        )
        raise plain_failure(f"insufficient quota to match these scopes: [{told}]")
