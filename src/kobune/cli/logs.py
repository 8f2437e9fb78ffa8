"""`kobune logs`: what a component of the cluster logged; the way to look into a control plane one cannot log into."""

import contextlib
import heapq
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer

from kobune.cli.output import Output, fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
FOLLOW_SECONDS = 0.2
AUDIT, AUDIT_ADMIN, READS = "kube-audit", "kube-audit-admin", ("get", "list", "watch")


def command(
    category: Annotated[str, typer.Argument(metavar="CATEGORY", help="For example kube-apiserver or kube-scheduler.")],
    *,
    since: Annotated[str, typer.Option(help="Only records younger than this: 30s, 5m, 2h, 1d.")] = "",
    contains: Annotated[str, typer.Option("--grep", metavar="TEXT", help="Only records that contain this text.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as records come.")] = False,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
    output: Annotated[Output, typer.Option("-o", "--output")] = Output.TEXT,
) -> None:
    """What a component logged. Each record of -o json is one line."""
    found, _ = existing_cluster(layout_of(state_dir), cluster)
    # The administrators' part of the audit log is no file of its own.
    writes_only, category = category == AUDIT_ADMIN, AUDIT if category == AUDIT_ADMIN else category
    files = sorted(found.logs.glob(f"*{category}.log"))
    if not files and not follow:
        known = sorted({path.stem for path in found.logs.glob("*.log")})
        fail(f"nothing was logged under {category!r}; there is {', '.join(known) or 'nothing yet'}")
    oldest = (datetime.now(UTC) - _duration(since)).isoformat() if since else ""
    for line in _lines(files, follow=follow):
        if contains and contains not in line:
            continue
        record = orjson.loads(line)
        if _time(record) < oldest or (writes_only and record["verb"] in READS):
            continue
        typer.echo(line.rstrip("\n") if output is Output.JSON else _text(record))


def _time(record: dict[str, str]) -> str:
    """When it was written; audit events have a name of their own for that."""
    return record.get("time") or record["stageTimestamp"].replace("Z", "+00:00")


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if not found:
        fail(f"--since {text}: a number and a unit, as in 30s, 5m, 2h or 1d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _lines(files: list[Path], *, follow: bool) -> Iterator[str]:
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        open_files = [stack.enter_context(open(path)) for path in files]
        while True:
            some = False
            # A line begins with its time, so lines of several processes come in its order.
            for line in heapq.merge(*open_files):
                some = True
                yield line
            if not follow:
                return
            if not some:
                time.sleep(FOLLOW_SECONDS)


def _text(record: dict[str, object]) -> str:
    if "auditID" in record:
        user = record["user"]
        assert isinstance(user, dict)
        return f"{record['stageTimestamp']} {record['stage']} {record['verb']} {record['requestURI']} by {user['username']}"
    fields = {name: value for name, value in record.items() if name not in ("time", "level", "category", "message")}
    details = " ".join(f"{name}={value}" for name, value in fields.items())
    return f"{record['time']} {str(record['level']).upper():7} {record['message']} {details}".rstrip()
