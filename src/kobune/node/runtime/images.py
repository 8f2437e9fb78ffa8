"""Images without a registry: pause and busybox made from the machine's own static busybox, and archives from files."""

import asyncio
import hashlib
import io
import json
import platform
import stat
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from kobune.node.runtime.runtime import Runtime, RuntimeFailure

LOCAL_IMAGES = "kobune.local/"  # What no registry has.
PAUSE = f"{LOCAL_IMAGES}pause:latest"
BUSYBOX = f"{LOCAL_IMAGES}busybox:latest"
IMAGE_NAME = "io.containerd.image.name"  # Source: containerd, images.AnnotationImageName.
REF_NAME = "org.opencontainers.image.ref.name"  # Source: OCI image specification, annotations.

# The first process of a pod. Ignoring SIGCHLD outlives exec, so the kernel reaps orphans when pods share processes.
PAUSE_COMMAND = ["/bin/busybox", "sh", "-c", "trap '' CHLD; exec /bin/busybox sleep infinity"]
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/services": "http 80/tcp\nhttps 443/tcp\ndomain 53/udp\n",
}
FOLDERS = {"bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o555, "root": 0o700, "sbin": 0o755,
           "sys": 0o555, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/sbin": 0o755, "var": 0o755}  # fmt: skip
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
IMPORT_SECONDS = 300.0
PRESENT_LOOKS = 1000


class BadArchive(Exception):
    """The file is no image archive that can be loaded; the message says why and is meant for its owner."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An OCI image layout in one tar."""

    images: Mapping[str, str]  # By reference, the digest of its configuration, under which CRI knows the image.
    data: bytes


def builtin_archive(busybox: Path) -> Archive:
    """The pause and busybox images, in one archive with one layer; the same busybox always gives the same bytes.

    Raises:
        RuntimeFailure: the machine's busybox is missing or does not run.
    """
    return _archive(_busybox_layer(busybox, {}), {PAUSE: {"Entrypoint": PAUSE_COMMAND}, BUSYBOX: {"Cmd": ["sh"]}})


def tool_archive(reference: str, busybox: Path, programs: Sequence[Path]) -> Archive:
    """An image of busybox and some more programs, all statically linked. Raises RuntimeFailure as `builtin_archive` does."""
    return _archive(
        _busybox_layer(busybox, {program.name: program for program in programs}), {reference: {"Cmd": ["sh"]}}
    )


def _busybox_layer(busybox: Path, programs: Mapping[str, Path]) -> bytes:
    """The files of an image with busybox, a link for each of its applets, and other programs under their names."""
    try:
        listing = subprocess.run([busybox, "--list-full"], capture_output=True, check=True, timeout=10, text=True)
        files = {f"bin/{name}": program.read_bytes() for name, program in {**programs, "busybox": busybox}.items()}
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeFailure(f"the sample images are made from {busybox}, which does not run: {error}") from error
    links = {path: "/bin/busybox" for path in listing.stdout.split() if path not in files}
    files |= {path: text.encode() for path, text in FILES.items()}
    return _layer(files, links, FOLDERS)


def _layer(files: Mapping[str, bytes], links: Mapping[str, str], folders: Mapping[str, int]) -> bytes:
    """A layer's tar: nothing in it depends on when or where it was made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted({*files, *links, *folders}):
            entry = tarfile.TarInfo(path)
            if path in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, folders[path]
            elif path in links:
                entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, links[path]
            else:
                entry.size = len(files[path])
                entry.mode = 0o755 if path.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(files.get(path, b"")))
    return buffer.getvalue()


def _archive(layer: bytes, processes: Mapping[str, Mapping[str, Sequence[str]]]) -> Archive:
    """Images of one layer that differ in what they run."""
    blobs: dict[str, bytes] = {}

    def blob(kind: str, data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layer_blob = blob("layer.v1.tar", layer)
    images, manifests = {}, []
    for reference, process in processes.items():
        config = blob("config.v1+json", _json({
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], **process},
            "rootfs": {"type": "layers", "diff_ids": [layer_blob["digest"]]},
        }))  # fmt: skip
        manifest = blob("manifest.v1+json", _json({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer_blob],
        }))  # fmt: skip
        images[reference] = str(config["digest"])
        manifests.append({**manifest, "annotations": {IMAGE_NAME: reference}})
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": manifests}),
    }
    files |= {f"blobs/sha256/{digest}": data for digest, data in blobs.items()}
    return Archive(images, _layer(files, {}, {}))


async def import_builtins(runtime: Runtime, importer: "Importer", archive: Archive) -> None:
    """Bring the built-in images, unless the runtime has them all."""
    for reference, image_id in archive.images.items():
        present = await runtime.find_image(reference)
        if present is None or present.id != image_id:
            break
    else:
        return
    with TemporaryDirectory(prefix="kobune-image-") as folder:
        path = Path(folder, "image.tar")
        await asyncio.to_thread(path.write_bytes, archive.data)
        await importer.load(path)
    for reference in archive.images:
        await _wait_present(runtime, reference)


async def _wait_present(runtime: Runtime, reference: str) -> None:
    """CRI learns of new images by an event, a moment after the import."""
    for _ in range(PRESENT_LOOKS):
        if await runtime.find_image(reference) is not None:
            return
        await asyncio.sleep(0.01)
    raise RuntimeFailure(f"the image {reference} was imported, but the runtime does not see it")


@dataclass(frozen=True, slots=True)
class Importer:
    """Loads archives into one containerd instance."""

    socket: Path
    snapshotter: str = "overlayfs"

    async def load(self, file: Path) -> Sequence[str]:
        """Load every image of an OCI layout or `docker save` archive, compressed or not; the references they now have.

        Raises:
            BadArchive: what is wrong with the file.
            RuntimeFailure: containerd did not take it.
        """
        with TemporaryDirectory(prefix="kobune-image-") as folder:
            path, references = await asyncio.to_thread(_prepare, file, Path(folder))
            await self._import(path)
        return references

    async def _import(self, path: Path) -> None:
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "import"]
        process = await asyncio.create_subprocess_exec(
            *command, "--snapshotter", self.snapshotter, str(path),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(IMPORT_SECONDS):
                _, errors = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            reason = errors.decode(errors="replace").strip().removeprefix("ctr: ")
            raise RuntimeFailure(f"containerd could not import the image: {reason}")


def _prepare(file: Path, folder: Path) -> tuple[Path, Sequence[str]]:
    """The archive to import (the file itself, or a copy that names its images) and its references."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise BadArchive(f"{file}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise BadArchive(f"{file} is not a file")
    try:
        with tarfile.open(file) as tar:
            names = {_plain(name) for name in tar.getnames()}
            if "index.json" in names:
                index, references = _oci_index(file, tar, names)
            elif "manifest.json" in names:
                index, references = None, _docker_references(file, tar, names)
            else:
                raise BadArchive(
                    f"{file} is a tar archive but no image:"
                    " it has neither index.json (OCI layout) nor manifest.json (docker save)"
                )
            # containerd reads no compressed archives, and only names that are written in its own way.
            good = index is None and not _is_compressed(file)
            return file if good else _copy(tar, index, folder), references
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadArchive(f"{file} is not a whole tar archive: {error}") from None


def _docker_references(file: Path, tar: tarfile.TarFile, names: set[str]) -> Sequence[str]:
    references = []
    for image in _document(file, tar, "manifest.json", list):
        for part in [image.get("Config", ""), *image.get("Layers", [])]:
            if _plain(part) not in names:
                raise BadArchive(f"{file} is incomplete: manifest.json names {part or 'no configuration'}")
        if not image.get("RepoTags"):
            raise BadArchive(f"{file} has an image without a name: save it by name, as in `docker save NAME:TAG`")
        references += [normalize(tag) for tag in image["RepoTags"]]
    return references


def _oci_index(file: Path, tar: tarfile.TarFile, names: set[str]) -> tuple[bytes | None, Sequence[str]]:
    """An index that names every image in full (None: the archive's own does), and the references."""
    index = _document(file, tar, "index.json", dict)
    manifests = index.get("manifests") or []
    if not manifests:
        raise BadArchive(f"{file} has no image: index.json lists no manifests")
    references = []
    changed = False
    for manifest in manifests:
        algorithm, _, digest = str(manifest.get("digest", "")).partition(":")
        if f"blobs/{algorithm}/{digest}" not in names:
            raise BadArchive(f"{file} is incomplete: index.json names the manifest {manifest.get('digest')!r}")
        notes = manifest.setdefault("annotations", {})
        name = notes.get(IMAGE_NAME) or notes.get(REF_NAME, "")
        # A bare tag, as some tools write, names nothing; `skopeo` and `buildah` put the whole reference there.
        if not name or (IMAGE_NAME not in notes and not {"/", ":"} & set(name)):
            raise BadArchive(f"{file} has an image without a name: no manifest annotation {IMAGE_NAME} or {REF_NAME}")
        changed = changed or notes.get(IMAGE_NAME) != normalize(name)
        notes[IMAGE_NAME] = normalize(name)
        references.append(notes[IMAGE_NAME])
    return _json(index) if changed else None, references


def _is_compressed(file: Path) -> bool:
    try:
        tarfile.open(file, mode="r:").close()
    except tarfile.ReadError:
        return True
    return False


def _copy(tar: tarfile.TarFile, index: bytes | None, folder: Path) -> Path:
    """The archive without compression, and with another index if one is given."""
    path = folder / "named.tar"
    with tarfile.open(path, mode="w") as copy:
        for entry in tar:
            if index is not None and _plain(entry.name) == "index.json":
                entry.size = len(index)
                copy.addfile(entry, io.BytesIO(index))
            else:
                copy.addfile(entry, tar.extractfile(entry) if entry.isfile() else None)
    return path


def normalize(reference: str) -> str:
    """A reference in full, as containerd stores it: `web` is `docker.io/library/web:latest`."""
    name, at, digest = reference.partition("@")
    head, _, rest = name.partition("/")
    if not rest or not ({".", ":"} & set(head) or head == "localhost"):
        name = f"docker.io/{name if rest else f'library/{name}'}"
    if not at and ":" not in name.rpartition("/")[2]:
        name += ":latest"
    return name + at + digest


def _document(file: Path, tar: tarfile.TarFile, name: str, shape: type) -> Any:
    member = next(entry for entry in tar if _plain(entry.name) == name)
    stream = tar.extractfile(member)
    try:
        document = json.load(stream) if stream else None
    except ValueError as error:
        raise BadArchive(f"{file}: {name} is not JSON: {error}") from None
    if not isinstance(document, shape):
        raise BadArchive(f"{file}: {name} is not what an image archive has there")
    return document


def _plain(name: str) -> str:
    return str(PurePosixPath(name))


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
