"""Tells the authors of policies where an expression does not fit the kinds that it is for: status.typeChecking.

Source: upstream admission/plugin/policy/validating/typechecking.go and pkg/controller/validatingadmissionpolicystatus.
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, Json
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.update import change, counted
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.store.contract import Conflict, Unavailable

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

log = logging.getLogger(__name__)

MOST_KINDS = 10  # Of one policy. Source: upstream maxTypesToCheck.
CHECK_SECONDS = 0.5
UNTYPED = ("request", "namespaceObject", "variables", "authorizer", "params")


async def keep_checked(registry: "Registry") -> None:
    """Check each policy when it changes, until cancelled."""
    kind = registry.catalogue.find_kind("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy")
    if kind is None:
        return
    cache = await registry.cache(kind)
    while True:
        seen = cache.changed_at
        for item in cache.list():
            policy: Json = orjson.loads(item.body)
            if (policy.get("status") or {}).get("observedGeneration", 0) < policy["metadata"].get("generation", 0):
                await _settle(registry, kind, policy)
        await cache.changed_since(seen)
        await registry.clock.sleep(CHECK_SECONDS)  # Changes that come together are looked at together.


async def _settle(registry: "Registry", kind: Kind, policy: Json) -> None:
    name, checking = policy["metadata"]["name"], dict[str, list[Json]]()
    found = [{"fieldRef": field, "warning": text} for field, text in warnings(registry, policy)]
    if found:
        checking["expressionWarnings"] = found

    async def write(old: Json) -> Json:
        if old["metadata"].get("generation") != policy["metadata"].get("generation"):
            return old  # Written anew in the meantime, and checked anew then.
        status = {
            **(old.get("status") or {}),
            "observedGeneration": policy["metadata"].get("generation", 0),
            "typeChecking": checking,
        }
        return {**old, "metadata": dict(old["metadata"]), "status": status}

    call = Call(kind, "", name, MASTER, registry.clock.now(), subresource="status", verb="update")
    try:
        await change(registry, call, write, prepare=counted, checks=False)
    except (ApiError, Conflict, Unavailable) as error:
        log.info("policy's status not written", extra={"policy": name, "error": str(error)})


def warnings(registry: "Registry", policy: Json) -> Iterator[tuple[str, str]]:
    """(field, what is wrong for which kinds) of each expression that does not fit."""
    kinds = list(_kinds(registry, policy))[:MOST_KINDS]
    if not kinds:
        return
    for index, validation in enumerate(policy["spec"].get("validations") or ()):
        for field in ("expression", "messageExpression"):
            if validation.get(field):
                lines = [line for kind in kinds if (line := _complaint(registry, kind, validation[field]))]
                if lines:
                    yield f"spec.validations[{index}].{field}", "\n".join(lines)


def _complaint(registry: "Registry", kind: Kind, expression: str) -> str:
    from kobune.api.cel.builtin import raw_of
    from kobune.api.cel.declarations import Declarations
    from kobune.api.cel.environment import CelError, Checker, type_named

    declarations = Declarations()
    raw = (registry.custom.raw_schema(kind) or {}) if kind.custom else raw_of(registry.schema(kind))
    if kind.custom and not raw:
        return ""
    given = declarations.type_of(raw, is_object=kind.custom)
    types = {"object": given, "oldObject": given, **{name: type_named("dyn") for name in UNTYPED}}
    try:
        Checker(types, declarations.file).type_of(expression)
    except CelError as error:
        version = kind.api_version if kind.group else f"/{kind.version}"
        return f"{version}, Kind={kind.name}: compilation failed: {error}\n"
    return ""


def _kinds(registry: "Registry", policy: Json) -> Iterator[Kind]:
    """What the policy is for, as far as it says so by name."""
    rules = (policy["spec"].get("matchConstraints") or {}).get("resourceRules") or ()
    for rule in rules:
        for group in sorted(rule.get("apiGroups") or ()):
            for version in sorted(rule.get("apiVersions") or ()):
                for plural in sorted(rule.get("resources") or ()):
                    kind = registry.catalogue.find(group, version, plural.partition("/")[0])
                    if kind is not None and not plural.partition("/")[2]:
                        yield kind
