"""The operations of an OpenAPI document: one path for each collection, object and subresource of a kind."""

from collections.abc import Iterable
from typing import NamedTuple

from kobune.api.catalogue import Kind, Resource, Subresource
from kobune.api.errors import Json
from kobune.controlplane.apiserver.openapi.schemas import DELETE_OPTIONS, PATCH, REFERENCE, STATUS

JSON, YAML = "application/json", "application/yaml"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCH_TYPES = (
    "application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json",
    STRATEGIC_PATCH,
)  # fmt: skip
# A parameter's type and meaning, by name.
PARAMETERS = {
    "allowWatchBookmarks": ("boolean", "Ask for BOOKMARK events in a watch."),
    "command": ("string", "The command to run, one argument each time it is given."),
    "container": ("string", "The container; needed only when the pod has several."),
    "continue": ("string", "Where the previous page of a list ended."),
    "dryRun": ("string", "With 'All', do everything but store the result."),
    "fieldManager": ("string", "Who makes this change; at most 128 printable characters."),
    "fieldSelector": ("string", "Restrict the objects by their fields."),
    "fieldValidation": (
        "string",
        "What to do about unknown and duplicate fields: Ignore them, Warn in a response header, or be Strict and fail.",
    ),
    "follow": ("boolean", "Keep sending the log as it grows."),
    "force": ("boolean", "In an apply, take over fields that others manage."),
    "gracePeriodSeconds": ("integer", "Seconds before the object is deleted; zero deletes at once."),
    "ignoreStoreReadErrorWithClusterBreakingPotential": ("boolean", "Delete even an object that cannot be read."),
    "insecureSkipTLSVerifyBackend": ("boolean", "Do not verify the certificate of the node that has the log."),
    "labelSelector": ("string", "Restrict the objects by their labels."),
    "limit": ("integer", "The most objects to list at once."),
    "limitBytes": ("integer", "The most bytes of log to send."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "path": ("string", "The path on the target, appended to its URL."),
    "ports": ("integer", "The ports to forward."),
    "pretty": ("string", "With 'true', indent the answer."),
    "previous": ("boolean", "The log of the container before its last restart."),
    "propagationPolicy": ("string", "What becomes of dependents: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "Which versions may be served."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied to a list."),
    "sendInitialEvents": ("boolean", "Begin a watch with events for the objects that exist."),
    "sinceSeconds": ("integer", "Only log lines of the last so many seconds."),
    "stderr": ("boolean", "Carry the standard error stream."),
    "stdin": ("boolean", "Carry the standard input stream."),
    "stdout": ("boolean", "Carry the standard output stream."),
    "stream": ("string", "Which stream of the log: All, Stdout or Stderr."),
    "tailLines": ("integer", "Only so many lines from the end of the log."),
    "timeoutSeconds": ("integer", "The longest time for the call."),
    "timestamps": ("boolean", "Begin each line of log with its time."),
    "tty": ("boolean", "The streams are a terminal."),
    "watch": ("boolean", "Send changes as they happen instead of a list."),
}
_SELECTION = (
    "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip
_LIST = ("allowWatchBookmarks", *_SELECTION, "watch")
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents",
    "propagationPolicy",
)  # fmt: skip
_STREAMS = ("container", "stderr", "stdin", "stdout", "tty")
_CONNECT = {
    "attach": _STREAMS,
    "exec": ("command", *_STREAMS),
    "portforward": ("ports",),
    "proxy": ("path",),
}
_LOG = (
    "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream",
    "tailLines", "timestamps",
)  # fmt: skip
# HTTP methods of each verb; a proxy also answers two that are no verbs.
_METHODS = {"create": "post", "delete": "delete", "get": "get", "patch": "patch", "update": "put"}
_PROXY_METHODS = ("delete", "get", "head", "options", "patch", "post", "put")
_VERB_NAMES = {"get": "read", "put": "replace", "post": "create", "patch": "patch", "delete": "delete"}


class _Operation(NamedTuple):
    method: str
    action: str  # As in x-kubernetes-action.
    name: str  # operationId.
    summary: str
    parameters: tuple[str, ...] = ()
    body: str = ""  # The type of what is sent.
    answer: str = ""  # The type of the answer; empty: a string.
    codes: tuple[int, ...] = (200,)
    group: str = ""
    version: str = ""
    kind: str = ""


class PathRenderer:
    """Renders paths in OpenAPI's form 2 or 3; `type_name(group, version, kind)` names the type of a kind."""

    def __init__(self, form: int, names: "TypeNames") -> None:
        self._form = form
        self._names = names

    def paths(self, kind: Kind) -> dict[str, Json]:
        """Every path of a kind."""
        root = kind.resource.path()
        rest = f"/{kind.plural}"
        base = f"{root.removesuffix(rest)}/namespaces/{{namespace}}{rest}" if kind.namespaced else root
        scope = ("namespace",) if kind.namespaced else ()
        found: dict[str, Json] = {}
        collection = list(self._collection(kind))
        if collection:
            found[base] = self._path(kind, collection, scope)
        if kind.namespaced and "list" in kind.verbs:
            everywhere = self._list(kind, f"list{_stem(kind.resource)}{kind.name}ForAllNamespaces")
            found[root] = self._path(kind, [everywhere], ())
        one = list(self._object(kind))
        if one:
            found[f"{base}/{{name}}"] = self._path(kind, one, (*scope, "name"))
        for name in kind.subresources:
            part = kind.subresource(name)
            assert part is not None
            path = f"{base}/{{name}}/{name}"
            found[path] = self._path(kind, self._part(kind, part, ""), (*scope, "name"))
            if name == "proxy":
                operations = self._part(kind, part, "WithPath")
                found[f"{path}/{{path}}"] = self._path(kind, operations, (*scope, "name", "path"))
        return found

    def _collection(self, kind: Kind) -> Iterable[_Operation]:
        stem, scoped, own = _stem(kind.resource), _scoped(kind), self._names.of_kind(kind)
        if "list" in kind.verbs:
            yield self._list(kind, f"list{stem}{scoped}")
        if "create" in kind.verbs:
            summary = f"create {_article(kind.name)}"
            yield _Operation("post", "post", f"create{stem}{scoped}", summary, _WRITE, own, own, (200, 201, 202))
        if "deletecollection" in kind.verbs:
            name, summary = f"delete{stem}Collection{scoped}", f"delete collection of {kind.name}"
            parameters = (*_DELETE, *_SELECTION)
            yield _Operation("delete", "deletecollection", name, summary, parameters, DELETE_OPTIONS, STATUS)

    def _list(self, kind: Kind, name: str) -> _Operation:
        summary = f"list or watch objects of kind {kind.name}"
        return _Operation("get", "list", name, summary, _LIST, answer=self._names.of_list(kind))

    def _object(self, kind: Kind) -> Iterable[_Operation]:
        stem, scoped, own = _stem(kind.resource), _scoped(kind), self._names.of_kind(kind)
        if "get" in kind.verbs:
            yield _Operation("get", "get", f"read{stem}{scoped}", f"read the specified {kind.name}", answer=own)
        if "update" in kind.verbs:
            name, summary = f"replace{stem}{scoped}", f"replace the specified {kind.name}"
            yield _Operation("put", "put", name, summary, _WRITE, own, own, (200, 201))
        if "delete" in kind.verbs:
            name, summary = f"delete{stem}{scoped}", f"delete {_article(kind.name)}"
            answer = own if kind.answers_deleted else STATUS
            yield _Operation("delete", "delete", name, summary, _DELETE, DELETE_OPTIONS, answer, (200, 202))
        if "patch" in kind.verbs:
            name, summary = f"patch{stem}{scoped}", f"partially update the specified {kind.name}"
            yield _Operation("patch", "patch", name, summary, (*_WRITE, "force"), PATCH, own, (200, 201))

    def _part(self, kind: Kind, part: Subresource, suffix: str) -> list[_Operation]:
        group, version = (part.group, part.version) if part.group else (kind.group, kind.version)
        body_kind = part.kind or kind.name
        stem, title = _stem(kind.resource), part.name.capitalize()
        target = f"{_scoped(kind)}{title}{suffix}"
        if part.name in _CONNECT:
            methods = _PROXY_METHODS if part.name == "proxy" else ("get", "post")
            return [
                _Operation(
                    method, "connect", f"connect{stem}{method.capitalize()}{target}",
                    f"connect {method.upper()} requests to {part.name} of {kind.name}",
                    _CONNECT[part.name], group=group, version=version, kind=body_kind,
                )
                for method in methods
            ]  # fmt: skip
        own = self._names.of(group, version, body_kind) if part.name != "log" else ""
        operations = []
        for verb in part.verbs:
            method = _METHODS[verb]
            sends = method in ("post", "put", "patch")
            parameters = (*_WRITE, "force") if method == "patch" else _WRITE if sends else ()
            codes = {"post": (200, 201, 202), "put": (200, 201), "patch": (200, 201)}.get(method, (200,))
            operations.append(
                _Operation(
                    method, method, f"{_VERB_NAMES[method]}{stem}{target}",
                    f"{_VERB_NAMES[method]} {part.name} of the specified {kind.name}",
                    _LOG if part.name == "log" else parameters,
                    PATCH if method == "patch" else own if sends else "", own, codes, group, version, body_kind,
                )
            )  # fmt: skip
        return operations

    def _path(self, kind: Kind, operations: Iterable[_Operation], variables: tuple[str, ...]) -> Json:
        path: Json = {operation.method: self._operation(kind, operation) for operation in operations}
        meanings = {"namespace": "the namespace", "name": f"name of the {kind.name}", "path": "the path on the target"}
        path["parameters"] = [
            *(
                self._parameter(name, "string", meanings[name], where="path") | {"required": True}
                for name in sorted(variables)
            ),
            self._parameter("pretty", *PARAMETERS["pretty"]),
        ]
        return path

    def _operation(self, kind: Kind, operation: _Operation) -> Json:
        tag = f"{_group_word(kind.group)}_{kind.version}"
        parameters = [self._parameter(name, *PARAMETERS[name]) for name in operation.parameters]
        rendered: Json = {"tags": [tag], "description": operation.summary, "operationId": operation.name}
        answers = [JSON, YAML] if operation.answer else ["*/*"]
        answer = {"$ref": REFERENCE[self._form] + operation.answer} if operation.answer else {"type": "string"}
        sent: tuple[str, ...] = (JSON, YAML)
        if operation.body == PATCH:
            # Where it is offered, clients use it.
            sent = tuple(one for one in PATCH_TYPES if not (kind.custom and one == STRATEGIC_PATCH))
        is_required = operation.body not in ("", DELETE_OPTIONS)
        reasons = {200: "OK", 201: "Created", 202: "Accepted", 401: "Unauthorized"}
        responses: Json = {str(code): {"description": reasons[code]} for code in (*operation.codes, 401)}
        if self._form == 3:
            if operation.body:
                schema = {"schema": {"$ref": REFERENCE[3] + operation.body}}
                body: Json = {"content": dict.fromkeys(sent if is_required else ("*/*",), schema)}
                rendered["requestBody"] = body | ({"required": True} if is_required else {})
            for code in operation.codes:
                responses[str(code)]["content"] = {key: {"schema": answer} for key in answers}
        else:
            rendered |= {
                "consumes": list(sent) if operation.body else ["*/*"],
                "produces": answers,
                "schemes": ["https"],
            }
            if operation.body:
                body = {"name": "body", "in": "body", "schema": {"$ref": REFERENCE[2] + operation.body}}
                parameters.insert(0, body | ({"required": True} if is_required else {}))
            for code in operation.codes:
                responses[str(code)]["schema"] = answer
        if parameters:
            rendered["parameters"] = parameters
        rendered["responses"] = responses
        rendered["x-kubernetes-action"] = operation.action
        rendered["x-kubernetes-group-version-kind"] = {
            "group": operation.group or (kind.group if not operation.kind else ""),
            "version": operation.version or kind.version,
            "kind": operation.kind or kind.name,
        }
        return rendered

    def _parameter(self, name: str, type_: str, meaning: str, *, where: str = "query") -> Json:
        shape = {"type": type_, "uniqueItems": True}
        fields = {"schema": shape} if self._form == 3 else shape
        return {"name": name, "in": where, "description": meaning, **fields}


class TypeNames(NamedTuple):
    """The names of types in the document: `kinds` by group, version and kind."""

    kinds: dict[tuple[str, str, str], str]

    def of(self, group: str, version: str, kind: str) -> str:
        return self.kinds[group, version, kind]

    def of_kind(self, kind: Kind) -> str:
        return self.of(kind.group, kind.version, kind.name)

    def of_list(self, kind: Kind) -> str:
        return self.of(kind.group, kind.version, kind.list_name)


def _group_word(group: str) -> str:
    """The group as tags write it: `apps`, `rbacAuthorization`, `core`."""
    first, *rest = (group.removesuffix(".k8s.io") or "core").split(".")
    return first + "".join(word.capitalize() for word in rest)


def _stem(resource: Resource) -> str:
    """The middle of an operationId: `AppsV1`, `RbacAuthorizationV1`."""
    word = _group_word(resource.group)
    return f"{word[:1].upper()}{word[1:]}{resource.version.capitalize()}"


def _scoped(kind: Kind) -> str:
    return f"Namespaced{kind.name}" if kind.namespaced else kind.name


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
