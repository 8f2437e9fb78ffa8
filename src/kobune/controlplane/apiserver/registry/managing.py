"""metadata.managedFields: whose every write is, and which fields each way of writing can set.

Source: upstream endpoints/handlers (managerOrUserAgent), managedfields.FieldManager, and GetResetFields of each kind's
strategy. The account is of what the client sent, defaulted: what admission and the server itself add is nobody's.
"""

from typing import TYPE_CHECKING, Any

from kobune.api.apply.fieldset import field_set
from kobune.api.apply.managers import EVERYTHING, Manager, Reach, is_account, track
from kobune.api.apply.shapes import rule_of_object
from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.registry.call import Call

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

LONGEST_NAME = 128  # Bytes of a manager's name. Source: upstream FieldManagerMaxLength.
INVALID = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating "
    "admission controller; please fix your requests: {}"
)

SPEC, STATUS, METADATA = ("f:spec",), ("f:status",), ("f:metadata",)
# Kinds of whose metadata a status takes nothing.
STATUS_ALONE = frozenset(
    {
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("internal.apiserver.k8s.io", "StorageVersion"),
        ("networking.k8s.io", "ServiceCIDR"),
        ("resource.k8s.io", "DeviceTaintRule"),
        ("resource.k8s.io", "ResourceClaim"),
        ("resource.k8s.io", "ResourcePoolStatusRequest"),
        ("scheduling.k8s.io", "PodGroup"),
        ("storage.k8s.io", "VolumeAttachment"),
        ("storagemigration.k8s.io", "StorageVersionMigration"),
    }
)
RESIZED = tuple(
    ("f:spec", f"f:{containers}", "*", f"f:{field}")
    for containers in ("containers", "initContainers")
    for field in ("resources", "resizePolicy")
)
# Ways of writing that reach something else than their like.
SPECIAL: dict[tuple[str, str, str], Reach] = {
    ("", "Pod", "status"): Reach(
        field_set((SPEC, ("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:ownerReferences")))
    ),
    ("", "Pod", "ephemeralcontainers"): Reach({}, field_set((("f:spec", "f:ephemeralContainers"),))),
    ("", "Pod", "resize"): Reach({}, field_set(RESIZED)),
    ("apps", "Deployment", "status"): Reach(field_set((SPEC, ("f:metadata", "f:labels")))),
    ("certificates.k8s.io", "CertificateSigningRequest", ""): Reach(field_set((SPEC, STATUS))),
    ("certificates.k8s.io", "CertificateSigningRequest", "status"): Reach(
        field_set((SPEC, ("f:status", "f:conditions")))
    ),
    ("certificates.k8s.io", "CertificateSigningRequest", "approval"): Reach(
        field_set((SPEC, ("f:status", "f:certificate")))
    ),
}
_ALL_BUT_STATUS, _ALL_BUT_SPEC = Reach(field_set((STATUS,))), Reach(field_set((SPEC,)))
_STATUS_ONLY = Reach(field_set((SPEC, METADATA)))


def keep_account(registry: "Registry", call: Call, new: Json, old: Json | None) -> None:
    """Note in `new`, as the client wants it, who manages what after this write, which is no apply."""
    meta = new["metadata"]
    known: list[Any] = old["metadata"].get("managedFields") or [] if old is not None else []
    given = meta.get("managedFields")
    entries = known
    if given is not None and given is not known and not call.subresource:
        if not given or given == [{}]:
            entries = []  # The client wants the account forgotten.
        elif given != known and is_account(given):
            entries = given
    if old is None or entries:
        manager = Manager(manager_name(call), "Update", call.kind.api_version, call.subresource)
        rule = rule_of_object(registry.schema(call.kind))
        entries = track(
            entries,
            old,
            new,
            rule,
            manager,
            time_of(call),
            reach(call.kind, call.subresource),
        )
    if entries:
        meta["managedFields"] = entries
    else:
        meta.pop("managedFields", None)


def check_account(call: Call, new: Json, before: Any) -> None:
    """Put the account back that admission has made nonsense of."""
    after = new["metadata"].get("managedFields")
    if after is not before and after is not None and not is_account(after):
        new["metadata"]["managedFields"] = before
        call.warnings.append(INVALID.format("an entry is no valid entry"))


def only_times_differ(new: Json, old: Json) -> bool:
    """Whether a write changes nothing but when somebody is said to have written: it is none then.

    Source: upstream IgnoreManagedFieldsTimestampsTransformer.
    """
    now, was = new["metadata"].get("managedFields"), old["metadata"].get("managedFields")
    if not now or not was or len(now) != len(was) or now == was:
        return False
    if any(new.get(field) != old.get(field) for field in new.keys() | old.keys() if field != "metadata"):
        return False
    if [{**entry, "time": ""} for entry in now] != [{**entry, "time": ""} for entry in was]:
        return False
    return bool({**new["metadata"], "managedFields": was} == old["metadata"])


def manager_name(call: Call) -> str:
    """The writer's name: what it says, else what its program is called."""
    if call.options.field_manager:
        return call.options.field_manager
    name = call.user_agent.partition("/")[0]
    if name.isascii() and name.isprintable():
        return name[:LONGEST_NAME]
    printable = "".join(char for char in name if char.isprintable())
    return printable.encode()[:LONGEST_NAME].decode(errors="ignore")


def time_of(call: Call) -> str:
    """When the write is said to be; of the scale it is known who has set it, but not when.

    Source: upstream ScaleHandler.ToParent.
    """
    return format_time(call.now) if call.subresource != "scale" else ""


def reach(kind: Kind, subresource: str) -> Reach:
    """The fields that this way of writing can set."""
    special = SPECIAL.get((kind.group, kind.name, subresource))
    if special is not None:
        return special
    if subresource == "status":
        return _STATUS_ONLY if kind.custom or (kind.group, kind.name) in STATUS_ALONE else _ALL_BUT_SPEC
    if subresource in ("", "finalize") and "status" in kind.subresources:
        return _ALL_BUT_STATUS
    return EVERYTHING
