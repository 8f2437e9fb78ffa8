"""metadata.managedFields: kept for objects whose writers say who they are, and for whatever has been applied.

Writers that give no fieldManager (our own components, mostly) write thousands of objects that nobody will ever apply;
as with upstream's own probability of tracking, account of an object begins with the first write that asks for it.
"""

from typing import TYPE_CHECKING

from kobune.api.apply.managers import Manager, track, write_managers
from kobune.api.errors import Json
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.registry.call import Call

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

LONGEST_NAME = 128  # Bytes of a manager's name.


def manager_name(call: Call) -> str:
    """The writer's name: what it says, else what its program is called, else its user's last part."""
    name = call.options.field_manager or call.user_agent.partition("/")[0] or call.user.name.rpartition(":")[2]
    return "".join(char for char in name if char.isprintable())[:LONGEST_NAME]


def keep_account(registry: "Registry", call: Call, new: Json, old: Json | None) -> None:
    """Note in `new` who manages what, after a write that is no apply."""
    known = (old or {}).get("metadata", {}).get("managedFields")
    given = new["metadata"].get("managedFields")
    if given is not None and (not given or given == [{}]) and known:
        new["metadata"].pop("managedFields")  # The client wants the account forgotten.
        return
    if known:
        new["metadata"]["managedFields"] = known
    else:
        new["metadata"].pop("managedFields", None)
        if not call.options.field_manager or (old is not None and call.subresource):
            return
    if old is not None and new == old:
        return
    manager = Manager(manager_name(call), "Update", call.kind.api_version, call.subresource)
    managers = track(old, new, registry.schema(call.kind), manager, format_time(call.now), ignored=ignored_fields(call))
    write_managers(new, managers)


def ignored_fields(call: Call) -> frozenset[str]:
    """What this way of writing cannot set: the status through the object, the rest through the status."""
    if call.subresource == "status":
        return frozenset(("f:spec",))
    return frozenset(("f:status",)) if "status" in call.kind.subresources else frozenset()
