"""The etcd members that keep one cluster's state: how many, where, their certificates, and how their clients reach them."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import orjson

from kobune.controlplane.store.contract import Store, Unavailable
from kobune.controlplane.store.etcd_member import MemberTls, member_command
from kobune.host.layout import ClusterLayout
from kobune.host.pki import Authority, is_current, write_private
from kobune.host.placement import is_free
from kobune.host.processes import find_running
from kobune.host.spec import Spec

if TYPE_CHECKING:
    from kobune.controlplane.store.etcd import EtcdStore
    from kobune.controlplane.store.etcd_calls import Tls

PROGRAM = "etcd"
HOST = "127.0.0.1"
FIRST_PORT = 2379  # etcd's own; the kernel takes none from here for outgoing connections.
LAST_PORT = 2979
ONE, REDUNDANT = 1, 3  # Three members go on without any one of them.
ANSWER_SECONDS = 60.0  # For members to start and to elect their leader.
STOP_SECONDS = 1.0  # A member whose peers have ended before it waits long for them; killed, it loses nothing.


class Member(NamedTuple):
    name: str
    client_port: int
    peer_port: int


def is_installed() -> bool:
    """Whether members can run on this machine."""
    return shutil.which(PROGRAM) is not None


def members(cluster: ClusterLayout, spec: Spec) -> Sequence[Member]:
    """The cluster's members; chosen at first, and from then on the same.

    Raises:
        OSError: too few ports are free.
    """
    try:
        return msgspec.json.decode(cluster.etcd_members.read_bytes(), type=list[Member])
    except FileNotFoundError:
        chosen = _choose(cluster, REDUNDANT if spec.is_redundant else ONE)
        write_private(cluster.etcd_members, orjson.dumps([list(member) for member in chosen]))
        return chosen


def prepare_certificates(cluster: ClusterLayout, now: datetime) -> None:
    """An authority of etcd's own, so that no other certificate of the cluster opens its store; and what it issues."""
    folder = cluster.etcd_pki
    hosts = [HOST, "localhost"]
    if not is_current(folder / "member.crt", hosts, now):
        authority = Authority.load_or_create(folder, "etcd-ca", now)
        authority.issue_peer("etcd", hosts, now).write(folder, "member")
        authority.issue_client("kube-apiserver-etcd-client", (), now).write(folder, "client")


def member_commands(cluster: ClusterLayout, chosen: Sequence[Member]) -> Mapping[str, tuple[str, ...]]:
    """The command line of each member, by its name."""
    folder = cluster.etcd_pki
    tls = MemberTls(folder / "ca.crt", folder / "member.crt", folder / "member.key")
    peers = {member.name: f"{HOST}:{member.peer_port}" for member in chosen}
    return {
        member.name: tuple(
            member_command(
                member.name,
                cluster.etcd / member.name,
                client=f"{HOST}:{member.client_port}",
                peers=peers,
                tls=tls,
                program=PROGRAM,
            )
        )
        for member in chosen
    }


def begins_after(cluster: ClusterLayout) -> int:
    """The revision up to which another store kept the cluster's state; 0: the members had it from the beginning."""
    try:
        return int(cluster.etcd_begins_after.read_text())
    except FileNotFoundError:
        return 0


def endpoints(chosen: Sequence[Member]) -> Sequence[str]:
    """Where clients find the members."""
    return [f"https://{HOST}:{member.client_port}" for member in chosen]


def client_tls(cluster: ClusterLayout) -> "Tls":
    """What a client shows to the members, and believes of them."""
    from kobune.controlplane.store.etcd_calls import Tls  # Late: brings gRPC along.

    folder = cluster.etcd_pki
    return Tls(folder / "ca.crt", folder / "client.crt", folder / "client.key")


@contextlib.asynccontextmanager
async def reachable(cluster: ClusterLayout, spec: Spec, now: datetime) -> AsyncIterator["EtcdStore"]:
    """The cluster's etcd as it is stored, whether the cluster runs or not: members that do not run do so for the block.

    Raises:
        Unavailable: they do not answer.
    """
    from kobune.controlplane.store.etcd import EtcdStore

    chosen = members(cluster, spec)
    prepare_certificates(cluster, now)
    started = []
    try:
        for name, command in member_commands(cluster, chosen).items():
            if find_running(cluster.process(name)) is None:
                started.append(await asyncio.to_thread(_start, command, cluster.logs / f"{name}.out"))
        store = EtcdStore(endpoints(chosen), tls=client_tls(cluster), begins_after=begins_after(cluster))
        try:
            await answering(store)
            yield store
        finally:
            await store.close()
    finally:
        await asyncio.to_thread(_stop, started)


async def answering(store: Store) -> None:
    """Return when the members have a leader and answer. Raises Unavailable when they do not in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ANSWER_SECONDS
    while True:
        try:
            await store.revision()
        except Unavailable:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def _start(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    output.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(output, "ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _choose(cluster: ClusterLayout, count: int) -> list[Member]:
    """Free ports, and none that another cluster of the state directory will want when it is started again."""
    taken: set[int] = set()
    for other in cluster.root.parent.glob(f"*/{cluster.etcd_members.relative_to(cluster.root)}"):
        for member in msgspec.json.decode(other.read_bytes(), type=list[Member]):
            taken |= {member.client_port, member.peer_port}
    free = (port for port in range(FIRST_PORT, LAST_PORT) if port not in taken and is_free(port))
    ports = [port for port, _ in zip(free, range(2 * count), strict=False)]
    if len(ports) < 2 * count:
        raise OSError(f"of the ports {FIRST_PORT} to {LAST_PORT} too few are free for etcd")
    return [Member(f"etcd-{number}", *ports[2 * number : 2 * number + 2]) for number in range(count)]
