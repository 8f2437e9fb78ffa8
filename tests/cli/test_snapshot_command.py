"""`kobune snapshot` as a user calls it, on a cluster that was never started."""

import asyncio
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from kobune.aks.clusters import Cluster, NodePool, check_cluster
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.spec import Spec, write_spec


def kobune(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kobune", "snapshot", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def cluster(tmp_path: Path) -> ClusterLayout:
    layout = Layout(tmp_path / "state").cluster("kobune")
    layout.root.mkdir(parents=True)
    pool = NodePool("simulated", 1, "Standard_DS2_v2", 30, mode="System", simulated=True)
    write_spec(layout, Spec(check_cluster(Cluster("kobune", "1.36", (pool,))), 6443, running=False))
    put(layout, "/registry/configmaps/default/a", b"first")
    return layout


def put(cluster: ClusterLayout, key: str, value: bytes) -> None:
    async def write() -> None:
        store = await SqliteStore.open(cluster.store)
        await store.write(key, value, expected=None)
        await store.close()

    asyncio.run(write())


def stored(path: Path) -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        store = await SqliteStore.open(path)
        page = await store.list("")
        await store.close()
        return {entry.key: entry.value for entry in page.entries}

    return asyncio.run(read())


def test_save_and_restore(cluster: ClusterLayout, tmp_path: Path) -> None:
    where = ("--state-dir", tmp_path / "state")
    saved = kobune("save", tmp_path / "snapshot", *where, "-o", "json")
    assert orjson.loads(saved.stdout) == {
        "objects": 1,
        "revision": 1,
        "bytes": (tmp_path / "snapshot").stat().st_size,
    }
    put(cluster, "/registry/configmaps/default/a", b"second")
    put(cluster, "/registry/configmaps/default/b", b"third")
    restored = kobune("restore", tmp_path / "snapshot", *where)
    assert "restored cluster kobune from" in restored.stdout
    assert stored(cluster.store) == {"/registry/configmaps/default/a": b"first"}
    (kept,) = cluster.root.glob("store.db.2*Z")
    assert len(stored(kept)) == 2


def test_what_cannot_be_done_is_said_in_one_sentence(cluster: ClusterLayout, tmp_path: Path) -> None:
    where = ("--state-dir", tmp_path / "state")
    (tmp_path / "letter").write_text("no snapshot")
    for arguments, sentence in (
        (("restore", tmp_path / "missing", *where), "there is no snapshot at"),
        (("restore", tmp_path / "letter", *where), "letter"),
        (("save", tmp_path / "letter", *where), "there is something at"),
        (("save", tmp_path / "no" / "folder", *where), "No such file or directory"),
        (("save", tmp_path / "snapshot", *where, "--cluster", "other"), "there is no cluster 'other'"),
    ):
        found = kobune(*arguments)
        assert found.returncode == 1
        assert found.stderr.startswith("kobune: ")
        assert sentence in found.stderr
        assert len(found.stderr.strip().splitlines()) == 1
    assert stored(cluster.store) == {"/registry/configmaps/default/a": b"first"}


async def test_a_cluster_that_runs_is_not_restored_but_can_be_saved(cluster: ClusterLayout, tmp_path: Path) -> None:
    where = ("--state-dir", tmp_path / "state")
    store = await SqliteStore.open(cluster.store)
    assert (await asyncio.to_thread(kobune, "save", tmp_path / "snapshot", *where)).returncode == 0
    found = await asyncio.to_thread(kobune, "restore", tmp_path / "snapshot", *where)
    assert found.stderr == "kobune: cluster kobune runs; stop it first: kobune down --cluster kobune\n"
    await store.write("/registry/configmaps/default/b", b"", expected=0)
    await store.close()
