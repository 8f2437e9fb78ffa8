"""The query parameters of reads and writes, parsed and checked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kobune.api.errors import ApiError, BadRequest, FieldError, Invalid, Json

MATCH = "resourceVersionMatch"


@dataclass(frozen=True, slots=True)
class ListOptions:
    """`resource_version` stays a string: empty (the newest), "0" (anything) and a number mean different things."""

    labels: str = ""
    fields: str = ""
    resource_version: str = ""
    match: str = ""  # "", "Exact" or "NotOlderThan".
    limit: int = 0
    continue_: str = ""
    timeout_seconds: int = 0
    bookmarks: bool = False
    send_initial_events: bool | None = None


@dataclass(frozen=True, slots=True)
class WriteOptions:
    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = "Warn"  # "Strict", "Warn" or "Ignore".
    force: bool = False


DEFAULT_WRITE = WriteOptions()


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`grace_seconds` and `propagation` are None and "" when the client leaves them to the kind's default."""

    grace_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""
    propagation: str = ""  # "", "Orphan", "Background" or "Foreground".
    dry_run: bool = False


DEFAULT_LIST = ListOptions()


def list_options(query: Mapping[str, str], *, watching: bool = False) -> ListOptions:
    """Raises Invalid for combinations that upstream refuses. Source: upstream ValidateListOptions."""
    if not query:
        return DEFAULT_LIST
    initial = query.get("sendInitialEvents")
    options = ListOptions(
        labels=query.get("labelSelector", ""),
        fields=query.get("fieldSelector", ""),
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        limit=max(number(query, "limit"), 0),
        continue_=query.get("continue", ""),
        timeout_seconds=max(number(query, "timeoutSeconds"), 0),
        bookmarks=flag(query, "allowWatchBookmarks"),
        send_initial_events=None if initial is None else flag(query, "sendInitialEvents"),
    )
    if options.match or initial is not None:
        problems = list(_watch_problems(options) if watching else _list_problems(options))
        if problems:
            raise _invalid(*problems)
    return options


def _list_problems(options: ListOptions) -> Iterator[FieldError]:
    if options.match:
        if not options.resource_version:
            yield _forbidden(MATCH, f"{MATCH} is forbidden unless resourceVersion is provided")
        if options.continue_:
            yield _forbidden(MATCH, f"{MATCH} is forbidden when continue is provided")
        if options.match not in ("Exact", "NotOlderThan"):
            yield _unsupported(MATCH, options.match, '"Exact", "NotOlderThan", ""')
        if options.match == "Exact" and options.resource_version == "0":
            yield _forbidden(MATCH, f'{MATCH} "exact" is forbidden for resourceVersion "0"')
    if options.send_initial_events is not None:
        yield _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _watch_problems(options: ListOptions) -> Iterator[FieldError]:
    known = options.match == "NotOlderThan"
    if options.send_initial_events is not None and not known:
        yield _forbidden(MATCH, f"sendInitialEvents requires setting {MATCH} to NotOlderThan")
    if options.match:
        if options.send_initial_events is None:
            yield _forbidden(MATCH, f"{MATCH} is forbidden for watch unless sendInitialEvents is provided")
        if not known:
            yield _unsupported(MATCH, options.match, '"NotOlderThan"')
        if options.continue_:
            yield _forbidden(MATCH, f"{MATCH} is forbidden when continue is provided")


def write_options(query: Mapping[str, str], *, default_validation: str = "Warn") -> WriteOptions:
    """Raises Invalid for values that upstream refuses."""
    if not query:
        return DEFAULT_WRITE
    validation = query.get("fieldValidation", "") or default_validation
    if validation not in ("Strict", "Warn", "Ignore"):
        known = '"Ignore", "Strict", "Warn"'
        raise _invalid(_unsupported("fieldValidation", validation, known), kind="CreateOptions")
    manager = query.get("fieldManager", "")
    if len(manager) > 128:
        text = "Too long: may not be more than 128 bytes"
        raise _invalid(FieldError("fieldManager", "FieldValueTooLong", text), kind="CreateOptions")
    return WriteOptions(
        _dry_run([query["dryRun"]] if "dryRun" in query else []), manager, validation, flag(query, "force")
    )


def delete_options(query: Mapping[str, str], body: Any) -> DeleteOptions:
    """The options in a delete's body, or in its query when there is no body.

    Raises:
        BadRequest, Invalid: upstream refuses the values.
    """
    given: Json = body if isinstance(body, dict) else {}
    grace = given.get("gracePeriodSeconds")
    if grace is None and "gracePeriodSeconds" in query:
        grace = number(query, "gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        kinds: dict[type, str] = {str: "string", bool: "bool", float: "number", list: "array", dict: "object"}
        given_type = kinds.get(type(grace), "number")
        raise BadRequest(
            f"json: cannot unmarshal {given_type} into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
        )
    preconditions = given.get("preconditions") or {}
    orphan = given.get("orphanDependents")
    propagation = given.get("propagationPolicy") or query.get("propagationPolicy", "")
    if orphan is None and "orphanDependents" in query:
        orphan = flag(query, "orphanDependents")
    if orphan is not None:
        if propagation:
            text = f'Invalid value: "{propagation}": orphanDependents and deletionPropagation cannot be both set'
            raise _invalid(FieldError("propagationPolicy", "FieldValueInvalid", text), kind="DeleteOptions")
        propagation = "Orphan" if orphan else "Background"
    if propagation not in ("", "Orphan", "Background", "Foreground"):
        known = '"Foreground", "Background", "Orphan", "nil"'
        raise _invalid(_unsupported("propagationPolicy", propagation, known), kind="DeleteOptions")
    dry_run = given.get("dryRun") or ([query["dryRun"]] if "dryRun" in query else [])
    return DeleteOptions(
        grace,
        preconditions.get("uid") or "",
        preconditions.get("resourceVersion") or "",
        propagation,
        _dry_run(dry_run, "DeleteOptions"),
    )


def number(query: Mapping[str, str], name: str) -> int:
    """A whole number, 0 when absent. Raises BadRequest."""
    text = query.get(name, "")
    if not text:
        return 0
    try:
        return int(text)
    except ValueError as error:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean, False when absent; a bare `?name` is true, as upstream reads it."""
    if name not in query:
        return False
    text = query[name]
    return text not in ("0", "false", "False", "FALSE", "f", "F")


def _dry_run(values: Any, kind: str = "CreateOptions") -> bool:
    if not values:
        return False
    if list(values) != ["All"]:
        shown = ", ".join(f'"{value}"' for value in values)
        text = f'Unsupported value: [{shown}]: supported values: "All"'
        raise _invalid(FieldError("dryRun", "FieldValueNotSupported", text), kind=kind)
    return True


def _forbidden(field: str, why: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", f"Forbidden: {why}")


def _unsupported(field: str, value: str, known: str) -> FieldError:
    return FieldError(field, "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {known}')


def _invalid(*problems: FieldError, kind: str = "ListOptions") -> ApiError:
    told = [f"{one.field}: {one.message}" for one in problems]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    return Invalid(f'{kind}.meta.k8s.io "" is invalid: {text}', *problems, group="meta.k8s.io", resource=kind)
