"""The catalogue of built-in kinds. Routes, discovery, storage keys, RBAC names and CLI columns all read these rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Resource(NamedTuple):
    """What a URL names: `/apis/GROUP/VERSION[/namespaces/NAMESPACE]/PLURAL`."""

    group: str  # "" is the core group.
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As in `apiVersion:`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of one object's subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        rest = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{rest}"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind in one API version. A CustomResourceDefinition's versions are rows of the same form."""

    group: str  # "" is the core group.
    version: str
    name: str  # As in `kind:`.
    plural: str  # As in URLs.
    short: tuple[str, ...] = ()  # As typed at the command line.
    namespaced: bool = True
    subresources: tuple[str, ...] = ("status",)
    verbs: tuple[str, ...] = VERBS  # ("create",) for kinds that are asked, not kept.
    categories: tuple[str, ...] = ()
    since: str = "1.25"  # The first cluster version that serves it by default.
    until: str = ""  # The first that no longer does; empty: all.
    storage: str = ""  # Folder under /registry; empty: the plural. Versions of one kind share it.
    selectable: tuple[str, ...] = ()  # Field selectors beyond metadata.name and metadata.namespace.
    custom: bool = False  # Defined by a CustomResourceDefinition.

    @property
    def api_version(self) -> str:
        return self.resource.api_version

    @property
    def singular(self) -> str:
        return self.name.lower()

    @property
    def resource(self) -> Resource:
        return Resource(self.group, self.version, self.plural, self.namespaced)

    @property
    def prefix(self) -> str:
        """Where its objects are stored: the prefix of their keys."""
        return f"/registry/{self.storage or self.plural}/"

    def key(self, namespace: str, name: str) -> str:
        """The storage key of one object, laid out as upstream does."""
        return f"{self.prefix}{namespace}/{name}" if self.namespaced else f"{self.prefix}{name}"


KINDS: tuple[Kind, ...] = (
    Kind("", "v1", "Pod", "pods", ("po",), subresources=("status", "log", "exec", "binding", "eviction")),
    Kind("", "v1", "Node", "nodes", ("no",), namespaced=False, storage="minions"),
    Kind("apps", "v1", "ReplicaSet", "replicasets", ("rs",), subresources=("status", "scale")),
)


@cache
def find_builtin(group: str, version: str, name: str) -> Kind | None:
    """The row of a built-in kind, whatever cluster version serves it."""
    return next((kind for kind in KINDS if (kind.group, kind.version, kind.name) == (group, version, name)), None)


def served(kinds: Iterable[Kind], cluster_version: str) -> tuple[Kind, ...]:
    """The rows that a cluster of this version ("1.36") serves."""
    minor = _minor(cluster_version)
    return tuple(
        kind for kind in kinds if _minor(kind.since) <= minor and not (kind.until and _minor(kind.until) <= minor)
    )


def _minor(version: str) -> int:
    return int(version.split(".")[1])
