"""A cluster inside the test's process: API server, scheduler, controllers and simulated nodes over a store in memory."""

import asyncio
import socket
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kobune.aks.clusters import Cluster as ManagedCluster
from kobune.aks.clusters import NodePool, check_cluster
from kobune.aks.versions import DEFAULT_VERSION
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE
from kobune.api.clock import Clock, SystemClock
from kobune.api.objects.core import Node
from kobune.client.client import Client
from kobune.client.informer import Informer
from kobune.client.kubeconfig import render_kubeconfig
from kobune.controlplane.apiserver.config import ApiServerConfig, ServiceAccountKeys
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.store.contract import Store
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.control_plane import Parts, control_plane
from kobune.host.local import LocalTransport
from kobune.host.pki import Authority, new_signing_key
from kobune.host.readiness import wait_for_default_account
from kobune.host.simulation import always
from kobune.host.sockets import listener, server_tls

if TYPE_CHECKING:
    import kubernetes.client

ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))
# How long nodes may take to be there, on a machine busy with other things.
READY_SECONDS, SECONDS_PER_NODE = 60.0, 0.02


@dataclass(frozen=True, slots=True)
class Options:
    """What a test cluster is made of.

    Attributes:
        nodes: simulated nodes, of `vm_size`; their pods run, log a line and end as annotations say, without containers.
        controllers: as upstream's --controllers flag: "*" is all, "*,-job" all but one, "" none.
        scheduler: whether pods are scheduled.
        clock: time for everything in the cluster; pass a virtual one to skip waiting.
        store: where the state is kept, opened and closed by whoever passes it; None: in memory.
        seed: makes random choices repeatable.
    """

    nodes: int = 1
    kubernetes_version: str = DEFAULT_VERSION
    vm_size: str = DEFAULT_VM_SIZE
    max_pods: int = 110
    scheduler: bool = True
    controllers: str = "*"
    clock: Clock = field(default_factory=SystemClock)
    store: Store | None = None
    seed: int = 0


