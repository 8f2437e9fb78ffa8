"""The kubelet of one node: watches the pods bound here and gives each one a worker."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.api.objects.core import Node, Service
from kobune.api.objects.meta import Key, ObjectMeta
from kobune.client.client import Client
from kobune.client.events import EventRecorder
from kobune.client.informer import Informer
from kobune.node.kubelet.admission import host_ports, refuse
from kobune.node.kubelet.cgroups import PodCgroups
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.containers import grace_of
from kobune.node.kubelet.dns import Resolver, parse_resolv_conf
from kobune.node.kubelet.environment import service_environment
from kobune.node.kubelet.eviction_manager import EvictionManager
from kobune.node.kubelet.image_gc import ImageGC
from kobune.node.kubelet.images import Images
from kobune.node.kubelet.log_rotation import LogRotation
from kobune.node.kubelet.machine import Machine, read_machine
from kobune.node.kubelet.node_status import Facts, NodeStatus
from kobune.node.kubelet.pod import Pod, PodSpec
from kobune.node.kubelet.pod_worker import Ending, PodWorker
from kobune.node.kubelet.probe_actions import Client as ProbeClient
from kobune.node.kubelet.qos import is_critical
from kobune.node.kubelet.resize import Pending, find_obstacle
from kobune.node.kubelet.runtime_state import RuntimeState
from kobune.node.kubelet.server.authorization import Authorizer
from kobune.node.kubelet.server.server import Context, KubeletServer
from kobune.node.kubelet.server.stats import disk_stats
from kobune.node.kubelet.services import Services
from kobune.node.kubelet.sources import Sources
from kobune.node.kubelet.static_pods import StaticPods
from kobune.node.kubelet.status import Verdict
from kobune.node.kubelet.together import together
from kobune.node.kubelet.volumes.manager import Volumes
from kobune.node.kubelet.volumes.mounts import KernelMounter, Mounter
from kobune.node.kubelet.volumes.volume import Offload
from kobune.node.machine.cgroups import MOUNTS, Hierarchies, find_hierarchies
from kobune.node.runtime.runtime import Image, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

RUNTIME_RETRY_SECONDS = 1.0
RUNTIME_SILENT_SECONDS = 180.0  # Source: upstream relistThreshold.
IMAGES_FRESH_SECONDS = 60.0
SHUTDOWN_WORDS = "Pod was terminated in response to imminent node shutdown."
SHUTDOWN_SLACK_SECONDS = 2.0  # For what follows the grace period.


class Kubelet:
    """The node's agent of the control plane. `run` is its whole life.

    Args:
        client: the node's identity at the API server.
        runtime: the node's container runtime.
        mounter: how volumes are mounted; the kernel's own by default.
        hierarchies: the machine's cgroups; None reads them, when the configuration manages cgroups at all.
        offload: runs blocking calls, in threads by default.
    """

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        config: KubeletConfig,
        *,
        clock: Clock,
        mounter: Mounter | None = None,
        machine: Machine | None = None,
        hierarchies: Hierarchies | None = None,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        self.config = config
        self.workers: dict[str, PodWorker] = {}  # By pod uid.
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._machine = machine or read_machine()
        if hierarchies is None and config.manage_cgroups:
            hierarchies = find_hierarchies(MOUNTS.read_text())
        self._cgroups = PodCgroups(config, hierarchies if config.manage_cgroups else None)
        self._recorder = EventRecorder(client, "kubelet", clock=clock, host=config.node_name)
        self._state = RuntimeState(runtime, self._pod_state_changed, clock=clock, relist_seconds=config.relist_seconds)
        self._sources = Sources(client, clock)
        self._volumes = Volumes(client, self._sources, config, mounter or KernelMounter(), clock=clock, offload=offload)
        self._images = Images(runtime, self._recorder, clock, parallel=config.max_parallel_image_pulls)
        self._pods = Informer(client, Pod, fields=f"spec.nodeName={config.node_name}", clock=clock)
        self._services = Informer(client, Service, clock=clock)
        self._services.add_index("namespace", lambda service: (service.namespace,))
        self._node_status = NodeStatus(client, config, self._machine, self._node_facts, self._node_event, clock=clock)
        self._offload = offload
        self._runtime_version = ""
        self._image_list: list[Image] = []
        self._images_listed_at: float | None = None
        self._gone: set[str] = set()  # Pods we are done with that the API server still has.
        self._is_shutting_down = False
        self._eviction = EvictionManager(
            config,
            runtime,
            self._state,
            self._volumes,
            self._recorder,
            self.workers,
            self._disk,
            self._node_event,
            self._node_status.report_soon,
            clock=clock,
            offload=offload,
        )
        self._image_gc = ImageGC(
            config, runtime, self._state, self._disk, self._images.used, self._node_event, clock=clock
        )
        self._logs = LogRotation(config, runtime, self._state, self.all_pods, clock=clock, offload=offload)
        self._static = StaticPods(
            client,
            config,
            started=self._static_started,
            gone=self._static_gone,
            mirrored=self._mirrored,
            find_mirror=lambda pod: self._pods.get(pod.key),
            node=lambda: self._node_status.node,
            clock=clock,
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._probe_client: ProbeClient | None = None
        self._shared: Services | None = None

    async def run(self) -> None:
        """Be the node's kubelet until cancelled. Containers outlive it."""
        self.config.pods_dir.mkdir(parents=True, exist_ok=True)
        self.config.logs_dir.mkdir(parents=True, exist_ok=True)
        self._runtime_version = await self._wait_for_runtime()
        self._cgroups.enforce_allocatable()
        # Probes open a connection each time, as a new client would. Source: upstream, DisableKeepAlives.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http,
            asyncio.TaskGroup() as tasks,
        ):
            self._tasks = tasks
            self._probe_client = ProbeClient(self._runtime, http)
            self._shared = self._make_services()
            tasks.create_task(self._recorder.run(), name="events")
            tasks.create_task(self._node_status.run(), name="node")
            tasks.create_task(self._pods.run(), name="pods")
            tasks.create_task(self._services.run(), name="services")
            self._node_event("Starting", "Starting kubelet.")
            await self._first_list()
            tasks.create_task(self._state.follow_events(), name="runtime events")
            tasks.create_task(self._state.keep_listing(), name="relist")
            # Environment variables need the services, and adoption needs to know which pods are ours.
            await self._services.synced()
            await self._pods.synced()
            self._pods.on_change(self._pod_changed)
            tasks.create_task(self._keep_house(), name="housekeeping")
            tasks.create_task(self._eviction.run(), name="eviction")
            tasks.create_task(self._image_gc.run(), name="image garbage collection")
            tasks.create_task(self._logs.run(), name="log rotation")
            if self.config.manifest_dir is not None:
                tasks.create_task(self._static.run(self.config.manifest_dir), name="static pods")
            if self.config.tls is not None:
                tasks.create_task(self.server().run(self.config.tls), name="server")

    def server(self) -> KubeletServer:
        """The node's HTTPS server."""
        authorizer = Authorizer(self._client, self.config.node_name, self._clock)
        return KubeletServer(Context(self.config, self._runtime, self._state, self, authorizer, self._clock))

    def find_pod(self, namespace: str, name: str) -> Pod | None:
        """The pod of this name that the node knows of."""
        found = [it.pod for it in self.workers.values() if it.pod.name == name and it.pod.namespace == namespace]
        # A name may pass from a pod that is ending to another.
        return max(found, key=lambda pod: pod.metadata.deletion_timestamp is None, default=None)

    def all_pods(self) -> list[Pod]:
        """The pods of this node with their present status."""
        return [worker.pod for worker in self.workers.values()]

    async def shut_down(self) -> None:
        """End all pods before the machine goes down, critical ones last; `run` must still be running.

        Each half has its share of the configured time. Source: upstream nodeshutdown.
        """
        self._is_shutting_down = True
        self._node_status.report_soon()
        config = self.config
        whole, critical = config.shutdown_grace_seconds, config.shutdown_grace_critical_seconds
        for seconds, wanted in ((whole - critical, False), (critical, True)):
            ending = [worker for worker in self.workers.values() if is_critical(worker.pod) == wanted]
            for worker in ending:
                grace = min(worker.pod.grace_seconds(), int(seconds))
                worker.end(Ending(grace, Verdict("Terminated", SHUTDOWN_WORDS, disruption=True)))
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds + SHUTDOWN_SLACK_SECONDS):
                    await together(*(worker.stopped.wait() for worker in ending))

    async def _wait_for_runtime(self) -> str:
        while True:
            try:
                return await self._runtime.version()
            except (RuntimeFailure, TimeoutError) as error:
                log.warning("container runtime is down", extra={"error": str(error)})
                await self._clock.sleep(RUNTIME_RETRY_SECONDS)

    async def _first_list(self) -> None:
        while True:
            try:
                await self._state.relist()
                return
            except (RuntimeFailure, TimeoutError) as error:
                log.warning("containers not listed", extra={"error": str(error)})
                await self._clock.sleep(RUNTIME_RETRY_SECONDS)

    def _make_services(self) -> Services:
        return Services(
            client=self._client,
            runtime=self._runtime,
            runtime_name=self._runtime_version.partition("://")[0],
            config=self.config,
            clock=self._clock,
            recorder=self._recorder,
            state=self._state,
            images=self._images,
            sources=self._sources,
            volumes=self._volumes,
            cgroups=self._cgroups,
            host_resolver=self._host_resolver,
            service_variables=self._service_variables,
            offload=self._offload,
            find_obstacle=self._find_obstacle,
        )

    # Pods.

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """What the watch brought. A name may pass from one pod to another without our seeing the gap."""
        if old is not None and (new is None or new.uid != old.uid):
            self._gone.discard(old.uid)
            if old.uid in self.workers:
                self.workers[old.uid].remove()
        if new is None or new.is_mirror or new.uid in self._gone:
            return
        worker = self.workers.get(new.uid)
        if worker is not None:
            worker.update(new)
            return
        verdict = self._judge(new)
        worker = self._start_worker(new)
        if verdict is not None:
            self._recorder.warning(new, verdict.reason, verdict.message)
            worker.end(Ending(0, verdict))

    def _judge(self, pod: Pod) -> Verdict | None:
        """Why a pod we see for the first time may not run. What ran before we came goes on."""
        if pod.is_finished or pod.is_deleting or "startTime" in pod.status:
            return None
        if self._is_shutting_down:
            return Verdict("NodeShutdown", "Pod was rejected as the node is shutting down.")
        others = [it for it in self.workers.values() if not it.is_over and not it.is_ending]
        taken = (port for it in others for port in host_ports(it.pod))
        return refuse(pod, [it.requests for it in others], self.config, taken)

    def _find_obstacle(self, pod: Pod) -> Pending | None:
        others = [it.requests for uid, it in self.workers.items() if uid != pod.uid and not it.is_over]
        return find_obstacle(pod, others, self.config)

    def _static_started(self, pod: Pod) -> None:
        if pod.uid not in self.workers:
            self._start_worker(pod)

    def _static_gone(self, uid: str) -> None:
        if uid in self.workers:
            self.workers[uid].withdraw()

    def _mirrored(self, uid: str, mirror: Pod) -> None:
        worker = self.workers.get(uid)
        if worker is not None and worker.writer.uid != mirror.uid:
            worker.writer.adopt(mirror.uid, mirror.status)
            worker.wake()

    def _start_worker(self, pod: Pod) -> PodWorker:
        assert self._tasks is not None
        worker = self.workers[pod.uid] = self._new_worker(pod)
        self._tasks.create_task(self._work(worker), name=f"worker {pod.key}")
        return worker

    def _new_worker(self, pod: Pod) -> PodWorker:
        assert self._shared is not None
        assert self._probe_client is not None
        return PodWorker(self._shared, pod, self._probe_client)

    async def _work(self, worker: PodWorker) -> None:
        """Run the worker; one that fails is no reason to let go of the other pods."""
        uid = worker.pod.uid
        while True:
            try:
                await worker.run()
                break
            except Exception:
                log.exception("pod worker failed", extra={"pod": str(worker.pod.key)})
                await self._clock.sleep(RUNTIME_RETRY_SECONDS)
                current = self._pods.get(worker.pod.key)
                known = current is not None and current.uid == uid
                worker = self.workers[uid] = self._new_worker(current if known and current else worker.pod)
                if not known and not worker.pod.is_static:
                    worker.remove()
        self.workers.pop(uid, None)
        current = self._pods.get(worker.pod.key)
        if current is not None and current.uid == uid:
            self._gone.add(uid)

    def _pod_state_changed(self, uid: str) -> None:
        worker = self.workers.get(uid)
        if worker is not None:
            worker.wake()

    async def _keep_house(self) -> None:
        """End what the runtime runs for pods that are no longer ours, for ever."""
        while True:
            self._adopt_orphans()
            await self._clock.sleep(self.config.housekeeping_seconds)

    def _adopt_orphans(self) -> None:
        for uid in self._state.uids() - self.workers.keys():
            state = self._state.pod(uid)
            sandbox = state.sandbox
            if sandbox is None:
                continue
            # Enough of a pod to end it properly: hooks and grace are in the containers' annotations.
            meta = ObjectMeta(name=sandbox.name, namespace=sandbox.namespace, uid=uid)
            log.info("ending an orphaned pod", extra={"pod": f"{sandbox.namespace}/{sandbox.name}", "uid": uid})
            grace = max((grace_of(each.annotations) for each in state.containers), default=0)
            self._start_worker(Pod(metadata=meta, spec=PodSpec(termination_grace_period_seconds=grace))).remove()

    # The node.

    async def _node_facts(self) -> Facts:
        problems: list[str] = []
        try:
            problems += await self._runtime.problems()
            await self._list_images()
        except (RuntimeFailure, TimeoutError):
            problems.append("container runtime is down")
        seen = self._state.healthy_at
        if seen is not None and (silent := self._clock.monotonic() - seen) > RUNTIME_SILENT_SECONDS:
            words = f"PLEG is not healthy: pleg was last seen active {int(silent // 60)}m{int(silent % 60)}s ago"
            problems.append(f"{words}; threshold is 3m0s")
        if self._is_shutting_down:
            problems.append("node is shutting down")
        return Facts(self._runtime_version, self._image_list, self._eviction.pressures, problems)

    def _disk(self) -> Json:
        return disk_stats(self.config.root_dir)

    async def _list_images(self) -> None:
        now = self._clock.monotonic()
        if self._images_listed_at is None or now - self._images_listed_at >= IMAGES_FRESH_SECONDS:
            self._image_list = list(await self._runtime.list_images())
            self._images_listed_at = now

    def _node_event(self, reason: str, message: str) -> None:
        node = self._node_status.node or Node(
            metadata=ObjectMeta(name=self.config.node_name, uid=self.config.node_name)
        )
        self._recorder.normal(node, reason, message)

    def _host_resolver(self) -> Resolver:
        with suppress(OSError):
            return parse_resolv_conf(self.config.resolv_conf.read_text())
        return Resolver((), (), ())

    def _service_variables(self, namespace: str, links: bool) -> Mapping[str, str]:
        services = self._services.index("namespace", namespace)
        kubernetes = self._services.get(Key("default", "kubernetes"))
        if kubernetes is not None and namespace != "default":
            services.append(kubernetes)
        return service_environment(services, namespace, links=links)
