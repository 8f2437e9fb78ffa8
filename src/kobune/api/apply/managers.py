"""Who manages which fields of an object, after each write. Source: upstream managedfields and structured-merge-diff."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from kobune.api.apply.fieldset import (
    Fields,
    difference,
    excluding,
    intersection,
    is_field_set,
    only,
    paths,
    shown,
    union,
)
from kobune.api.apply.shapes import Rule
from kobune.api.apply.values import compare, fields_of, merge_by, remove, written
from kobune.api.errors import Conflict, FieldError, Json

BEFORE_FIRST_APPLY = "before-first-apply"
ANCIENT = "ancient-changes"
MOST_UPDATERS = 10  # Source: upstream DefaultMaxUpdateManagers.
NAMELESS = "unknown"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
LONGEST_ANNOTATIONS = 256 * 1024  # Bytes of all annotations. Source: upstream TotalAnnotationSizeLimitB.
FIRST_APPLIERS = ("kubectl",)  # Who takes over what its own client-side apply has set.

Entry = Json  # One of metadata.managedFields. Entries are shared between objects and never changed.
Key = tuple[str, str, str, str]


class Manager(NamedTuple):
    """One writer in one role."""

    name: str
    operation: str  # "Apply" or "Update".
    api_version: str
    subresource: str = ""

    def entry(self, fields: Fields, time: str) -> Entry:
        """What managedFields say of it; `time` is empty for one that has changed nothing."""
        entry: Entry = {"manager": self.name or NAMELESS, "operation": self.operation, "apiVersion": self.api_version}
        if time:
            entry["time"] = time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = fields
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry

    @property
    def key(self) -> Key:
        """An applier is the same one in whatever version it applies."""
        version = "" if self.operation == "Apply" else self.api_version
        return self.name or NAMELESS, self.operation, version, self.subresource


class Reach(NamedTuple):
    """Which fields a way of writing can set, as sets of subtrees: all but `reset`, or nothing but `only`."""

    reset: Fields
    only: Fields | None = None

    def limit(self, fields: Fields) -> Fields:
        if self.only is not None:
            return only(fields, self.only)
        return excluding(fields, self.reset) if self.reset and fields else fields


EVERYTHING = Reach({})


def key_of(entry: Entry) -> Key:
    operation = entry.get("operation", "")
    version = "" if operation == "Apply" else entry.get("apiVersion", "")
    return entry.get("manager", ""), operation, version, entry.get("subresource", "")


def is_account(entries: Any) -> bool:
    """Whether managedFields from outside say something that holds. Source: upstream DecodeManagedFields."""
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and entry.get("operation") in ("Apply", "Update")
        and bool(entry.get("apiVersion"))
        and entry.get("fieldsType") == "FieldsV1"
        and is_field_set(entry.get("fieldsV1") or {})
        for entry in entries
    )


def track(
    entries: Sequence[Entry],
    old: Json | None,
    new: Json,
    rule: Rule,
    manager: Manager,
    now: str,
    reach: Reach,
) -> list[Entry]:
    """The account after `manager` has written `new` in the place of `old`, given the account before.

    Args:
        old: None when the object is new.
        reach: the fields that this way of writing can set.
    """
    removed: Fields = {}
    if old is None:
        changed = reach.limit(written(new, rule))
    else:
        changed, removed = compare(old, new, rule)
        changed, removed = reach.limit(changed), reach.limit(removed)
    if not changed and not removed:
        return list(entries)
    key = manager.key
    result: list[Entry] = []
    own: Fields = {}
    for entry in entries:
        mine = key_of(entry) == key
        fields = entry.get("fieldsV1") or {}
        left = difference(fields, removed)
        if not mine:
            left = difference(left, changed)
        elif changed:
            own = left
            continue
        if left:
            result.append(entry if left is fields else {**entry, "fieldsV1": left})
    if changed:
        result.append(manager.entry(union(own, changed), now))
    return _sorted(_capped(result))


class Applied(NamedTuple):
    obj: Json
    entries: list[Entry]


def apply(
    live: Json | None, applied: Json, rule: Rule, manager: Manager, now: str, *, force: bool, reach: Reach
) -> Applied:
    """What an apply makes of a live object, and its account; the object comes without managedFields.

    Args:
        live: None when there is none yet.
        applied: what the applier wants, checked but not defaulted.
        force: take fields over from other managers.
        reach: the fields that this way of writing can set.
    Raises:
        Conflict: others manage fields that this changes.
    """
    entries, live = _before(live, applied, rule, manager, now, reach)
    wanted = reach.limit(fields_of(applied, rule))
    key = manager.key
    last = next((entry for entry in entries if key_of(entry) == key), None)
    others = [entry for entry in entries if entry is not last]
    merged: Json = merge_by(live, applied, rule)
    if last is not None:
        kept = wanted
        for other in others:
            kept = union(kept, other.get("fieldsV1") or {})
        merged = remove(merged, difference(last.get("fieldsV1") or {}, kept), rule, kept=kept)
    changed, removed = (reach.limit(part) for part in compare(live, merged, rule))
    if not force:
        _check_conflicts(others, changed, live, manager, rule)
    result: list[Entry] = []
    for entry in others:
        fields = entry.get("fieldsV1") or {}
        left = difference(fields, union(changed, removed))
        if left:
            result.append(entry if left is fields else {**entry, "fieldsV1": left})
    # Nothing has changed: no more is new than whom the fields belong to.
    time = now if changed or removed or merged != live else (last or {}).get("time", "")
    if wanted:
        result.append(manager.entry(wanted, time))
    if manager.name in FIRST_APPLIERS:
        _renew_last_applied(merged, applied)
    return Applied(merged, _sorted(result))


def _before(
    live: Json | None, applied: Json, rule: Rule, manager: Manager, now: str, reach: Reach
) -> tuple[list[Entry], Json]:
    """The account before an apply, and the live object without it."""
    if live is None:
        return [], {"apiVersion": applied["apiVersion"], "kind": applied["kind"], "metadata": {}}
    bare = {**live, "metadata": {name: value for name, value in live["metadata"].items() if name != "managedFields"}}
    entries = live["metadata"].get("managedFields")
    if entries:
        return entries, bare
    # Nobody kept account so far: whatever is there had some writer.
    first = Manager(BEFORE_FIRST_APPLY, "Update", manager.api_version, manager.subresource)
    return track((), None, bare, rule, first, now, reach), bare


def _check_conflicts(others: Sequence[Entry], changed: Fields, live: Json, applier: Manager, rule: Rule) -> None:
    """Raises Conflict unless everything changed is the applier's own or nobody's."""
    taken = [(entry, intersection(entry.get("fieldsV1") or {}, changed)) for entry in others]
    if applier.name in FIRST_APPLIERS and any(fields for _, fields in taken):
        allowed = _last_applied(live, applier.api_version, rule)
        taken = [(entry, difference(fields, allowed)) for entry, fields in taken]
    conflicts = [
        (_described(entry), shown(path)) for entry, fields in sorted(taken, key=_manager_of) for path in paths(fields)
    ]
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


def _manager_of(taken: tuple[Entry, Fields]) -> Key:
    return key_of(taken[0])


def _described(entry: Entry) -> str:
    text = f'"{entry.get("manager", "")}"'
    if entry.get("subresource"):
        text += f' with subresource "{entry["subresource"]}"'
    return text if entry.get("operation") == "Apply" else f"{text} using {entry.get('apiVersion', '')}"


def _last_applied(live: Json, api_version: str, rule: Rule) -> Fields:
    """The fields that kubectl's client-side apply has set and nobody has changed: kubectl may take its own over.

    Source: upstream lastAppliedManager.
    """
    annotation = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        given = orjson.loads(annotation or "null")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(given, dict) or given.get("apiVersion") != api_version:
        return {}
    changed, removed = compare(given, live, rule)
    return difference(fields_of(given, rule), union(changed, removed))


def _renew_last_applied(merged: Json, applied: Json) -> None:
    """An object that kubectl has applied by itself before says what it applies now. Source: upstream lastAppliedUpdater."""
    annotations = merged["metadata"].get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return
    metadata = dict(applied["metadata"])
    if metadata.get("annotations"):
        metadata["annotations"] = {
            name: value for name, value in metadata["annotations"].items() if name != LAST_APPLIED
        }
    said = orjson.dumps({**applied, "metadata": metadata}, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    renewed = {**annotations, LAST_APPLIED: said.decode()}
    if sum(len(name) + len(value) for name, value in renewed.items()) > LONGEST_ANNOTATIONS:
        del renewed[LAST_APPLIED]
    merged["metadata"] = {**merged["metadata"], "annotations": renewed}


def _capped(entries: list[Entry]) -> list[Entry]:
    """At most so many updaters: the oldest become one for each version. Source: upstream capManagersManager."""
    if len(entries) <= MOST_UPDATERS:
        return entries
    updaters = [entry for entry in entries if entry.get("operation") == "Update"]
    excess = len(updaters) - MOST_UPDATERS
    if excess <= 0:
        return entries
    merged: dict[str, Entry] = {}
    firsts: dict[str, Entry] = {}
    gone: list[Entry] = []
    for entry in sorted(updaters, key=lambda one: (one.get("time", ""), key_of(one))):
        if excess <= 0:
            break
        version = entry.get("apiVersion", "")
        first = firsts.setdefault(version, entry)
        if first is entry:
            continue
        bucket = merged.get(version) or {
            **Manager(ANCIENT, "Update", version).entry(first.get("fieldsV1") or {}, ""),
        }
        if version not in merged:
            gone.append(first)
        fields = union(bucket["fieldsV1"], entry.get("fieldsV1") or {})
        merged[version] = Manager(ANCIENT, "Update", version).entry(fields, entry.get("time", ""))
        gone.append(entry)
        excess -= 1
    return [entry for entry in entries if all(entry is not one for one in gone)] + list(merged.values())


def _sorted(entries: list[Entry]) -> list[Entry]:
    """Appliers first, then by time and name."""
    if len(entries) < 2:
        return entries
    return sorted(entries, key=_order)


def _order(entry: Entry) -> tuple[str, str, str, str, str]:
    return (
        entry.get("operation", ""), entry.get("time") or "", entry.get("manager", ""), entry.get("apiVersion", ""),
        entry.get("subresource", ""),
    )  # fmt: skip
