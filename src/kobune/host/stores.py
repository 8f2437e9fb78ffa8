"""The store that a component is told to use: which engine, where, and how it is encrypted."""

import logging
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kobune.api.catalogue import KINDS
from kobune.api.clock import Clock, SystemClock
from kobune.api.errors import Invalid
from kobune.controlplane.store.contract import Store
from kobune.host.flags import flag
from kobune.host.layout import ClusterLayout
from kobune.host.spec import Spec

if TYPE_CHECKING:
    from kobune.controlplane.store.encryption import Encryption

log = logging.getLogger(__name__)

RELOAD_SECONDS = 60.0  # Source: upstream's poll of the encryption configuration.
REGISTRY = "/registry"  # Where all keys are. Source: upstream's default of --etcd-prefix.


class BadStore(Exception):
    """What was said about the store cannot be used; one sentence."""


@dataclass(frozen=True, slots=True)
class StoreFlags:
    """kube-apiserver's flags, under upstream's names; `store` is "sqlite:PATH", "memory" or, with etcd, empty."""

    store: str = flag("", "sqlite:PATH or memory; without it a file in --cert-dir.")
    etcd_servers: Sequence[str] = flag((), "Members of an etcd cluster, comma-separated URLs.")
    etcd_cafile: Path | None = flag(None, "Who signed etcd's certificates.")
    etcd_certfile: Path | None = flag(None, "Shown to etcd.")
    etcd_keyfile: Path | None = flag(None, "Its key.")
    etcd_prefix: str = flag(REGISTRY, "Before all keys; clusters that share one etcd have one each.")
    etcd_begins_after: int = flag(
        0, "Added to etcd's revisions: the last one of the store whose state it went on with."
    )
    encryption_provider_config: Path | None = flag(
        None, "An EncryptionConfiguration: what is stored encrypted, with which keys."
    )
    encryption_provider_config_automatic_reload: bool = flag(False, "Whether that file is read again when it changes.")

    @property
    def is_shared(self) -> bool:
        """Whether other servers may write to it too."""
        return bool(self.etcd_servers)


def store_flags(cluster: ClusterLayout, spec: Spec) -> StoreFlags:
    """Where a managed cluster keeps its state."""
    encryption = cluster.encryption if cluster.encryption.exists() else None
    if spec.store != "etcd":
        return StoreFlags(store=f"sqlite:{cluster.store}", encryption_provider_config=encryption)
    from kobune.host.etcd_members import begins_after, client_tls, endpoints, members

    tls = client_tls(cluster)
    return StoreFlags(
        etcd_servers=endpoints(members(cluster, spec)),
        etcd_cafile=tls.authority,
        etcd_certfile=tls.certificate,
        etcd_keyfile=tls.key,
        etcd_begins_after=begins_after(cluster),
        encryption_provider_config=encryption,
    )


def check_encryption(path: Path) -> None:
    """Whether the file says how to encrypt. Raises BadStore, OSError."""
    _encryption(path)


async def open_store(flags: StoreFlags, *, clock: Clock | None = None) -> Store:
    """The store that the flags name. Raises BadStore, OSError, and what the engine raises."""
    path, reloads = flags.encryption_provider_config, flags.encryption_provider_config_automatic_reload
    if path is None and reloads:
        # Source: upstream's validation of its flags.
        raise BadStore("--encryption-provider-config-automatic-reload must be set with --encryption-provider-config")
    store = await _engine(flags)
    if path is None:
        return store
    from kobune.controlplane.store.encrypted import EncryptedStore

    try:
        content, encryption = _encryption(path)
        changes = _changes(path, content, clock or SystemClock()) if reloads else None
        return EncryptedStore(store, encryption, changes)
    except (BadStore, OSError):
        await store.close()
        raise


def favour_commits() -> None:
    """For a process that is an API server above all: the store's thread, once the disk has its commit, gets the interpreter
    after half a millisecond of other work at most; Python's own five would be the larger part of a write's time."""
    sys.setswitchinterval(0.0005)


async def _engine(flags: StoreFlags) -> Store:
    if flags.etcd_servers:
        if flags.store:
            raise BadStore("--store and --etcd-servers exclude each other")
        from kobune.controlplane.store.etcd import EtcdStore
        from kobune.controlplane.store.etcd_calls import Tls

        if flags.etcd_cafile is None and any(server.startswith("https:") for server in flags.etcd_servers):
            raise BadStore("--etcd-servers with https needs --etcd-cafile")
        tls = Tls(flags.etcd_cafile, flags.etcd_certfile, flags.etcd_keyfile) if flags.etcd_cafile else None
        prefix = f"/{flags.etcd_prefix.strip('/')}"  # Source: upstream's storage factory.
        root, below = ("", "") if prefix == REGISTRY else (prefix, REGISTRY)
        return EtcdStore(flags.etcd_servers, tls=tls, root=root, below=below, begins_after=flags.etcd_begins_after)
    scheme, _, rest = flags.store.partition(":")
    if scheme == "memory":
        from kobune.controlplane.store.memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite" and rest:
        from kobune.controlplane.store.sqlite import SqliteStore

        path = Path(rest)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return await SqliteStore.open(path)
    raise BadStore(f"--store {flags.store}: sqlite:PATH or memory")


async def _changes(path: Path, content: bytes, clock: Clock) -> AsyncIterator["Encryption"]:
    """What the file says whenever it says something else; one that is missing or faulty changes nothing."""
    while True:
        await clock.sleep(RELOAD_SECONDS)
        try:
            before = content
            content, encryption = _encryption(path)
            if content != before:
                yield encryption
        except (BadStore, OSError) as error:
            log.warning("The encryption stays as it is: %s", error)


def _encryption(path: Path) -> tuple[bytes, "Encryption"]:
    """The file's content and what it says."""
    from kobune.controlplane.store.encryption import load_encryption

    content = path.read_bytes()
    try:
        return content, load_encryption(_yaml(content), KINDS)
    except (Invalid, ValueError) as error:
        raise BadStore(f"--encryption-provider-config {path}: {error}") from error


def _yaml(content: bytes) -> dict[str, object]:
    import yaml

    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document
