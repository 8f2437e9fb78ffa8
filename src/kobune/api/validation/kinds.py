"""Which rules a kind has. Each subject's module has a table RULES from kind, or "version/kind", to its `Rules`."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import NamedTuple

from kobune.api import names
from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.names import Check
from kobune.api.validation.checks import Errors

Create = Callable[[Json, Errors], None]
Update = Callable[[Json, Json, Errors], None]  # New, old.


def subdomain_name(obj: Json) -> Check:
    return names.is_dns1123_subdomain


def label_name(obj: Json) -> Check:
    return names.is_dns1123_label


def path_name(obj: Json) -> Check:
    return names.is_path_segment_name


class Rules(NamedTuple):
    """`create` checks a new object beyond its metadata; `update` a changed one, in place of `create` when there is one."""

    create: Create | None = None
    update: Update | None = None
    subresources: Mapping[str, Update] = {}
    name: Callable[[Json], Check] = subdomain_name
    metadata: bool = True  # False for kinds that are asked, not kept.


MODULES = {
    "": "core",
    "admissionregistration.k8s.io": "admissionregistration",
    "apiextensions.k8s.io": "apiextensions",
    "apiregistration.k8s.io": "apiregistration",
    "apps": "apps",
    "authentication.k8s.io": "reviews",
    "authorization.k8s.io": "reviews",
    "autoscaling": "autoscaling",
    "batch": "batch",
    "certificates.k8s.io": "certificates",
    "coordination.k8s.io": "coordination",
    "discovery.k8s.io": "discovery",
    "events.k8s.io": "events",
    "flowcontrol.apiserver.k8s.io": "flowcontrol",
    "networking.k8s.io": "networking",
    "node.k8s.io": "runtimeclasses",
    "policy": "policy",
    "rbac.authorization.k8s.io": "rbac",
    "resource.k8s.io": "resource",
    "scheduling.k8s.io": "scheduling",
    "storage.k8s.io": "storage",
    "storagemigration.k8s.io": "storageversions",
}
PLAIN = Rules()


def rules_of(kind: Kind) -> Rules:
    return _rules(kind.group, kind.version, kind.name)


@cache
def _rules(group: str, version: str, name: str) -> Rules:
    module = MODULES.get(group)
    if module is None:
        return PLAIN
    table: Mapping[str, Rules] = import_module(f"kobune.api.validation.{module}").RULES
    return table.get(f"{version}/{name}") or table.get(name) or PLAIN
