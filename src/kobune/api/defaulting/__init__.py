"""The values that an object gets where its author said nothing, exactly upstream's. One module per API group.

Source: upstream pkg/apis/*/v*/defaults.go and the `+default` markers of the types. Defaults run on every write.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module

from kobune.api.catalogue import Kind
from kobune.api.errors import Json

Default = Callable[[Json], None]

# The module that knows a group's defaults; each has a table DEFAULTS from kind, or "version/kind", to function.
MODULES = {
    "": "core",
    "admissionregistration.k8s.io": "admissionregistration",
    "apiextensions.k8s.io": "apiextensions",
    "apiregistration.k8s.io": "apiextensions",
    "apps": "apps",
    "autoscaling": "autoscaling",
    "batch": "batch",
    "discovery.k8s.io": "networking",
    "authentication.k8s.io": "authentication",
    "flowcontrol.apiserver.k8s.io": "flowcontrol",
    "networking.k8s.io": "networking",
    "rbac.authorization.k8s.io": "rbac",
    "resource.k8s.io": "resource",
    "scheduling.k8s.io": "scheduling",
    "storage.k8s.io": "storage",
}


def apply_defaults(kind: Kind, obj: Json) -> None:
    """Fill in, in place, what a decoded object of a built-in kind leaves out. Nulls count as left out only if decoding
    has dropped them. Defaulting twice changes nothing more."""
    default = _default_of(kind.group, kind.version, kind.name)
    if default is not None:
        default(obj)


@cache
def _default_of(group: str, version: str, name: str) -> Default | None:
    module = MODULES.get(group)
    if module is None:
        return None
    table: Mapping[str, Default] = import_module(f"kobune.api.defaulting.{module}").DEFAULTS
    return table.get(f"{version}/{name}") or table.get(name)
