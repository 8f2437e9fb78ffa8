"""Who manages which fields of an object, after each write. Source: upstream managedfields and structured-merge-diff."""

from typing import NamedTuple

import orjson

from kobune.api.apply.fieldset import FieldSet, from_json, shown
from kobune.api.apply.values import compare, fields_of, merge, remove
from kobune.api.errors import Conflict, FieldError, Json
from kobune.api.schema import Schema

# Fields that nobody manages. Source: upstream stripmeta.go.
STRIPPED = FieldSet()
for _path in (
    ("f:apiVersion",), ("f:kind",), ("f:metadata",),
    *(("f:metadata", f"f:{_name}") for _name in (
        "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
        "resourceVersion",
    )),
):  # fmt: skip
    STRIPPED.insert(_path)
BEFORE_FIRST_APPLY = "before-first-apply"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Manager(NamedTuple):
    """One writer in one role."""

    name: str
    operation: str  # "Apply" or "Update".
    api_version: str
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """An applier is the same one in whatever version it applies."""
        version = "" if self.operation == "Apply" else self.api_version
        return self.name, self.operation, version, self.subresource

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


class Managed(NamedTuple):
    manager: Manager
    time: str
    fields: FieldSet


Managers = dict[tuple[str, str, str, str], Managed]


def read_managers(obj: Json) -> Managers:
    """What an object's managedFields say."""
    managers: Managers = {}
    for entry in obj["metadata"].get("managedFields") or ():
        manager = Manager(
            entry.get("manager", ""), entry.get("operation", "Update"), entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        )  # fmt: skip
        managers[manager.key] = Managed(manager, entry.get("time", ""), from_json(entry.get("fieldsV1") or {}))
    return managers


def write_managers(obj: Json, managers: Managers) -> None:
    """Say so in the object's managedFields: appliers first, then by time and name."""
    entries = []
    order = sorted(managers.values(), key=lambda one: (one.manager.operation, one.time, one.manager.name))
    for manager, time, fields in order:
        entry: Json = {
            "manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version, "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": fields.to_json(),
        }  # fmt: skip
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def track(
    old: Json | None, new: Json, schema: Schema, manager: Manager, now: str, *, ignored: frozenset[str]
) -> Managers:
    """The managers after `manager` has written `new` in the place of `old`.

    Args:
        ignored: top-level fields that this way of writing cannot set, such as `f:status`.
    """
    managers = read_managers(old) if old is not None else {}
    before: Json = old if old is not None else {}
    added, modified, removed = compare(before, new, schema)
    changed = added.union(modified)
    managers = _without(managers, changed.union(removed), but=manager.key)
    own = managers.get(manager.key)
    fields = (own.fields if own else FieldSet()).difference(removed).union(changed)
    fields = _own(fields, ignored)
    if fields.is_empty:
        managers.pop(manager.key, None)
    elif own is None or own.fields != fields:
        managers[manager.key] = Managed(manager, now, fields)
    return managers


class Applied(NamedTuple):
    obj: Json
    managers: Managers


def apply(
    live: Json, applied: Json, schema: Schema, manager: Manager, now: str, *, force: bool, ignored: frozenset[str]
) -> Applied:
    """What an apply makes of a live object.

    Args:
        applied: what the applier wants, checked but not defaulted.
        force: take fields over from other managers.
        ignored: top-level fields that this way of writing cannot set, such as `f:status`.
    Raises:
        Conflict: others manage fields that this changes.
    """
    managers = read_managers(live)
    if not managers:
        # Nobody kept account so far: whatever is there had some writer.
        first = Manager(BEFORE_FIRST_APPLY, "Update", live["apiVersion"])
        everything = fields_of(live, schema).difference(STRIPPED)
        if not everything.is_empty:
            managers[first.key] = Managed(first, now, everything)
    wanted = _own(fields_of(applied, schema), ignored)
    last = managers.get(manager.key)
    merged: Json = merge(live, applied, schema)
    if last is not None:
        kept = wanted
        for key, other in managers.items():
            if key != manager.key:
                kept = kept.union(other.fields)
        merged = remove(merged, last.fields.difference(kept), schema, kept=kept)
    merged["metadata"].pop("managedFields", None)
    bare = {**live, "metadata": {name: value for name, value in live["metadata"].items() if name != "managedFields"}}
    added, modified, removed = compare(bare, merged, schema)
    changed = added.union(modified).difference(STRIPPED)
    if not force:
        _check_conflicts(managers, changed, live, manager, schema)
    managers = _without(managers, changed.union(removed), but=manager.key)
    if last is not None and last.fields == wanted and changed.is_empty and removed.is_empty:
        managers[manager.key] = last._replace(manager=manager)
    else:
        managers[manager.key] = Managed(manager, now, wanted)
    return Applied(merged, managers)


def _check_conflicts(managers: Managers, changed: FieldSet, live: Json, applier: Manager, schema: Schema) -> None:
    """Raises Conflict unless everything changed is the applier's own or nobody's."""
    allowed = _last_applied(live, schema) if applier.name == "kubectl" else FieldSet()
    conflicts: list[tuple[str, str]] = []
    for key, other in sorted(managers.items()):
        if key != applier.key:
            taken = other.fields.intersection(changed).difference(allowed)
            conflicts += [(_described(other), shown(path)) for path in taken.paths()]
    if not conflicts:
        return
    causes = [FieldError(path, "FieldManagerConflict", f"conflict with {who}") for who, path in conflicts]
    if len(conflicts) == 1:
        who, path = conflicts[0]
        raise Conflict(f"Apply failed with 1 conflict: conflict with {who}: {path}", *causes)
    lines = []
    for who in sorted({who for who, _ in conflicts}):
        lines.append(f"conflicts with {who}:")
        lines += [f"- {path}" for other, path in conflicts if other == who]
    raise Conflict(f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines), *causes)


def _own(fields: FieldSet, ignored: frozenset[str]) -> FieldSet:
    """The fields that a writer can manage."""
    result = fields.difference(STRIPPED)
    for element in ignored:
        result.children.pop(element, None)
    return result


def _described(managed: Managed) -> str:
    return str(managed.manager)


def _last_applied(live: Json, schema: Schema) -> FieldSet:
    """The fields that kubectl's client-side apply has set: kubectl may take its own over."""
    annotation = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if not annotation:
        return FieldSet()
    try:
        given = orjson.loads(annotation)
    except orjson.JSONDecodeError:
        return FieldSet()
    return fields_of(given, schema) if isinstance(given, dict) else FieldSet()


def _without(managers: Managers, fields: FieldSet, *, but: tuple[str, str, str, str]) -> Managers:
    """All managers without these fields, one excepted; those left with none are gone."""
    result: Managers = {}
    for key, managed in managers.items():
        left = managed.fields if key == but else managed.fields.difference(fields)
        if not left.is_empty:
            result[key] = managed._replace(fields=left)
    return result
