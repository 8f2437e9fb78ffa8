"""A managed cluster's objects in one file, and back, whichever engine keeps them; and a cluster made from another one."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import orjson

from kobune.aks.clusters import check_cluster
from kobune.api.errors import Json
from kobune.controlplane.store import snapshot
from kobune.controlplane.store.contract import Store
from kobune.controlplane.store.encoding import encode
from kobune.controlplane.store.snapshot import Snapshot
from kobune.controlplane.store.sqlite_log import lock
from kobune.host.instances import read_instances, write_instances
from kobune.host.layout import ClusterLayout
from kobune.host.pki import write_private
from kobune.host.processes import find_running
from kobune.host.spec import Spec, new_wish, write_spec
from kobune.host.stores import open_store, store_flags

SECRETS = "/registry/secrets/"
ELECTIONS = "/registry/leases/kube-system/"
TOKEN_TYPE = "kubernetes.io/service-account-token"
PAGE = 500


class StillRuns(Exception):
    """The cluster's processes have its store open."""


async def save(cluster: ClusterLayout, spec: Spec, file: Path, now: datetime) -> Snapshot:
    """Save everything that the cluster has stored, whether it runs or not.

    Raises:
        FileExistsError, FileNotFoundError: there is something at `file`; nothing was stored yet.
        Damaged, Full, Unavailable: what the store raises.
    """
    if spec.store != "etcd":
        return snapshot.save_file(cluster.store, file)
    from kobune.host.etcd_members import reachable

    async with reachable(cluster, spec, now) as store:
        return await snapshot.save(store, file)


async def restore(cluster: ClusterLayout, spec: Spec, file: Path, now: datetime) -> tuple[Snapshot, Path | None]:
    """Put a stopped cluster back; the snapshot's facts, and where what the cluster had is kept.

    Raises:
        StillRuns; FileNotFoundError; Damaged, Full, Unavailable: what the store raises.
    """
    if spec.store == "etcd":
        return await _restore_etcd(cluster, spec, file, now)
    # Nobody may open the store between the two renames.
    with lock(cluster.store):
        restored_path = cluster.store.with_name(f"{cluster.store.name}.restored")
        restored_path.unlink(missing_ok=True)
        restored = snapshot.restore_file(file, restored_path)
        kept = _set_aside(cluster.store, now) if cluster.store.exists() else None
        os.rename(restored_path, cluster.store)
    return restored, kept


async def fork(
    source: ClusterLayout, spec: Spec, new: ClusterLayout, *, file: Path | None, api_port: int, slot: int, now: datetime
) -> Snapshot:
    """Make a new cluster, not yet running, of the same objects: those of a snapshot of `source`, or those it has now.

    Its authority and all credentials are its own. Its nodes have the names that they have in `source`, and are simulated:
    pods that ran go on without containers.

    Raises:
        Invalid: the new cluster's name; FileNotFoundError; Damaged, Full, Unavailable: what the stores raise.
    """
    pools = tuple(replace(pool, simulated=True) for pool in spec.cluster.pools)
    managed = check_cluster(replace(spec.cluster, name=new.name, pools=pools))
    forked = replace(spec, cluster=managed, api_port=api_port, slot=slot, running=False, wish=new_wish("create"))
    new.root.mkdir(parents=True, mode=0o700)
    try:
        if source.encryption.exists():
            write_private(new.encryption, source.encryption.read_bytes())
        with contextlib.ExitStack() as stack:
            if file is None:
                file = new.root / "fork.snapshot"
                await save(source, spec, file, now)
                stack.callback(file.unlink)
            async with _filled(new, forked, file, now) as store:
                await _forget_credentials(store)
            found = snapshot.describe(file)
        instances = read_instances(source)
        write_instances(
            new,
            replace(
                instances,
                machines=tuple(replace(machine, simulated=True) for machine in instances.machines),
                pools={name: replace(pool, simulated=True) for name, pool in instances.pools.items()},
                operation=None,
            ),
        )
        write_spec(new, forked)  # Last: from now on there is such a cluster.
    except BaseException:
        shutil.rmtree(new.root)
        raise
    return found


@contextlib.asynccontextmanager
async def _filled(cluster: ClusterLayout, spec: Spec, file: Path, now: datetime) -> AsyncIterator[Store]:
    """The store of a cluster that never ran, with a snapshot's objects, as an API server would see it."""
    async with contextlib.AsyncExitStack() as stack:
        if spec.store == "etcd":
            from kobune.host.etcd_members import reachable

            await snapshot.restore(file, await stack.enter_async_context(reachable(cluster, spec, now)))
        else:
            snapshot.restore_file(file, cluster.store)
        store = await open_store(store_flags(cluster, spec))
        stack.push_async_callback(store.close)
        yield store


async def _forget_credentials(store: Store) -> None:
    """Leave out what the other cluster's keys have signed, and who leads there."""
    async for key, value, revision in _entries(store, ELECTIONS):
        if value:
            await store.delete(key, expected=revision)
    async for key, value, revision in _entries(store, SECRETS):
        secret: Json = orjson.loads(value)
        if secret.get("type") == TOKEN_TYPE:
            data = {name: text for name, text in (secret.get("data") or {}).items() if name not in ("token", "ca.crt")}
            await store.write(key, encode({**secret, "data": data}), expected=revision)


async def _entries(store: Store, prefix: str) -> AsyncIterator[tuple[str, bytes, int]]:
    after = ""
    while True:
        page = await store.list(prefix, after=after, limit=PAGE)
        for entry in page.entries:
            yield entry
        if not page.more:
            return
        after = page.entries[-1].key


async def _restore_etcd(cluster: ClusterLayout, spec: Spec, file: Path, now: datetime) -> tuple[Snapshot, Path | None]:
    """Revisions go on from where they were, so nobody takes an old state for a newer one."""
    from kobune.host.etcd_members import reachable

    snapshot.describe(file)  # Before anything is removed.
    if any(find_running(record) for record in cluster.processes.glob("*.json")):
        raise StillRuns
    kept: Path | None = cluster.root / f"store.{now:%Y%m%dT%H%M%SZ}.snapshot"
    async with reachable(cluster, spec, now) as store:
        if (await store.list("", limit=1)).entries:
            assert kept is not None
            await snapshot.save(store, kept)
            await store.clear()
        else:
            kept = None
        return await snapshot.restore(file, store), kept


def _set_aside(store: Path, now: datetime) -> Path:
    """Rename a closed store, with whatever a crash left beside it."""
    kept = store.with_name(f"{store.name}.{now:%Y%m%dT%H%M%SZ}")
    for end in ("-wal", "-shm", ""):
        part = Path(f"{store}{end}")
        if part.exists():
            os.rename(part, f"{kept}{end}")
    return kept
