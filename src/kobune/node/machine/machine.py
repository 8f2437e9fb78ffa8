"""A declared node made real: a network namespace, a cgroup and a containerd instance of its own."""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path, PurePosixPath

from kobune.api.clock import Clock, SystemClock
from kobune.node.machine import cgroups, network
from kobune.node.machine.containerd import (
    Daemon,
    Layout,
    choose_snapshotter,
    find_cni_plugins,
    render_cni,
    render_configuration,
    start_time,
)
from kobune.node.machine.mounts import unmount_below
from kobune.node.machine.network import Attachment, Network
from kobune.node.machine.records import RECORD, RUN_FOLDER, find_records, hold
from kobune.node.machine.requirements import CAP_SYS_RESOURCE, find_missing, has_capability
from kobune.node.machine.sandboxes import remove_sandboxes
from kobune.node.netns import is_occupied
from kobune.node.runtime.cri import CriRuntime
from kobune.node.runtime.images import Importer, builtin_archive, import_builtins
from kobune.node.runtime.runtime import RuntimeFailure

READY_SECONDS = 30.0
WATCH_SECONDS = 1.0
BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What is declared about a node's place on this machine.

    Args:
        state: the node's folder, kept over restarts.
        address: the node's own, inside `network.subnet`.
        pod_range: the node's podCIDR.
    """

    network: Network
    node: str
    state: Path
    address: IPv4Address
    pod_range: IPv4Network


class NodeMachine:
    """Everything under a node's kubelet. What is there already, containers included, is found again and kept."""

    def __init__(self, spec: MachineSpec, clock: Clock | None = None) -> None:
        self.spec = spec
        self._clock = clock or SystemClock()
        self._attachment = Attachment(spec.network, spec.node, spec.address)
        # Sockets have short paths; a state folder may have a long one.
        short = hashlib.sha256(str(spec.state.absolute()).encode()).hexdigest()[:8]
        self.layout = Layout(state=spec.state.absolute(), run=RUN_FOLDER / f"{spec.node[:40]}-{short}")
        self._daemon = Daemon(self.layout, self.namespace)

    @property
    def namespace(self) -> Path:
        """The node's network namespace, for `kobune.node.netns`."""
        return self._attachment.namespace

    @property
    def cgroup_parent(self) -> PurePosixPath:
        """Under which the kubelet puts every pod's cgroup."""
        return PurePosixPath("/kobune", self.spec.network.cluster, self.spec.node)

    @cached_property
    def snapshotter(self) -> str:
        return choose_snapshotter(self.layout.state)

    @property
    def importer(self) -> Importer:
        return Importer(self.layout.socket, self.snapshotter)

    def open_runtime(self) -> CriRuntime:
        """A new connection to the node's runtime, the caller's to close."""
        return CriRuntime(self.layout.socket, netns=self.namespace)

    @property
    def has_users(self) -> bool:
        """Whether a process is in its network namespace or among its containers. Blocks."""
        with suppress(FileNotFoundError):
            if is_occupied(self.namespace):
                return True
        return cgroups.has_processes(self.cgroup_parent)

    def let_go(self) -> None:
        """Take back what it has of this machine, as a restart of that would; its files stay. Blocks; raises OSError."""
        self._end()
        self._detach()
        shutil.rmtree(self.layout.run, ignore_errors=True)

    async def start(self) -> None:
        """Return when the runtime answers and has the built-in images.

        Raises:
            RuntimeFailure: what is missing on this machine, or what went wrong.
        """
        missing = await asyncio.to_thread(find_missing)
        if missing:
            raise RuntimeFailure(" ".join(missing))
        try:
            await asyncio.to_thread(self._build)
        except OSError as error:
            raise RuntimeFailure(f"the node {self.spec.node} could not be built: {error}") from error
        archive = await asyncio.to_thread(builtin_archive, BUSYBOX)  # While containerd comes up.
        runtime = self.open_runtime()
        try:
            await self._wait_ready(runtime)
            await import_builtins(runtime, self.importer, archive)
        finally:
            await runtime.close()

    async def watch(self) -> None:
        """Start containerd again whenever it ends; its containers do not notice. A task's body."""
        while True:
            await self._clock.sleep(WATCH_SECONDS)
            await asyncio.to_thread(self._daemon.ensure_running)

    async def set_routes(self, pod_ranges: Mapping[IPv4Network, IPv4Address]) -> None:
        """The pod ranges of the cluster's nodes, reached through these addresses; the node's own is passed over."""
        others = {pods: node for pods, node in pod_ranges.items() if node != self.spec.address}
        await asyncio.to_thread(network.set_routes, self.namespace, others)

    async def stop(self) -> None:
        """End containerd and every container, and keep the node's images and files."""
        with suppress(RuntimeFailure, TimeoutError):
            await self._end_sandboxes()
        await asyncio.to_thread(self._end)

    async def destroy(self) -> None:
        """Leave nothing behind: containers, processes, cgroups, mounts, links, namespace and files. May be repeated."""
        await self.stop()
        await asyncio.to_thread(self._leave_nothing)

    def _end(self) -> None:
        self._daemon.stop()
        cgroups.remove(cgroups.find_hierarchies(cgroups.MOUNTS.read_text()), self.cgroup_parent)
        unmount_below(self.layout.run)
        unmount_below(self.layout.state)

    def _detach(self) -> None:
        remove_sandboxes(self.layout.addresses)
        network.detach(self._attachment)
        # The way to Services may have led through a bridge that went with this; to clusters side by side one is enough.
        ours = self.spec.network
        for record in find_records():
            with suppress(OSError, ValueError, KeyError):
                told = json.loads(record.read_text())
                if told["cluster"] != ours.cluster and told["services"] == str(ours.service_range):
                    network.lead_to_services(replace(ours, cluster=told["cluster"], subnet=IPv4Network(told["subnet"])))

    def _leave_nothing(self) -> None:
        self._detach()
        for folder in (self.layout.run, self.layout.state):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            RUN_FOLDER.rmdir()

    def _build(self) -> None:
        with hold(alone=False):
            self._make()

    def _make(self) -> None:
        layout = self.layout
        if not layout.configuration.exists() and (self.namespace.exists() or layout.run.exists()):
            # Of a node of this name whose files somebody has removed; its addresses may have been others.
            self._end()
            self._leave_nothing()
        layout.state.mkdir(parents=True, exist_ok=True)
        layout.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        layout.cni.mkdir(exist_ok=True)
        self._write_record()
        network.attach(self._attachment)
        network.add_routes({self.spec.pod_range: self.spec.address})
        configuration = render_configuration(
            layout,
            cni_plugins=find_cni_plugins() or Path(),
            snapshotter=self.snapshotter,
            restrict_oom=not has_capability(CAP_SYS_RESOURCE),
        )
        layout.configuration.write_text(configuration)
        host_ports = shutil.which("iptables") is not None
        (layout.cni / "10-kobune.conflist").write_text(render_cni(layout, self.spec.pod_range, host_ports=host_ports))
        self._daemon.ensure_running()

    def _write_record(self) -> None:
        spec, maker = self.spec, os.getpid()
        record = {
            "cluster": spec.network.cluster,
            "subnet": str(spec.network.subnet),
            "services": str(spec.network.service_range),
            "node": spec.node,
            "state": str(self.layout.state),
            "address": str(spec.address),
            "pod_range": str(spec.pod_range),
            "maker": [maker, start_time(maker)],
        }
        (self.layout.run / RECORD).write_text(json.dumps(record))

    def _is_built(self) -> bool:
        return self.layout.configuration.exists() and self.namespace.exists()

    async def _wait_ready(self, runtime: CriRuntime) -> None:
        reasons: Sequence[str] = []
        deadline = self._clock.monotonic() + READY_SECONDS
        while self._clock.monotonic() < deadline:
            try:
                reasons = await runtime.problems()
            except (RuntimeFailure, TimeoutError) as failure:
                reasons = [str(failure)]
            if not reasons:
                return
            await self._clock.sleep(0.05)
        raise RuntimeFailure(
            f"containerd on {self.spec.node} is not ready: {'; '.join(reasons)}. Its log is {self.layout.log}"
        )

    async def _end_sandboxes(self) -> None:
        """Through the runtime, because only it knows the pods' addresses and namespaces; so it must run once more."""
        if not await asyncio.to_thread(self._is_built):
            return
        await asyncio.to_thread(self._daemon.ensure_running)
        runtime = self.open_runtime()
        try:
            await self._wait_ready(runtime)
            async with asyncio.timeout(READY_SECONDS), asyncio.TaskGroup() as group:
                for sandbox in await runtime.list_sandboxes():
                    group.create_task(_end_sandbox(runtime, sandbox.id), name=f"end {sandbox.name}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await runtime.close()


async def _end_sandbox(runtime: CriRuntime, sandbox_id: str) -> None:
    await runtime.stop_sandbox(sandbox_id)
    await runtime.remove_sandbox(sandbox_id)
