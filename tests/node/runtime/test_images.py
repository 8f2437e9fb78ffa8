"""Built-in images are the same every time; a bad archive is refused with a reason its owner understands."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from kobune.node.runtime.images import BUSYBOX, BadArchive, _prepare, builtin_archive, normalize


def busybox(folder: Path) -> Path:
    """A stand-in that lists applets as busybox does."""
    program = folder / "busybox"
    program.write_text("#!/bin/sh\nprintf 'bin/sh\\nbin/busybox\\nusr/bin/wget\\n'\n")
    program.chmod(0o755)
    return program


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def docker_manifest(**changes: object) -> dict[str, bytes]:
    image = {"Config": "config.json", "RepoTags": ["web:1"], "Layers": ["layer.tar"], **changes}
    return {"manifest.json": json.dumps([image]).encode(), "config.json": b"{}", "layer.tar": b""}


def oci_index(annotations: dict[str, str], digest: str = "sha256:aa") -> dict[str, bytes]:
    index = {"manifests": [{"digest": digest, "annotations": annotations}]}
    return {"index.json": json.dumps(index).encode(), "blobs/sha256/aa": b"{}", "oci-layout": b"{}"}


def test_the_same_busybox_gives_the_same_images(tmp_path: Path):
    program = busybox(tmp_path)
    assert builtin_archive(program) == builtin_archive(program)


def test_the_sample_image_has_every_applet_and_a_place_for_temporary_files(tmp_path: Path):
    archive = builtin_archive(busybox(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        index = json.load(tar.extractfile("index.json"))
        found = {each["annotations"]["io.containerd.image.name"]: each["digest"] for each in index["manifests"]}
        digest = found[BUSYBOX].partition(":")[2]
        manifest = json.load(tar.extractfile(f"blobs/sha256/{digest}"))
        layer = manifest["layers"][0]["digest"].partition(":")[2]
        with tarfile.open(fileobj=tar.extractfile(f"blobs/sha256/{layer}")) as root:
            assert root.getmember("usr/bin/wget").linkname == "/bin/busybox"
            assert root.getmember("tmp").mode == 0o1777
            assert root.getmember("bin/busybox").mode == 0o755
    assert archive.images[BUSYBOX] == manifest["config"]["digest"]


@pytest.mark.parametrize(
    "short, full",
    [
        ("web", "docker.io/library/web:latest"),
        ("team/web:1", "docker.io/team/web:1"),
        ("kobune.local/web", "kobune.local/web:latest"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("web@sha256:aa", "docker.io/library/web@sha256:aa"),
    ],
)
def test_references_are_named_in_full(short: str, full: str):
    assert normalize(short) == full


def test_a_docker_archive_is_taken_as_it_is(tmp_path: Path):
    file = tmp_path / "image.tar"
    file.write_bytes(tar_of(docker_manifest()))
    assert _prepare(file, tmp_path) == (file, ["docker.io/library/web:1"])


def test_a_compressed_archive_is_unpacked_first(tmp_path: Path):
    file = tmp_path / "image.tar.gz"
    file.write_bytes(gzip.compress(tar_of(docker_manifest())))
    copy, references = _prepare(file, tmp_path)
    assert references == ["docker.io/library/web:1"]
    with tarfile.open(copy, mode="r:") as tar:
        assert sorted(tar.getnames()) == ["config.json", "layer.tar", "manifest.json"]


def test_an_oci_layout_with_only_a_reference_name_gets_its_full_name(tmp_path: Path):
    file = tmp_path / "image.tar"
    file.write_bytes(tar_of(oci_index({"org.opencontainers.image.ref.name": "team/web:2"})))
    copy, references = _prepare(file, tmp_path)
    assert references == ["docker.io/team/web:2"]
    with tarfile.open(copy) as tar:
        notes = json.load(tar.extractfile("index.json"))["manifests"][0]["annotations"]
        assert notes["io.containerd.image.name"] == "docker.io/team/web:2"
        assert sorted(tar.getnames()) == ["blobs/sha256/aa", "index.json", "oci-layout"]


@pytest.mark.parametrize(
    "data, reason",
    [
        pytest.param(b"hello", "not a whole tar archive", id="no-archive"),
        pytest.param(tar_of(docker_manifest())[:700], "not a whole tar archive", id="cut-short"),
        pytest.param(tar_of({"a.txt": b""}), "neither index.json .* nor manifest.json", id="some-other-archive"),
        pytest.param(tar_of({"manifest.json": b"{"}), "manifest.json is not JSON", id="broken-json"),
        pytest.param(tar_of({"index.json": b"[]"}), "not what an image archive has", id="wrong-shape"),
        pytest.param(tar_of(docker_manifest(Layers=["gone.tar"])), "incomplete: .* gone.tar", id="layer-missing"),
        pytest.param(tar_of(docker_manifest(RepoTags=None)), "without a name", id="docker-image-without-name"),
        pytest.param(tar_of(oci_index({})), "without a name", id="oci-image-without-name"),
        pytest.param(tar_of(oci_index({}, "sha256:bb")), "incomplete: .* 'sha256:bb'", id="manifest-missing"),
        pytest.param(tar_of({"index.json": b"{}"}), "no image", id="nothing-inside"),
    ],
)
def test_a_bad_archive_is_refused_with_its_reason(tmp_path: Path, data: bytes, reason: str):
    file = tmp_path / "image.tar"
    file.write_bytes(data)
    with pytest.raises(BadArchive, match=reason):
        _prepare(file, tmp_path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path):
    with pytest.raises(BadArchive, match="No such file"):
        _prepare(tmp_path / "none.tar", tmp_path)
