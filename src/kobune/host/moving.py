"""A cluster's state on its way from one engine to another, when its tier changes.

One file decides where the state is. Before there is a snapshot, the engine that had it has it still; from then on the
snapshot has it, until the other engine does and the snapshot is renamed. Whoever is killed in between begins that part anew.
"""

import logging
import os
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from kobune.controlplane.store import snapshot
from kobune.host.etcd_members import ONE, REDUNDANT, members, reachable
from kobune.host.layout import ClusterLayout
from kobune.host.pki import write_private
from kobune.host.snapshots import save
from kobune.host.spec import Spec

log = logging.getLogger(__name__)

SQLITE, ETCD = "sqlite", "etcd"


def holder(cluster: ClusterLayout) -> str:
    """The engine that has the cluster's state; "" before anything was stored."""
    return ETCD if cluster.etcd_members.exists() else SQLITE if cluster.store.exists() else ""


def is_due(cluster: ClusterLayout, spec: Spec) -> bool:
    """Whether the state is not where the spec wants it, or is on its way."""
    if cluster.moving.exists():
        return True
    found = holder(cluster)
    if found in ("", spec.store):
        return found == ETCD and len(members(cluster, spec)) < (REDUNDANT if spec.is_redundant else ONE)
    return True


async def leave(cluster: ClusterLayout, spec: Spec, now: datetime) -> None:
    """Save what the engine has that had it; no API server runs. Raises what the stores raise."""
    if cluster.moving.exists():
        return
    found = await save(cluster, replace(spec, store=holder(cluster)), cluster.moving, now)
    log.info("state saved", extra={"cluster": cluster.name, "objects": found.objects, "revision": found.revision})


def prepare(cluster: ClusterLayout, spec: Spec) -> None:
    """Make room for the engine that the spec wants; nothing runs. What an earlier attempt left goes."""
    shutil.rmtree(cluster.etcd, ignore_errors=True)
    for end in ("-wal", "-shm", ""):
        Path(f"{cluster.store}{end}").unlink(missing_ok=True)
    if spec.store == ETCD:
        # Its own revisions begin at 1: nobody is to take an old state for a newer one.
        write_private(cluster.etcd_begins_after, str(snapshot.describe(cluster.moving).revision).encode())
        members(cluster, spec)


async def arrive(cluster: ClusterLayout, spec: Spec, now: datetime) -> None:
    """Give the state to the engine that the spec wants. Raises what the stores raise."""
    if spec.store == ETCD:
        async with reachable(cluster, spec, now) as store:
            found = await snapshot.restore(cluster.moving, store)
    else:
        found = snapshot.restore_file(cluster.moving, cluster.store)
    os.rename(cluster.moving, cluster.root / f"store.{now:%Y%m%dT%H%M%SZ}.snapshot")
    log.info("state moved", extra={"cluster": cluster.name, "engine": spec.store, "objects": found.objects})
