"""What a URL asks for: verb, kind, namespace, name and subresource, found by splitting the path."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kobune.api.catalogue import Kind

NAMESPACE_SUBRESOURCES = ("status", "finalize")
VERB_OF_COLLECTION = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}
VERB_OF_OBJECT = {
    "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create",
}  # fmt: skip
TRUE = ("1", "true", "True", "TRUE", "t", "T", "")


class RequestInfo(NamedTuple):
    """A request for a resource. `kind` is None when the URL has the form of one that is not served."""

    verb: str
    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""  # What follows the subresource, as in `proxy/index.html`.
    kind: Kind | None = None


class Routes:
    """The kinds being served, by group, version and plural; definitions come and go while the server runs."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds: dict[tuple[str, str], dict[str, Kind]] = {}
        self._names: dict[tuple[str, str, str], Kind] = {}
        self.generation = 0  # Counts changes, so that what is derived from the kinds can be cached.
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        self._kinds.setdefault((kind.group, kind.version), {})[kind.plural] = kind
        self._names[kind.group, kind.version, kind.name] = kind
        self.generation += 1

    def remove(self, kind: Kind) -> None:
        of_version = self._kinds.get((kind.group, kind.version), {})
        of_version.pop(kind.plural, None)
        if not of_version:
            self._kinds.pop((kind.group, kind.version), None)
        self._names.pop((kind.group, kind.version, kind.name), None)
        self.generation += 1

    def kinds(self) -> list[Kind]:
        return [kind for of_version in self._kinds.values() for kind in of_version.values()]

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        of_version = self._kinds.get((group, version))
        return of_version.get(plural) if of_version else None

    def find_kind(self, group: str, version: str, name: str) -> Kind | None:
        return self._names.get((group, version, name))

    def parse(self, method: str, path: str, query: Mapping[str, str]) -> RequestInfo | None:
        """The resource request in a URL, or None when the path is not under a group's version.

        Source: upstream RequestInfoFactory.NewRequestInfo.
        """
        parts = path.split("/")
        if len(parts) < 4 or parts[0]:
            return None
        if parts[1] == "api":
            group, version, parts = "", parts[2], parts[3:]
        elif parts[1] == "apis" and len(parts) > 4:
            group, version, parts = parts[2], parts[3], parts[4:]
        else:
            return None
        if parts and not parts[-1]:
            parts.pop()
        if not parts:
            return None
        watching = False
        if parts[0] == "watch" and len(parts) > 1:  # The old form of a watch.
            watching = True
            parts = parts[1:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 1:
            namespace = parts[1]
            if len(parts) > 2 and parts[2] not in NAMESPACE_SUBRESOURCES:
                parts = parts[2:]
        count = len(parts)
        plural = parts[0]
        name = parts[1] if count > 1 else ""
        subresource = parts[2] if count > 2 else ""
        rest = "/".join(parts[3:]) if count > 3 else ""
        if name:
            verb = VERB_OF_OBJECT.get(method, "")
        else:
            verb = VERB_OF_COLLECTION.get(method, "")
        if method == "GET" and not subresource and (watching or ("watch" in query and query["watch"] in TRUE)):
            verb = "watch"
        kind = self.find(group, version, plural)
        if kind is not None and not kind.namespaced and plural != "namespaces":
            namespace = ""
        return RequestInfo(verb, group, version, plural, namespace, name, subresource, rest, kind)
