"""What a URL asks for: verb, kind, namespace, name and subresource, found by splitting the path."""

from collections.abc import Mapping
from typing import NamedTuple

from kobune.api.catalogue import Catalogue, Kind

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
    """Reads URLs by the kinds being served."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

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
        kind = self._catalogue.find(group, version, plural)
        if kind is not None and not kind.namespaced and plural != "namespaces":
            namespace = ""
        return RequestInfo(verb, group, version, plural, namespace, name, subresource, rest, kind)
