"""From the clusters' log files to the tables: what diagnostic settings ask for, read as it is written."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import orjson

from kobune.aks.arm.kql import render_time
from kobune.aks.arm.log_store import LogStore
from kobune.api.errors import Json

AUDIT, AUDIT_ADMIN = "kube-audit", "kube-audit-admin"
# The categories of AKS's resource logs, and those that there are files of.
CATEGORIES = ("kube-apiserver", AUDIT, AUDIT_ADMIN, "kube-controller-manager", "kube-scheduler", "cluster-autoscaler",
              "cloud-controller-manager", "guard")  # fmt: skip
READ_AT_ONCE = 1024 * 1024  # Bytes of one file in one look.
TOO_BIG = "skipped-too-big-size-object"
BIG = 64 * 1024  # Of a request's or an answer's object; bigger ones are left out, as AKS does it.
_FIELDS = frozenset({"time", "level", "category", "message"})


def read_new(store: LogStore, logs: Path, categories: frozenset[str], labels: Mapping[str, str]) -> bool:
    """Take in what a cluster has logged since the last look; whether there may be more.

    Args:
        logs: the cluster's folder of log files. `labels`: the columns that all its records share.
    """
    more = False
    for path in sorted(logs.glob("*.log")):
        wanted = _tables(path.name, categories)
        if wanted:
            more = _read(store, path, wanted, labels) or more
    return more


def control_plane_row(line: bytes, pod: str) -> Json:
    """A record of a component's log as a row of AKSControlPlane."""
    record: Json = orjson.loads(line)
    extra = " ".join(f"{name}={value}" for name, value in record.items() if name not in _FIELDS)
    return {
        "TimeGenerated": _time(record["time"]),
        "Category": record["category"],
        "Level": record["level"].upper(),
        "Message": f"{record['message']} {extra}".rstrip(),
        "PodName": pod,
        "Stream": "stderr",
        "Type": "AKSControlPlane",
    }


def audit_row(line: bytes, pod: str, table: str) -> Json:
    """An audit event as a row of AKSAudit or AKSAuditAdmin."""
    event: Json = orjson.loads(line)
    return {
        "TimeGenerated": _time(event["stageTimestamp"]),
        "Level": event["level"],
        "AuditId": event["auditID"],
        "Stage": event["stage"],
        "StageReceivedTime": _time(event["stageTimestamp"]),
        "RequestReceivedTime": _time(event["requestReceivedTimestamp"]),
        "RequestUri": event["requestURI"],
        "Verb": event["verb"],
        "User": event.get("user"),
        "SourceIps": event.get("sourceIPs"),
        "UserAgent": event.get("userAgent", ""),
        "ObjectRef": event.get("objectRef"),
        "RequestObject": _bounded(event.get("requestObject")),
        "ResponseObject": _bounded(event.get("responseObject")),
        "ResponseStatus": event.get("responseStatus"),
        "Annotations": event.get("annotations"),
        "PodName": pod,
        "Type": table,
    }


def _tables(file: str, categories: frozenset[str]) -> tuple[str, ...]:
    """The tables that a file's records go to. The file's name ends with the category; its process may stand before it."""
    if file.endswith(f"{AUDIT}.log"):
        tables = ("AKSAudit", AUDIT), ("AKSAuditAdmin", AUDIT_ADMIN)
        return tuple(table for table, category in tables if category in categories)
    known = any(file.endswith(f"{category}.log") for category in categories if category not in (AUDIT, AUDIT_ADMIN))
    return ("AKSControlPlane",) if known else ()


def _read(store: LogStore, path: Path, tables: tuple[str, ...], labels: Mapping[str, str]) -> bool:
    try:
        with path.open("rb") as file:
            inode = path.stat().st_ino
            before, offset = store.offset(str(path))
            file.seek(offset if inode == before else 0)  # Another inode: the file was rotated.
            start = file.tell()
            data = file.read(READ_AT_ONCE)
    except FileNotFoundError:
        return False
    whole = data[: data.rfind(b"\n") + 1]
    if not whole:
        return False
    store.add(_rows(whole, path.stem, tables, labels), file=str(path), inode=inode, offset=start + len(whole))
    return len(data) == READ_AT_ONCE


def _rows(data: bytes, pod: str, tables: tuple[str, ...], labels: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    for line in data.splitlines():
        for table in tables:
            try:
                row = control_plane_row(line, pod) if table == "AKSControlPlane" else audit_row(line, pod, table)
            except (orjson.JSONDecodeError, KeyError, ValueError):
                continue  # A line that was cut short when its process was killed.
            if table != "AKSAuditAdmin" or row["Verb"] not in ("get", "list", "watch"):
                yield table, row | dict(labels)


def _time(text: str) -> str:
    return render_time(datetime.fromisoformat(text.replace("Z", "+00:00")))


def _bounded(document: object) -> object:
    return TOO_BIG if document is not None and len(orjson.dumps(document)) > BIG else document