class Cluster:
    """A cluster for tests: `with Cluster(nodes=3) as cluster:` or `async with Cluster(nodes=3) as cluster:`.

    Used with `with`, it runs in a thread of its own, beside the test. Used with `async with`, it runs in the test's
    event loop, and `client` speaks to it without a socket. Nothing is left on disk or in memory afterwards.
    Options are the fields of `Options`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = Options(**options)
        pool = NodePool("simulated", 1, self.options.vm_size, self.options.max_pods, simulated=True)
        checked = check_cluster(ManagedCluster("test", self.options.kubernetes_version, (pool,)))
        # How many nodes a cluster may have is the service's affair: a test may have more.
        pools = tuple(replace(each, count=self.options.nodes) for each in checked.pools)
        self._managed = replace(checked, pools=pools)
        self._directory = tempfile.TemporaryDirectory(prefix="kobune-test-")
        self._server: ApiServer | None = None
        self._running: Any = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = ""

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator, for any client."""
        return Path(self._directory.name) / "kubeconfig"

    @property
    def client(self) -> Client:
        """Our own client, without a socket; only inside `async with`, in the same event loop."""
        if self._server is None or self._thread is not None:
            raise RuntimeError("the in-process client is there inside `async with Cluster(...)`")
        return Client(LocalTransport(self._server, ADMIN))

    def client_configuration(self) -> "kubernetes.client.Configuration":
        """A configuration for the `kubernetes` package: `kubernetes.client.ApiClient(cluster.client_configuration())`."""
        import kubernetes.client
        import kubernetes.config

        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
            str(self.kubeconfig), client_configuration=configuration
        )
        return configuration

    async def __aenter__(self) -> Self:
        self._running = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._running.__aexit__(None, None, None)
        finally:
            self._server = None
            self._directory.cleanup()

    def __enter__(self) -> Self:
        started: threading.Event = threading.Event()
        failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._be_thread, args=(started, failure), name="kobune cluster")
        self._thread.start()
        started.wait()
        if failure:
            self._thread.join()
            self._directory.cleanup()
            raise failure[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._directory.cleanup()

    @cached_property
    def _stop(self) -> asyncio.Event:
        return asyncio.Event()

    def _be_thread(self, started: threading.Event, failure: list[BaseException]) -> None:
        async def live() -> None:
            self._loop = asyncio.get_running_loop()
            async with self._run():
                started.set()
                await self._stop.wait()

        try:
            # Not uvloop: closing its loop can wait for ever on a connection that a failed test has left open.
            asyncio.run(live())
        except BaseException as error:
            failure.append(error)
        finally:
            started.set()

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        authority, signing_key = Authority.create("kobune-test-ca", datetime.now(UTC)), new_signing_key()
        with listener("127.0.0.1", 0) as sock:
            address, port = sock.getsockname()
            self.url = f"https://{address}:{port}"
            self._write_kubeconfig(authority)
            tls = self._tls(authority)
            parts = Parts(
                scheduler=self.options.scheduler,
                controllers=self.options.controllers,
                simulated=always(self._managed) if self.options.nodes else None,
                simulated_tls=tls,
                settings=Settings(
                    local_volumes=Path(self._directory.name) / "nodes",
                    load_balancer_range="10.224.240.0/20",
                    signing_certificate=authority.credential.certificate,
                    signing_key=authority.credential.key,
                    service_account_key=signing_key,
                ),
            )
            config, store = self._config(authority, signing_key), self.options.store or MemoryStore()
            async with (
                control_plane(config, store, parts, clock=self.options.clock, seed=self.options.seed) as server,
                serve(server, sock=sock, tls=tls),
            ):
                self._server = server
                client = Client(LocalTransport(server, ADMIN))
                await self._wait_for_nodes(client)
                if self.options.controllers == "*":
                    await wait_for_default_account(client)
                yield

    async def _wait_for_nodes(self, client: Client) -> None:
        """By a watch: to list thousands again and again would slow down what it waits for."""
        ready: set[str] = set()
        enough = asyncio.Event()

        def count(_: Node | None, node: Node | None) -> None:
            # Without controllers nobody takes the first taint away.
            if node is not None and (node.takes_pods if self.options.controllers == "*" else node.is_ready):
                ready.add(node.name)
            if len(ready) >= self.options.nodes:
                enough.set()

        nodes = Informer(client, Node)
        nodes.on_change(count)
        async with asyncio.timeout(READY_SECONDS + SECONDS_PER_NODE * self.options.nodes), asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(nodes.run(), name="wait for nodes")
            if self.options.nodes:
                await enough.wait()
            watching.cancel()

    def _config(self, authority: Authority, signing_key: bytes) -> ApiServerConfig:
        directory = Path(self._directory.name)
        client = authority.issue_client("kube-apiserver-kubelet-client", ["system:masters"], datetime.now(UTC))
        to_kubelets = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        to_kubelets.load_cert_chain(*client.write(directory, "kubelet-client"))
        return ApiServerConfig(
            kubelet_tls=to_kubelets,
            cluster_version=self._managed.kubernetes_version,
            client_ca=authority.credential.certificate,
            service_account_keys=ServiceAccountKeys(load_pem_private_key(signing_key, password=None)),
        )

    def _tls(self, authority: Authority) -> Any:
        directory, now = Path(self._directory.name), datetime.now(UTC)
        authority.credential.write(directory, "ca")
        server = authority.issue_server("kube-apiserver", ["127.0.0.1", "localhost", socket.gethostname()], now)
        certificate, key = server.write(directory, "kube-apiserver")
        return server_tls(certificate, key, directory / "ca.crt")

    def _write_kubeconfig(self, authority: Authority) -> None:
        credential = authority.issue_client(ADMIN.name, ["system:masters"], datetime.now(UTC))
        text = render_kubeconfig(
            cluster="kobune-test",
            server=self.url,
            user=ADMIN.name,
            authority=authority.credential.certificate,
            certificate=credential.certificate,
            key=credential.key,
        )
        self.kubeconfig.write_text(text)
        self.kubeconfig.chmod(0o600)
