"""meta.k8s.io/v1 Table and PartialObjectMetadata: what clients show instead of whole objects."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.controlplane.apiserver.tables import cluster, extensions, network, pods, storage, usage, workloads
from kobune.controlplane.apiserver.tables.columns import CREATED_AT, NAME, GroupKind, Printer, name_of
from kobune.controlplane.apiserver.tables.custom import custom_printer

_META = "meta.k8s.io/v1"
_PRINTERS: Mapping[GroupKind, Printer] = {
    **pods.PRINTERS,
    **workloads.PRINTERS,
    **cluster.PRINTERS,
    **network.PRINTERS,
    **storage.PRINTERS,
    **extensions.PRINTERS,
    **usage.PRINTERS,
}


def _plain_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp")]


# Built-in kinds without columns of their own show when they were created, not how long ago.
_PLAIN = Printer((NAME, CREATED_AT), _plain_cells)
_CUSTOM = custom_printer(None)


def find_printer(kind: Kind) -> Printer:
    """The columns of a built-in kind, or of a custom one whose definition names none."""
    if kind.custom:
        return _CUSTOM
    return _PRINTERS.get((kind.group, kind.name), _PLAIN)


def render_table(
    printer: Printer,
    objects: Iterable[Json],
    *,
    now: datetime,
    include: str = "Metadata",
    metadata: Json | None = None,
    headers: bool = True,
) -> Json:
    """The Table of these objects, one row each.

    Args:
        printer: of `find_printer` or `custom_printer`.
        include: what each row carries: "Metadata", "Object" or "None", as in the includeObject parameter.
        metadata: the list's own (resourceVersion, continue, remainingItemCount); a single object's resourceVersion.
        headers: whether the columns are described; in a watch only the first table does.
    """
    rows = [_row(printer, obj, now, include) for obj in _ordered(printer, objects)]
    table: Json = {"kind": "Table", "apiVersion": _META, "metadata": metadata or {}}
    table["columnDefinitions"] = [column.definition() for column in printer.columns] if headers else None
    table["rows"] = rows
    return table


def partial(obj: Json) -> Json:
    """An object's PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": obj["metadata"]}


def partial_list(objects: Iterable[Json], *, metadata: Json) -> Json:
    """The PartialObjectMetadataList of these objects; `metadata` is the list's own."""
    items = [partial(obj) for obj in objects]
    return {"kind": "PartialObjectMetadataList", "apiVersion": _META, "metadata": metadata, "items": items}


def _ordered(printer: Printer, objects: Iterable[Json]) -> Iterable[Json]:
    return objects if printer.order is None else sorted(objects, key=printer.order)


def _row(printer: Printer, obj: Json, now: datetime, include: str) -> Json:
    row: Json = {"cells": printer.cells(obj, now)}
    if obj.get("kind") == "Pod" and (conditions := pods.pod_conditions(obj)):
        row["conditions"] = conditions
    match include:
        case "Object":
            row["object"] = obj
        case "None":
            row["object"] = None
        case _:
            row["object"] = partial(obj)
    return row
