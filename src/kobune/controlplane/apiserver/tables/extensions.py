"""The columns of what extends and guards the API: roles, admission, aggregated APIs."""

from datetime import datetime
from typing import Any

from kobune.api.errors import Json
from kobune.controlplane.apiserver.tables.columns import (
    AGE,
    NAME,
    UNSET,
    Column,
    GroupKind,
    Printer,
    age,
    name_of,
    part,
    selector_text,
)  # fmt: skip

_RBAC, _ADMISSION = "rbac.authorization.k8s.io", "admissionregistration.k8s.io"


def binding_cells(obj: Json, now: datetime) -> list[Any]:
    role, subjects = part(obj, "roleRef"), obj.get("subjects") or ()
    users, groups = ([one["name"] for one in subjects if one["kind"] == kind] for kind in ("User", "Group"))
    accounts = [f"{one.get('namespace', '')}/{one['name']}" for one in subjects if one["kind"] == "ServiceAccount"]
    return [
        name_of(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age(obj, now), ", ".join(users),
        ", ".join(groups), ", ".join(accounts),
    ]  # fmt: skip


def webhooks_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("webhooks") or ()), age(obj, now)]


def policy_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    rules = spec.get("mutations" if obj.get("kind") == "MutatingAdmissionPolicy" else "validations") or ()
    kind = spec.get("paramKind")
    return [
        name_of(obj), len(rules), f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET,
        age(obj, now),
    ]  # fmt: skip


def policy_binding_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    reference, parameters = part(spec, "paramRef"), UNSET
    if reference.get("name"):
        parameters = f"{reference.get('namespace') or '*'}/{reference['name']}"
    elif "selector" in reference:
        parameters = selector_text(reference["selector"])
    return [name_of(obj), spec.get("policyName", ""), parameters, age(obj, now)]


def api_service_cells(obj: Json, now: datetime) -> list[Any]:
    service = part(obj, "spec").get("service")
    conditions = part(obj, "status").get("conditions") or ()
    available = next((one for one in conditions if one["type"] == "Available"), None)
    state = "Unknown" if available is None else available["status"]
    if available is not None and state != "True" and available.get("reason"):
        state += f" ({available['reason']})"
    where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    return [name_of(obj), where, state, age(obj, now)]


_BINDING = Printer(
    (
        NAME,
        Column("Role", "The role that is given."),
        AGE,
        Column("Users", "The users it is given to.", priority=1),
        Column("Groups", "The groups it is given to.", priority=1),
        Column("ServiceAccounts", "The service accounts it is given to.", priority=1),
    ),
    binding_cells,
)
_WEBHOOKS = Printer((NAME, Column("Webhooks", "How many webhooks there are.", type="integer"), AGE), webhooks_cells)
_PARAM_KIND = Column("ParamKind", "The kind of the policy's parameters.")
_POLICY_BINDING = Printer(
    (NAME, Column("PolicyName", "The policy that is applied."), Column("ParamRef", "Its parameters."), AGE),
    policy_binding_cells,
)

PRINTERS: dict[GroupKind, Printer] = {
    (_RBAC, "RoleBinding"): _BINDING,
    (_RBAC, "ClusterRoleBinding"): _BINDING,
    (_ADMISSION, "MutatingWebhookConfiguration"): _WEBHOOKS,
    (_ADMISSION, "ValidatingWebhookConfiguration"): _WEBHOOKS,
    (_ADMISSION, "ValidatingAdmissionPolicy"): Printer(
        (NAME, Column("Validations", "How many rules there are.", type="integer"), _PARAM_KIND, AGE), policy_cells
    ),
    (_ADMISSION, "MutatingAdmissionPolicy"): Printer(
        (NAME, Column("Mutations", "How many rules there are.", type="integer"), _PARAM_KIND, AGE), policy_cells
    ),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): _POLICY_BINDING,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): _POLICY_BINDING,
    ("apiregistration.k8s.io", "APIService"): Printer(
        (
            NAME,
            Column("Service", "The service that answers for the API; Local is this server."),
            Column("Available", "Whether the API can be used."),
            AGE,
        ),
        api_service_cells,
    ),
}
