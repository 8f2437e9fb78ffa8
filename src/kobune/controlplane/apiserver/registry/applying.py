"""Server-side apply: a patch that says what one manager wants, and takes back what it no longer does."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kobune.api.apply.managers import Applied, Manager, apply
from kobune.api.apply.shapes import rule_of_object
from kobune.api.copying import clone
from kobune.api.errors import BadRequest, Conflict, Json, invalid
from kobune.api.field_errors import required
from kobune.controlplane.apiserver.negotiation import decode_yaml, repeated_keys
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.create import create
from kobune.controlplane.apiserver.registry.decoding import checked_object
from kobune.controlplane.apiserver.registry.managing import reach, time_of
from kobune.controlplane.apiserver.registry.patching import APPLY_PATCH
from kobune.controlplane.apiserver.registry.update import MODIFIED, Outcome, Prepare, change, check_name, whole

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

APPLY_PATCHES = (APPLY_PATCH,)


async def apply_patch(
    registry: "Registry",
    call: Call,
    body: bytes,
    *,
    prepare: Prepare = whole,
    read: Callable[[Any], Json] | None = None,
) -> Outcome:
    """Apply a configuration; creates the object if there is none.

    Args:
        read: what a document of another kind, a Scale, wants of the object.
    Raises:
        Invalid: no fieldManager, or what validation finds; BadRequest; Conflict: others manage what this changes.
    """
    if not call.options.field_manager:
        fault = required("fieldManager", "is required for apply patch")
        raise invalid("PatchOptions", "", fault, group="meta.k8s.io")
    kind = call.kind
    document = decode_yaml(body)
    config = read(document) if read is not None else _read(registry, call, document)
    _check_repeated(call, body)
    call.accounted = False
    manager = Manager(call.options.field_manager, "Apply", kind.api_version, call.subresource)
    decide = partial(
        apply, rule=rule_of_object(registry.schema(kind)), manager=manager, now=time_of(call),
        reach=reach(kind, call.subresource),
    )  # fmt: skip
    if not call.subresource and await registry.find_item(kind, call.namespace, call.name) is None:
        if config["metadata"].get("uid"):
            raise Conflict(
                f"uid mismatch: the provided object specified uid {config['metadata']['uid']}, "
                "and no existing object was found"
            )
        made = decide(None, config, force=True)
        _say(made)
        registry.default(kind, made.obj)
        made.obj["metadata"].pop("resourceVersion", None)
        return Outcome(await create(registry, call, made.obj), created=True)

    async def merge(old: Json) -> Json:
        wanted = clone(config)
        given = wanted["metadata"].pop("resourceVersion", None)
        if given and given != old["metadata"]["resourceVersion"]:
            raise call.conflict(MODIFIED)
        made = decide(old, wanted, force=call.options.force)
        checked_object(made.obj, kind, registry.schema(kind))
        registry.default(kind, made.obj)
        _say(made)
        return made.obj

    return Outcome(await change(registry, call, merge, prepare=prepare))


def _say(made: Applied) -> None:
    """Write the account into the object."""
    made.obj["metadata"] = {**made.obj["metadata"], "managedFields": made.entries}


def _read(registry: "Registry", call: Call, document: Any) -> Json:
    """The configuration, checked as far as it goes."""
    if not isinstance(document, dict):
        raise BadRequest("error decoding YAML: the configuration is no object")
    if not document.get("apiVersion") or document.get("kind") != call.kind.name:
        group, _, version = str(document.get("apiVersion") or "").rpartition("/")
        raise BadRequest(f"invalid object type: {group}/{version}, Kind={document.get('kind') or ''}")
    meta = document.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    unknown: list[str] = []
    config = checked_object(document, call.kind, registry.schema(call.kind), unknown=unknown)
    if unknown:
        raise _not_declared(call, unknown)
    config["metadata"].setdefault("name", call.name)
    check_name(call, config["metadata"])
    if call.kind.namespaced:
        config["metadata"].setdefault("namespace", call.namespace)
    return config


def _not_declared(call: Call, unknown: list[str]) -> BadRequest:
    """Nobody can manage a field that the schema does not have, whatever fieldValidation says.

    Source: upstream structuredMergeManager.Apply, and the errors of structured-merge-diff.
    """
    problems = [f".{path}: field not declared in schema" for path in unknown]
    told = problems[0] if len(problems) == 1 else "\n".join(["errors:", *(f"  {one}" for one in problems)])
    kind = f"{call.kind.api_version}, Kind={call.kind.name}"
    return BadRequest(f"failed to create typed patch object ({call.namespace}/{call.name}; {kind}): {told}")


def _check_repeated(call: Call, body: bytes) -> None:
    """Raises BadRequest, or warns, of fields that the configuration gives twice."""
    if call.options.field_validation == "Ignore":
        return
    repeated = repeated_keys(body)
    if not repeated:
        return
    problem = "\n".join(["yaml: unmarshal errors:", *(f"  {one}" for one in repeated)])
    if call.options.field_validation == "Strict":
        raise BadRequest(f"error strict decoding YAML: {problem}")
    call.warnings.append(problem)
