"""Volumes, on plain directories."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kobune.node.kubelet.volumes.atomic_writer import File, write_files
from kobune.node.kubelet.volumes.host_path import check_host_path
from kobune.node.kubelet.volumes.mounts import PlainMounter
from kobune.node.kubelet.volumes.subpath import prepare_subpath
from kobune.node.kubelet.volumes.volume import VolumeProblem

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def running(pod):
    return pod["status"].get("phase") == "Running"


def test_files_change_all_at_once(tmp_path):
    assert write_files(tmp_path, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)}, group=None, now=NOW)
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert (tmp_path / "d" / "b").read_bytes() == b"2"
    first = os.readlink(tmp_path / "..data")
    assert write_files(tmp_path, {"a": File(b"3", 0o640)}, group=None, now=NOW)
    assert (tmp_path / "a").read_bytes() == b"3"
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / first).exists()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_nothing_is_written_when_nothing_changed(tmp_path):
    files = {"a": File(b"1", 0o644)}
    write_files(tmp_path, files, group=None, now=NOW)
    before = os.readlink(tmp_path / "..data")
    assert not write_files(tmp_path, files, group=None, now=NOW)
    assert os.readlink(tmp_path / "..data") == before


@pytest.mark.parametrize(
    "kind, make, words",
    [
        ("Directory", None, "is not a directory"),
        ("File", "directory", "is not a file"),
        ("Socket", "file", "is not a socket file"),
    ],
)
def test_host_paths_are_checked(tmp_path, kind, make, words):
    path = tmp_path / "it"
    if make == "directory":
        path.mkdir()
    elif make == "file":
        path.touch()
    with pytest.raises(VolumeProblem, match=f"hostPath type check failed: .* {words}"):
        check_host_path(path, kind)


def test_host_paths_are_made_when_asked_for(tmp_path):
    assert check_host_path(tmp_path / "a" / "b", "DirectoryOrCreate").is_dir()
    assert check_host_path(tmp_path / "f", "FileOrCreate").is_file()


def test_a_sub_path_cannot_leave_its_volume(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "link").symlink_to("/etc")
    for path in ("../x", "/etc", "link", "link/passwd", "a/../../x"):
        with pytest.raises(VolumeProblem):
            prepare_subpath(volume, path, tmp_path / "target", PlainMounter())


def test_a_sub_path_is_made_when_missing(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    assert prepare_subpath(volume, "a/b", tmp_path / "target", PlainMounter()) == volume / "a" / "b"
    assert (volume / "a" / "b").is_dir()


async def make_config_map(world, **data):
    await world.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "settings"}, "data": data})


def mounted(world, name="main"):
    """Host paths by container path, of the container of this name."""
    live = next(live for live in world.runtime._containers.values() if live.spec.name == name)
    return {mount.container_path: mount for mount in live.spec.mounts}


def test_a_config_map_s_keys_are_files_and_follow_it(tell):
    async def story(world):
        await make_config_map(world, a="1", b="2")
        items = [{"key": "a", "path": "x/y", "mode": 0o600}]
        volumes = [{"name": "v", "configMap": {"name": "settings", "items": items}}]
        main = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        await world.create("web", main=main, volumes=volumes)
        await world.until_pod("web", running)
        mount = mounted(world)["/v"]
        assert mount.readonly
        file = Path(mount.host_path, "x", "y")
        assert file.read_text() == "1"
        assert sorted(each for each in os.listdir(mount.host_path) if not each.startswith("..")) == ["x"]
        path = "/api/v1/namespaces/default/configmaps/settings"
        await world.call("PATCH", path, {"data": {"a": "new"}}, "application/merge-patch+json")
        await world.clock.sleep(130)
        assert file.read_text() == "new"

    tell(story)


def test_a_missing_config_map_keeps_the_pod_waiting_and_says_why(tell):
    async def story(world):
        await world.create("web", volumes=[{"name": "v", "configMap": {"name": "settings"}}])
        await world.clock.sleep(5)
        pod = await world.pod("web")
        assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
        words = 'MountVolume.SetUp failed for volume "v" : configmap "settings" not found'
        assert ("FailedMount", words) in await world.events("web")
        await make_config_map(world, a="1")
        await world.until_pod("web", running, 60)

    tell(story)


def test_an_optional_config_map_may_be_missing(tell):
    async def story(world):
        await world.create("web", volumes=[{"name": "v", "configMap": {"name": "settings", "optional": True}}])
        await world.until_pod("web", running, 60)

    tell(story)


def test_a_missing_environment_source_is_a_configuration_error_until_it_comes(tell):
    async def story(world):
        await world.create("web", main={"envFrom": [{"configMapRef": {"name": "settings"}}]})

        def refused(pod):
            statuses = pod["status"].get("containerStatuses") or [{"state": {}}]
            return statuses[0]["state"].get("waiting", {}).get("reason") == "CreateContainerConfigError"

        pod = await world.until_pod("web", refused, 30)
        assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"] == 'configmap "settings" not found'
        await make_config_map(world, a="1")
        await world.until_pod("web", running, 60)

    tell(story)


def test_several_sources_share_a_projected_volume(tell):
    async def story(world):
        await make_config_map(world, a="1")
        sources = [
            {"configMap": {"name": "settings"}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ]
        main = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        await world.create("web", main=main, volumes=[{"name": "v", "projected": {"sources": sources}}])
        await world.until_pod("web", running)
        root = mounted(world)["/v"].host_path
        assert {name: Path(root, name).read_text() for name in ("a", "name")} == {"a": "1", "name": "web"}

    tell(story)


def test_an_empty_dir_outlives_containers_and_ends_with_the_pod(tell):
    async def story(world):
        main = {"volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/s", "subPath": "a"}]}
        await world.create("web", main=main, volumes=[{"name": "v", "emptyDir": {}}])
        await world.until_pod("web", running)
        mounts = mounted(world)
        assert mounts["/s"].host_path == os.path.join(mounts["/v"].host_path, "a")
        kept = Path(mounts["/v"].host_path, "kept")
        kept.touch()
        container = (await world.runtime.list_containers())[0]
        world.runtime.end_container(container.id, 1)
        await world.until_pod("web", lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        assert kept.exists()
        await world.delete("web")
        await world.until_gone("web")
        assert not kept.exists()

    tell(story)


def test_a_claim_is_found_through_its_volume(tell, tmp_path):
    async def story(world):
        (tmp_path / "data").mkdir()
        volume = {
            "metadata": {"name": "pv"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": str(tmp_path / "data")},
            },
        }
        await world.call("POST", "/api/v1/persistentvolumes", volume)
        claim = {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "volumeName": "pv",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        base = "/api/v1/namespaces/default/persistentvolumeclaims"
        await world.call("POST", base, claim)
        main = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        await world.create("web", main=main, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
        await world.clock.sleep(3)
        assert any("is not bound" in message for _, message in await world.events("web"))
        await world.call("PATCH", f"{base}/data/status", {"status": {"phase": "Bound"}}, "application/merge-patch+json")
        await world.until_pod("web", running, 60)
        assert mounted(world)["/v"].host_path == str(tmp_path / "data")
        await world.delete("web")
        await world.until_gone("web")
        assert (tmp_path / "data").is_dir()

    tell(story)
