"""Managed clusters saved, put back and forked, with each engine; none of them runs."""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from kobune.aks.clusters import Cluster, NodePool, check_cluster
from kobune.aks.instances import Instance, Instances, MachineState
from kobune.api.errors import Invalid
from kobune.controlplane.store.contract import Store
from kobune.controlplane.store.encoding import encode
from kobune.host import etcd_members, snapshots
from kobune.host.instances import read_instances, write_instances
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.spec import Spec, read_spec, write_spec
from kobune.host.stores import open_store, store_flags

NOW = datetime.now(UTC)  # Real members judge the certificates by their own clock.
ENCRYPTION = """
kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
  - resources: [secrets]
    providers:
      - aesgcm: {keys: [{name: one, secret: %s}]}
"""
SECRET = "/registry/secrets/default/token"
MAP = "/registry/configmaps/default/a"
LEADER = "/registry/leases/kube-system/kube-scheduler"
TOKEN = {
    "kind": "Secret", "apiVersion": "v1", "metadata": {"name": "token", "namespace": "default"},
    "type": "kubernetes.io/service-account-token", "data": {"token": "c2lnbmVk", "ca.crt": "b2xk", "namespace": "ZA=="},
}  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.etcd)])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch):
    """A stopped cluster, and its spec."""
    # Away from the ports of the machine's own clusters.
    monkeypatch.setattr(etcd_members, "FIRST_PORT", unused_tcp_port)
    monkeypatch.setattr(etcd_members, "LAST_PORT", unused_tcp_port + 200)
    layout = Layout(tmp_path).cluster("kobune")
    layout.root.mkdir(parents=True)
    pools = (NodePool("real", 1, "Standard_DS2_v2", 30), NodePool("many", 2, simulated=True))
    spec = Spec(check_cluster(Cluster("kobune", "1.36", pools)), 6443, store=request.param, running=False)
    write_spec(layout, spec)
    return layout, spec


class Opened:
    """The store of a stopped cluster, as its API server would see it."""

    def __init__(self, cluster: ClusterLayout, spec: Spec) -> None:
        self._cluster, self._spec = cluster, spec

    async def __aenter__(self) -> Store:
        self._members = etcd_members.reachable(self._cluster, self._spec, NOW) if self._spec.store == "etcd" else None
        if self._members is not None:
            await self._members.__aenter__()
        self._store = await open_store(store_flags(self._cluster, self._spec))
        return self._store

    async def __aexit__(self, *exception: object) -> None:
        await self._store.close()
        if self._members is not None:
            await self._members.__aexit__(None, None, None)


async def put(cluster: ClusterLayout, spec: Spec, **values: bytes) -> int:
    async with Opened(cluster, spec) as store:
        for name, value in values.items():
            await store.write(f"/registry/configmaps/default/{name}", value, expected=None)
        return await store.revision()


async def stored(cluster: ClusterLayout, spec: Spec) -> dict[str, bytes]:
    async with Opened(cluster, spec) as store:
        return {entry.key: entry.value for entry in (await store.list("")).entries}


async def test_a_cluster_is_put_back_and_what_it_had_is_kept(cluster, tmp_path):
    layout, spec = cluster
    await put(layout, spec, a=b"first")
    saved = await snapshots.save(layout, spec, tmp_path / "snapshot", NOW)
    assert saved.objects == 1
    before = await put(layout, spec, a=b"second", b=b"third")
    _, kept = await snapshots.restore(layout, spec, tmp_path / "snapshot", NOW)
    assert await stored(layout, spec) == {MAP: b"first"}
    # Whoever saw the states in between must not take the one put back for an older one.
    assert await put(layout, spec) > before
    assert kept is not None
    assert kept.exists()


async def test_a_snapshot_of_one_engine_is_restored_by_the_other(cluster, tmp_path):
    layout, spec = cluster
    await put(layout, spec, a=b"first")
    await snapshots.save(layout, spec, tmp_path / "snapshot", NOW)
    other = Layout(tmp_path).cluster("other")
    other.root.mkdir()
    changed = Spec(spec.cluster, 6444, store="sqlite" if spec.store == "etcd" else "etcd", running=False)
    await snapshots.restore(other, changed, tmp_path / "snapshot", NOW)
    assert await stored(other, changed) == {MAP: b"first"}


def machine(pool: str, number: int, *, simulated: bool) -> Instance:
    return Instance(
        f"aks-{pool}-vmss{number:06}", pool, number, number, "1.36.1", "image", "Standard_DS2_v2", "", simulated,
        MachineState.RUNNING, since=0.0, born=0.0,
    )  # fmt: skip


async def test_a_fork_has_the_objects_and_none_of_the_credentials(cluster, tmp_path):
    layout, spec = cluster
    layout.pki.mkdir()
    layout.encryption.write_text(ENCRYPTION % base64.b64encode(bytes(32)).decode())
    async with Opened(layout, spec) as store:
        await store.write(MAP, b"first", expected=0)
        await store.write(SECRET, encode(TOKEN), expected=0)
        await store.write(LEADER, b'{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{}}', expected=0)
    pools = {pool.name: pool for pool in spec.cluster.pools}
    machines = tuple(
        machine(name, number, simulated=pool.simulated) for name, pool in pools.items() for number in range(pool.count)
    )
    write_instances(layout, Instances(machines, pools))
    new = Layout(tmp_path).cluster("copy")
    await snapshots.fork(layout, spec, new, file=None, api_port=6445, slot=1, now=NOW)
    forked = read_spec(new)
    assert forked is not None
    assert (forked.cluster.name, forked.api_port, forked.running) == ("copy", 6445, False)
    assert [pool.simulated for pool in forked.cluster.pools] == [True, True]
    assert read_instances(new).machines == tuple(replace(one, simulated=True) for one in machines)
    found = await stored(new, forked)
    assert set(found) == {MAP, SECRET}
    assert orjson.loads(found[SECRET])["data"] == {"namespace": "ZA=="}
    # The cluster that was forked is as it was, and no key of it but those of the store is in the fork.
    assert orjson.loads((await stored(layout, spec))[SECRET])["data"] == TOKEN["data"]
    assert not (new.pki / "ca.key").exists()
    assert not (new.root / "fork.snapshot").exists()


async def test_what_cannot_be_forked_leaves_nothing(cluster, tmp_path):
    layout, spec = cluster
    new = Layout(tmp_path).cluster("copy")
    with pytest.raises(FileNotFoundError):
        await snapshots.fork(layout, spec, new, file=tmp_path / "missing", api_port=6445, slot=1, now=NOW)
    bad = Layout(tmp_path).cluster("no spaces")
    with pytest.raises(Invalid):
        await snapshots.fork(layout, spec, bad, file=None, api_port=6445, slot=1, now=NOW)
    assert Layout(tmp_path).cluster_names() == ["kobune"]
    assert not new.root.exists()


async def test_nothing_is_lost_when_the_snapshot_is_damaged(cluster, tmp_path):
    layout, spec = cluster
    await put(layout, spec, a=b"first")
    (tmp_path / "letter").write_text("no snapshot")
    with pytest.raises(Exception, match="letter"):
        await snapshots.restore(layout, spec, tmp_path / "letter", NOW)
    assert await stored(layout, spec) == {MAP: b"first"}
