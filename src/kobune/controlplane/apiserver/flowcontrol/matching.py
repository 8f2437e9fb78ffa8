"""Which FlowSchema a request belongs to. Source: upstream apiserver, pkg/util/flowcontrol/rule.go."""

from collections.abc import Sequence

from kobune.api.errors import Json
from kobune.controlplane.apiserver.authorization.authorizer import Access
from kobune.controlplane.apiserver.request import User

ACCOUNT = "system:serviceaccount:"


def matches(schema: Json, access: Access) -> bool:
    return any(_rule_matches(rule, access) for rule in (schema.get("spec") or {}).get("rules") or ())


def distinguisher(schema: Json, access: Access) -> str:
    """What tells one flow of the schema from another."""
    match ((schema.get("spec") or {}).get("distinguisherMethod") or {}).get("type"):
        case "ByUser":
            return access.user.name
        case "ByNamespace":
            return access.namespace
    return ""


def _rule_matches(rule: Json, access: Access) -> bool:
    if not any(_is(subject, access.user) for subject in rule.get("subjects") or ()):
        return False
    if access.path:
        return any(_path_matches(one, access) for one in rule.get("nonResourceRules") or ())
    return any(_resource_matches(one, access) for one in rule.get("resourceRules") or ())


def _is(subject: Json, user: User) -> bool:
    match subject.get("kind"):
        case "User":
            return (subject.get("user") or {}).get("name") in ("*", user.name)
        case "Group":
            name = (subject.get("group") or {}).get("name")
            return name == "*" or name in user.groups
        case "ServiceAccount":
            account = subject.get("serviceAccount") or {}
            prefix = f"{ACCOUNT}{account.get('namespace', '')}:"
            name = account.get("name", "")
            return user.name.startswith(prefix) if name == "*" else user.name == prefix + name
    return False


def _resource_matches(rule: Json, access: Access) -> bool:
    resource = f"{access.resource}/{access.subresource}" if access.subresource else access.resource
    return (
        _has(rule.get("verbs"), access.verb)
        and _has(rule.get("resources"), resource)
        and _has(rule.get("apiGroups"), access.group)
        and (_has(rule.get("namespaces"), access.namespace) if access.namespace else bool(rule.get("clusterScope")))
    )


def _path_matches(rule: Json, access: Access) -> bool:
    return _has(rule.get("verbs"), access.verb) and any(
        url in ("*", access.path) or access.path.startswith(url.removesuffix("*").rstrip("/") + "/")
        for url in rule.get("nonResourceURLs") or ()
    )


def _has(names: Sequence[str] | None, name: str) -> bool:
    return bool(names) and (name in names or "*" in names) if names else False
