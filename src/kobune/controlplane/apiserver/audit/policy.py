"""How much of each request is logged. Source: upstream audit.k8s.io/v1 Policy and its evaluator."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.controlplane.apiserver.authorization.authorizer import Access

STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


class Level(IntEnum):
    """Each level logs what those before it do."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3

    @property
    def wire_name(self) -> str:
        return NAMES[self]


NAMES = {
    Level.NONE: "None",
    Level.METADATA: "Metadata",
    Level.REQUEST: "Request",
    Level.REQUEST_RESPONSE: "RequestResponse",
}
LEVELS = {name: level for level, name in NAMES.items()}


class Depth(NamedTuple):
    """What is logged of one request."""

    level: Level
    omitted_stages: frozenset[str] = frozenset()
    omits_managed_fields: bool = False


NOTHING = Depth(Level.NONE)


class Policy:
    """The first rule that matches a request decides; without one nothing is logged."""

    def __init__(self, policy: Json) -> None:
        """Raises ValueError for what is no policy."""
        if policy.get("kind") != "Policy" or policy.get("apiVersion") != "audit.k8s.io/v1":
            raise ValueError("an audit policy is of kind Policy in audit.k8s.io/v1")
        self._rules: list[Json] = policy.get("rules") or []
        self._stages = _stages(policy)
        self._omits = bool(policy.get("omitManagedFields"))
        if not self._rules:
            raise ValueError("an audit policy needs at least one rule")
        for rule in self._rules:
            if rule.get("level") not in LEVELS:
                raise ValueError(f"level {rule.get('level')!r}: must be one of {', '.join(LEVELS)}")
            _stages(rule)

    def depth(self, access: Access) -> Depth:
        for rule in self._rules:
            if _matches(rule, access):
                omits = rule.get("omitManagedFields")
                return Depth(
                    LEVELS[rule["level"]], self._stages | _stages(rule), self._omits if omits is None else bool(omits)
                )
        return NOTHING


def _stages(rule: Json) -> frozenset[str]:
    stages = frozenset(rule.get("omitStages") or ())
    if not stages.issubset(STAGES):
        raise ValueError(f"omitStages: must be of {', '.join(STAGES)}")
    return stages


def _matches(rule: Json, access: Access) -> bool:
    if rule.get("users") and access.user.name not in rule["users"]:
        return False
    if rule.get("userGroups") and not set(rule["userGroups"]).intersection(access.user.groups):
        return False
    if rule.get("verbs") and access.verb not in rule["verbs"]:
        return False
    if rule.get("namespaces") or rule.get("resources"):
        if access.path or (rule.get("namespaces") and access.namespace not in rule["namespaces"]):
            return False
        return not rule.get("resources") or _names(rule["resources"], access)
    if rule.get("nonResourceURLs"):
        return bool(access.path) and any(_covers(url, access.path) for url in rule["nonResourceURLs"])
    return True


def _names(resources: Sequence[Json], access: Access) -> bool:
    whole = f"{access.resource}/{access.subresource}" if access.subresource else access.resource
    wanted = {whole, "*", f"{access.resource}/*"}
    if access.subresource:
        wanted.add(f"*/{access.subresource}")
    for entry in resources:
        if entry.get("group", "") not in (access.group, "*"):
            continue
        if not entry.get("resources"):
            return True
        if entry.get("resourceNames") and access.name not in entry["resourceNames"]:
            continue
        if wanted.intersection(entry["resources"]):
            return True
    return False


def _covers(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))
