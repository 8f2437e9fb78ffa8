"""What a row of the catalogue says of a kind, and what follows from it: paths, storage keys, names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CHANGE = ("get", "patch", "update")
PROXY = ("create", "delete", "get", "patch", "update")


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
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        path = (
            f"{path}/namespaces/{namespace}/{self.plural}" if namespace and self.namespaced else f"{path}/{self.plural}"
        )
        if name:
            path = f"{path}/{name}"
        return f"{path}/{subresource}" if subresource else path


class Subresource(NamedTuple):
    """A part of an object with a URL of its own."""

    name: str
    verbs: tuple[str, ...]
    kind: str = ""  # Of the body; empty: the object's own kind.
    group: str = ""  # Of the body's kind, with `version`; empty: the object's own group and version.
    version: str = ""
    since: str = "1.25"  # The first cluster version that serves it by default.


# What each name stands for, on whichever kind it is; a proxy's options are of a kind of their own on each.
SUBRESOURCES: Mapping[str, Subresource] = {
    row.name: row
    for row in (
        Subresource("approval", CHANGE),
        Subresource("attach", ("create", "get"), "PodAttachOptions"),
        Subresource("binding", ("create",), "Binding"),
        Subresource("ephemeralcontainers", CHANGE),
        Subresource("eviction", ("create",), "Eviction", "policy", "v1"),
        Subresource("exec", ("create", "get"), "PodExecOptions"),
        Subresource("finalize", ("update",)),
        Subresource("log", ("get",)),
        Subresource("portforward", ("create", "get"), "PodPortForwardOptions"),
        Subresource("proxy", PROXY),
        Subresource("resize", CHANGE, since="1.33"),
        Subresource("scale", CHANGE, "Scale", "autoscaling", "v1"),
        Subresource("status", CHANGE),
        Subresource("token", ("create",), "TokenRequest", "authentication.k8s.io", "v1"),
    )
}


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
    gate: str = ""  # The feature gate that it hangs on (`features.py`); empty: none.
    storage: str = ""  # Folder under /registry; empty: the plural. Versions of one kind share it.
    selectable: tuple[str, ...] = ()  # Field selectors beyond metadata.name and metadata.namespace.
    answers_deleted: bool = False  # A DELETE answers with the object, not with a Status.
    stored: str = ""  # The apiVersion it is stored in, where that is another.
    custom: bool = False  # From a CustomResourceDefinition.
    given_singular: str = ""  # Where it is not the name in lower case.
    given_list: str = ""  # The list's kind, where it is not the name with "List".
    # What follows from the above, made once: every request asks.
    resource: Resource = field(init=False, repr=False, compare=False)
    api_version: str = field(init=False, repr=False, compare=False)
    prefix: str = field(init=False, repr=False, compare=False)  # Of the keys its objects are stored under.

    def __post_init__(self) -> None:
        resource = Resource(self.group, self.version, self.plural, self.namespaced)
        object.__setattr__(self, "resource", resource)
        object.__setattr__(self, "api_version", resource.api_version)
        object.__setattr__(self, "prefix", f"/registry/{self.storage or self.plural}/")

    def __hash__(self) -> int:
        return hash((self.group, self.version, self.plural))

    @property
    def singular(self) -> str:
        return self.given_singular or self.name.lower()

    @property
    def list_name(self) -> str:
        """The kind of a list of these."""
        return self.given_list or f"{self.name}List"

    @property
    def is_kept(self) -> bool:
        """Whether its objects are stored; other kinds are answered on the spot."""
        return "watch" in self.verbs

    def key(self, namespace: str, name: str) -> str:
        """The storage key of one object, laid out as upstream does."""
        return f"{self.prefix}{namespace}/{name}" if self.namespaced else f"{self.prefix}{name}"

    def subresource(self, name: str) -> Subresource | None:
        """What a subresource of this kind is, if there is one of that name."""
        if name not in self.subresources:
            return None
        row = SUBRESOURCES[name]
        return row._replace(kind=f"{self.name}ProxyOptions") if name == "proxy" else row
