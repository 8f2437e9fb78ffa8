"""`kobune serve`: makes the processes of every cluster in the state directory match what was asked for."""

import asyncio
import fcntl
import logging
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from kobune.aks.instances import Instances
from kobune.api.clock import Clock
from kobune.host import moving
from kobune.host.autoscaler_wish import is_wanted
from kobune.host.capacity import most_real_nodes
from kobune.host.credentials import prepare
from kobune.host.engine import Engine
from kobune.host.etcd_members import member_commands, members, prepare_certificates
from kobune.host.instances import UP, shape_of
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.processes import Command, Keeper, find_running
from kobune.host.spec import PoolState, ProcessStatus, Spec, Status, read_spec, read_status, write_status
from kobune.host.topology import control_plane_commands, is_etcd, serves_api, stop_grace, stop_order

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1  # How often the wishes are read again.
SHORT_SECONDS = 0.05
# Between attempts at a cluster whose looking after failed.
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 1.0, 60.0
READY_SECONDS = 60.0  # For an API server to answer, before the next one is started anew.


class AlreadyServed(Exception):
    """Another service looks after this state directory."""


@contextmanager
def hold_lock(layout: Layout) -> Iterator[None]:
    """Be the one service of this state directory. Raises AlreadyServed."""
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyServed(f"another service looks after {layout.root}") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def is_served(layout: Layout) -> bool:
    """Whether a service holds the lock."""
    if not layout.lock.exists():
        return False
    descriptor = os.open(layout.lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def serve(layout: Layout, clock: Clock, *, until_idle: bool) -> None:
    """Look after every cluster until cancelled, or with `until_idle` until none is to run.

    The clusters' processes outlive this one: the next service finds them again.
    """
    runners: dict[str, _Runner] = {}
    carries = most_real_nodes()

    def room() -> int:
        return carries - sum(
            not machine.simulated for runner in runners.values() for machine in runner.engine.instances.machines
        )

    async def look_after(name: str) -> None:
        wait = FIRST_WAIT_SECONDS
        while True:
            begin = clock.monotonic()
            try:
                await runners[name].run()
                return
            except Exception as error:  # One cluster's trouble must end neither the service nor the other clusters.
                log.exception("cluster in trouble", extra={"cluster": name})
                runners[name].report_trouble(error)
                await runners[name].engine.access.close()
            wait = FIRST_WAIT_SECONDS if clock.monotonic() - begin > MOST_WAIT_SECONDS else wait
            await clock.sleep(wait)
            wait = min(2 * wait, MOST_WAIT_SECONDS)
            runners[name] = _Runner(layout, layout.cluster(name), clock, room)

    async with asyncio.TaskGroup() as tasks:
        while True:
            for name in layout.cluster_names():
                if name not in runners or runners[name].is_gone:
                    runners[name] = _Runner(layout, layout.cluster(name), clock, room)
                    tasks.create_task(look_after(name), name=f"cluster {name}")
            if until_idle and runners and not any(runner.is_busy for runner in runners.values()):
                for runner in runners.values():
                    runner.finish()
                return
            await clock.sleep(LOOK_SECONDS)


class _Runner:
    """One cluster: reads its spec, keeps its processes, has its machines made and unmade, writes its status."""

    def __init__(self, layout: Layout, cluster: ClusterLayout, clock: Clock, room: Callable[[], int]) -> None:
        self.engine = Engine(cluster, clock=clock, rng=random.Random(), room=room)
        self._layout = layout
        self._cluster = cluster
        self._clock = clock
        self._kept: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._finished = False
        self._halted = False
        self._written: Status | None = None
        self._shown: object = None  # What the status was last made of.
        self.is_busy = True  # Until the first look has found that nothing is to run.
        self.is_gone = False  # The cluster was deleted.

    def finish(self) -> None:
        """End after the present look."""
        self._finished = True

    async def run(self) -> None:
        seen, spec, stale = 0, None, True
        async with asyncio.TaskGroup() as tasks:
            while not self._finished:
                changed = self._cluster.spec.stat().st_mtime_ns if self._cluster.spec.exists() else -1
                if changed != seen:
                    spec, seen, stale = read_spec(self._cluster), changed, True
                if spec is not None and spec.wish is not None and spec.wish.kind == "delete":
                    await self._delete(spec)
                    return
                if stale:
                    stale = False
                    await self._look(spec, tasks)
                if spec is not None and spec.running and await self.engine.look(spec, tasks):
                    stale = True  # Other machines: other processes.
                self._report()
                await self._clock.sleep(LOOK_SECONDS)
            await self.engine.access.close()

    async def _look(self, spec: Spec | None, tasks: asyncio.TaskGroup) -> None:
        """One pass: start what is missing, stop what is too much, say how things are."""
        wanted: dict[str, Command] = {}
        self.is_busy = True
        if spec is not None and spec.running:
            nodes = [
                shape_of(spec, self.engine.instances, machine)
                for machine in self.engine.instances.machines
                if not machine.simulated and machine.state in UP
            ]
            await asyncio.to_thread(prepare, self._cluster, spec, nodes, self._clock.now())
            if moving.is_due(self._cluster, spec):
                await self._move(spec, tasks)
            wanted = commands(self._layout, self._cluster, spec, self.engine.instances)
        surplus = [name for name in self._kept if name not in wanted]
        surplus += [name for name in self._recorded() if name not in wanted and name not in self._kept]
        await self._stop_all(surplus)
        for name in [name for name, command in wanted.items() if self._is_stale(name, command)]:
            # One after the other: where several API servers run, the others go on answering.
            await self._stop(name)
            self._keep(name, wanted[name], tasks)
            if serves_api(name):
                await self._kept[name][0].beats(within=READY_SECONDS)
                await self.engine.access.close()
        for name, command in wanted.items():
            if name not in self._kept:
                self._keep(name, command, tasks)
        if spec is not None and not spec.running:
            await self._halt(spec)
        self._halted = spec is not None and not spec.running
        self.is_busy = bool(wanted)

    async def _move(self, spec: Spec, tasks: asyncio.TaskGroup) -> None:
        """Bring the state to the engine that the spec wants. Meanwhile nodes go on by themselves and nobody is answered."""
        await self.engine.access.close()
        nodes = {machine.name for machine in self.engine.instances.machines}
        others = [name for name in {*self._kept, *self._recorded()} if name not in nodes]
        await self._stop_all(name for name in others if not is_etcd(name))
        if not self._cluster.moving.exists() and moving.holder(self._cluster) == moving.ETCD:
            await self._keep_members(spec, tasks)
        await moving.leave(self._cluster, spec, self._clock.now())
        await self._stop_all(name for name in {*self._kept, *self._recorded()} if is_etcd(name))
        await asyncio.to_thread(moving.prepare, self._cluster, spec)
        if spec.store == moving.ETCD:
            await self._keep_members(spec, tasks)
        await moving.arrive(self._cluster, spec, self._clock.now())

    async def _keep_members(self, spec: Spec, tasks: asyncio.TaskGroup) -> None:
        """Start etcd's members, each recorded: if this service is killed, the next one finds them."""
        await asyncio.to_thread(prepare_certificates, self._cluster, self._clock.now())
        commands = member_commands(self._cluster, members(self._cluster, spec))
        for name, argv in commands.items():
            if name not in self._kept:
                self._keep(name, Command(argv), tasks)
        async with asyncio.timeout(READY_SECONDS):
            while any(find_running(self._cluster.process(name)) is None for name in commands):
                await self._clock.sleep(SHORT_SECONDS)

    async def _stop_all(self, names: Iterable[str]) -> None:
        """What others need last."""
        for _, together in groupby(sorted(names, key=stop_order), stop_order):
            async with asyncio.TaskGroup() as stopping:
                for name in together:
                    stopping.create_task(self._stop(name), name=f"stop {name}")

    async def _halt(self, spec: Spec) -> None:
        if any(not machine.simulated for machine in self.engine.instances.machines):
            from kobune.host.machines import halt  # Late: brings the runtime's client along.

            await halt(self._cluster, spec, self._clock)
        await self.engine.rest(spec)

    async def _delete(self, spec: Spec) -> None:
        """Leave nothing of the cluster. Its spec goes last: until then the next service goes on with this."""
        await self.engine.access.close()
        for name in sorted({*self._kept, *self._recorded()}, key=stop_order):
            await self._stop(name)
        if any(not machine.simulated for machine in self.engine.instances.machines):
            from kobune.host.machines import destroy

            await destroy(self._cluster, spec, self._clock)
        await asyncio.to_thread(purge, self._cluster)
        self.is_busy, self.is_gone = False, True

    def _keep(self, name: str, command: Command, tasks: asyncio.TaskGroup) -> None:
        keeper = self._keeper(name, command)
        self._kept[name] = keeper, tasks.create_task(keeper.run(), name=name)

    def _is_stale(self, name: str, command: Command) -> bool:
        """Whether the process runs, with what is no longer so."""
        running = find_running(self._cluster.process(name))
        return running is not None and running.stamp != command.stamp

    async def _stop(self, name: str) -> None:
        keeper, task = self._kept.pop(name, (None, None))
        if task is not None:
            task.cancel()
        await (keeper or self._keeper(name, Command(()))).stop(grace=stop_grace(name))

    def _keeper(self, name: str, command: Command) -> Keeper:
        return Keeper(
            name,
            command,
            record=self._cluster.process(name),
            pulse=self._cluster.pulse(name),
            output=self._cluster.logs / f"{name}.out",
            clock=self._clock,
            on_change=self._report,
        )

    def _recorded(self) -> list[str]:
        """Processes that an earlier service started."""
        return [path.stem for path in self._cluster.processes.glob("*.json")]

    def report_trouble(self, error: Exception) -> None:
        """Say what kept this from going on; the next attempt's first report takes it back."""
        self._report("; ".join(f"{type(cause).__name__}: {cause}" for cause in root_causes(error)))

    def _report(self, trouble: str = "") -> None:
        if not self._cluster.root.exists():
            return
        processes = []
        for name, (keeper, _) in sorted(self._kept.items()):
            running = keeper.running
            pid = running.pid if running else 0
            processes.append(ProcessStatus(name, pid, keeper.restarts, keeper.last_exit, keeper.pause))
        shown = (self.engine.shown, processes, self._halted, self.engine.access.version)
        if shown == self._shown:
            return
        self._shown = shown
        instances = self.engine.instances
        status = Status(
            running=bool(self._kept),
            halted=self._halted,
            processes=tuple(processes),
            problem=trouble or last_words(self._cluster, processes),
            kubernetes_version=self.engine.access.version,
            operation=instances.operation,
            nodes=self.engine.states(halted=self._halted),
            pools=pool_states(instances),
        )
        if status != (self._written or read_status(self._cluster)):
            write_status(self._cluster, status)
        self._written = status


def commands(layout: Layout, cluster: ClusterLayout, spec: Spec, instances: Instances) -> dict[str, Command]:
    """The processes of a running cluster: its control plane, and an agent for each real node."""
    # Nodes of a pool of real ones are simulated too, where the machine carries no more.
    simulates = any(machine.simulated for machine in instances.machines)
    wanted = control_plane_commands(layout, cluster, spec, simulates=simulates)
    if is_wanted(spec.cluster):
        argv = (sys.executable, "-m", "kobune.host.autoscaler", str(layout.root), cluster.name)
        profile = f"certificates {spec.cluster.certificate_generation}, {spec.cluster.autoscaler}"
        wanted["cluster-autoscaler"] = Command(argv, profile)
    for machine in instances.machines:
        if not machine.simulated and machine.state in UP:
            agent = (sys.executable, "-m", "kobune.host.node_agent", str(layout.root), cluster.name, machine.name)
            read_at_start = (
                f"certificates {spec.cluster.certificate_generation}, machine of {machine.born}, "
                f"network policy {spec.cluster.network_policy}"
            )
            wanted[machine.name] = Command(agent, read_at_start)
    return wanted


def root_causes(error: BaseException) -> list[BaseException]:
    """What went wrong in the tasks of a group, groups within groups too."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for each in error.exceptions for cause in root_causes(each)]
    return [error]


def last_words(cluster: ClusterLayout, processes: list[ProcessStatus]) -> str:
    """What a process that ended last wrote, for the user; empty when all run for the first time."""
    for process in processes:
        if process.restarts and process.last_exit.startswith("exit status"):
            lines = _tail(cluster.logs / f"{process.name}.out")
            return f"{process.name} ended ({process.last_exit}): {lines[-1]}" if lines else f"{process.name} ended"
    return ""


def _tail(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    # Python frames what several tasks died of.
    bare = (line.strip().strip("|+- ") for line in lines)
    return [line for line in bare if line]


def purge(cluster: ClusterLayout) -> None:
    """Remove everything the cluster has on disk, its spec last; call when it is stopped."""
    for entry in cluster.root.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry != cluster.spec:
            entry.unlink()
    shutil.rmtree(cluster.root)


def pool_states(instances: Instances) -> tuple[PoolState, ...]:
    """Every pool, those too that are being deleted."""
    states = []
    for name, pool in instances.pools.items():
        machines = [machine for machine in instances.of(name) if not machine.surge]
        versions = [(machine.kubernetes_version, machine.image_version) for machine in machines]
        version, image = min(versions, default=("", ""), key=lambda each: [int(part) for part in each[0].split(".")])
        states.append(PoolState(name, version, image, len(machines), pool.running))
    return tuple(states)
