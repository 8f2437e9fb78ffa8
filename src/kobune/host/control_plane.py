"""The control plane of one cluster in one process: API server, scheduler, controller manager, and simulated nodes."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kobune.aks.audit import POLICY
from kobune.api.clock import Clock, SystemClock
from kobune.api.features import parse_runtime_config
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig, FrontProxy, ServiceAccountKeys
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.request import MASTER, User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.controllers.manager import ControllerManager
from kobune.controlplane.scheduler.configuration import default_configuration
from kobune.controlplane.scheduler.scheduler import Scheduler
from kobune.controlplane.store.contract import Damaged, Store, Unavailable
from kobune.controlplane.store.encrypted import EncryptedStore
from kobune.controlplane.store.sqlite_log import InUse
from kobune.host import storage_classes
from kobune.host.authorized_ranges import admission_of
from kobune.host.etcd_members import answering
from kobune.host.guard import EntraGuard, keep_admins
from kobune.host.instances import follow, simulated_nodes
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.local import LocalTransport
from kobune.host.logs import log_to_files, write_audit
from kobune.host.loops import patient_collector, run_loop
from kobune.host.network_policy import keep_role
from kobune.host.pki import FRONT_PROXY
from kobune.host.pulse import beat
from kobune.host.settings import controller_settings, simulator_tls
from kobune.host.simulation import Wanted, simulate
from kobune.host.sockets import listener, server_tls
from kobune.host.spec import Spec, read_spec
from kobune.host.stores import BadStore, favour_commits, open_store, store_flags
from kobune.host.topology import CONTROL_PLANE
from kobune.node.dns.service import announce

log = logging.getLogger(__name__)

AUTHENTICATED = "system:authenticated"
SCHEDULER = User("system:kube-scheduler", groups=(AUTHENTICATED,))
CONTROLLER_MANAGER = User("system:kube-controller-manager", groups=(AUTHENTICATED,))
# The simulator plays thousands of kubelets at once, so it is none of them.
SIMULATOR = User("system:kobune-simulator", groups=("system:masters", AUTHENTICATED))


@dataclass(frozen=True, slots=True)
class Parts:
    """Which components run in this process beside the API server."""

    scheduler: bool = True
    controllers: str = "*"  # As upstream's --controllers flag; empty runs none.
    simulated: AsyncIterator[Wanted] | None = None  # The nodes to simulate, anew whenever others are wanted.
    simulated_tls: ssl.SSLContext | None = None  # Serves the simulated nodes' logs and exec; None: they have none.
    settings: Settings = field(default_factory=Settings)  # Of the controllers.


@asynccontextmanager
async def control_plane(
    config: ApiServerConfig, store: Store, parts: Parts, *, clock: Clock, seed: int | None = None
) -> AsyncIterator[ApiServer]:
    """A running control plane in this process; its components speak to the API server through the in-process client.

    Args:
        seed: makes the scheduler's choice among equal nodes repeatable.
    """
    rng = random.Random(seed)
    with patient_collector():
        async with ApiServer(config, store, clock=clock) as server, asyncio.TaskGroup() as tasks:
            running = []
            if parts.scheduler:
                scheduler = Scheduler(
                    Client(LocalTransport(server, SCHEDULER, user_agent="kube-scheduler")),
                    clock=clock,
                    rng=rng,
                    config=default_configuration(config.feature_gates),
                    host=socket.gethostname(),
                )
                server.metrics.neighbours.append(scheduler.render_metrics)
                server.companions.add("scheduler")
                running.append(tasks.create_task(scheduler.run(), name="kube-scheduler"))
            if parts.controllers:
                client = Client(LocalTransport(server, CONTROLLER_MANAGER, user_agent="kube-controller-manager"))
                # One authority signs for clients and for the API server.
                settings = replace(parts.settings, root_ca=config.client_ca)
                manager = ControllerManager(
                    client,
                    clock=clock,
                    rng=rng,
                    controllers=parts.controllers,
                    settings=settings,
                )
                server.metrics.neighbours.append(manager.metrics)
                server.companions.add("controller-manager")
                running.append(tasks.create_task(manager.run(), name="kube-controller-manager"))
            if parts.settings.local_volumes is not None:
                announcing = storage_classes.announce(Client(LocalTransport(server, MASTER)), clock)
                running.append(tasks.create_task(announcing, name="storage classes"))
            if parts.simulated is not None:
                client = Client(LocalTransport(server, SIMULATOR, user_agent="kubelet"))
                simulation = simulate(client, parts.simulated, clock=clock, rng=rng, tls=parts.simulated_tls)
                running.append(tasks.create_task(simulation, name="simulator"))
            try:
                yield server
            finally:
                for task in running:
                    task.cancel()


def server_config(cluster: ClusterLayout, spec: Spec) -> ApiServerConfig:
    """The API server of a managed cluster, with the keys that the service has laid ready."""
    key = load_pem_private_key((cluster.pki / "service-account.key").read_bytes(), password=None)
    previous = [
        load_pem_private_key(path.read_bytes(), password=None).public_key()
        for path in cluster.pki.glob("service-account-previous.key")
    ]
    to_kubelets = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
    client = cluster.pki / "kube-apiserver-kubelet-client.crt"
    to_kubelets.load_cert_chain(client, client.with_suffix(".key"))
    guard = EntraGuard(cluster.guard, SystemClock())
    return ApiServerConfig(
        cluster_version=spec.cluster.kubernetes_version,
        feature_gates=spec.features,
        runtime_config=parse_runtime_config(spec.runtime_config),
        advertise_address=spec.gateway,
        advertise_port=spec.api_port,
        client_ca=(cluster.pki / "ca.crt").read_bytes(),
        service_account_keys=ServiceAccountKeys(key, previous),
        token_authenticators=(guard.authenticate,),
        authorizers=(guard,),
        kubelet_tls=to_kubelets,
        admits_connection=admission_of(spec),
        audit_policy=POLICY if spec.cluster.audited else None,
        audit_sink=write_audit,
        front_proxy=FrontProxy(
            cluster.pki / f"{FRONT_PROXY}.crt",
            cluster.pki / f"{FRONT_PROXY}.key",
            (cluster.pki / "front-proxy-ca.crt").read_bytes(),
        ),
    )


async def run(
    cluster: ClusterLayout, spec: Spec, parts: Parts, *, shares_address: bool = False, pulse: Path | None = None
) -> None:
    """The control plane of a managed cluster, or its API server alone, until SIGTERM.

    Args:
        shares_address: other processes of the cluster listen on its address too.
        pulse: where to give signs of life while requests are answered.
    """
    favour_commits()
    clock = SystemClock()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Real nodes may come at any time, and with the first of them the gateway's address.
    sockets = [listener(address, spec.api_port, shared=shares_address) for address in ("127.0.0.1", spec.gateway)]
    pki = cluster.pki
    tls = server_tls(pki / "kube-apiserver.crt", pki / "kube-apiserver.key", pki / "ca.crt")
    flags = store_flags(cluster, spec)
    config = replace(server_config(cluster, spec), shared_store=flags.is_shared)
    store = await open_store(flags)
    try:
        if flags.is_shared:
            await answering(store)
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(control_plane(config, store, parts, clock=clock))
            for sock in sockets:
                await stack.enter_async_context(serve(server, sock=sock, tls=tls))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            client = Client(LocalTransport(server, MASTER))
            beside = [
                tasks.create_task(announce_dns(cluster, client, clock), name="kube-dns service"),
                tasks.create_task(keep_role(cluster, client, clock), name="role for network policies"),
                tasks.create_task(keep_admins(cluster.guard, client, clock), name="Entra administrators"),
            ]
            if isinstance(store, EncryptedStore):
                beside.append(tasks.create_task(_seal_anew(store), name="seal anew"))
            if pulse is not None:
                beside.append(tasks.create_task(beat(pulse, clock), name="pulse"))
            for task in beside:
                stack.callback(task.cancel)
            log.info("control plane started", extra={"port": spec.api_port})
            await stop.wait()
            log.info("control plane stops")
    finally:
        await store.close()


async def announce_dns(cluster: ClusterLayout, client: Client, clock: Clock) -> None:
    """Keep the DNS Service from the first real node on: they are its servers."""
    async for instances in follow(cluster, clock):
        if any(not machine.simulated for machine in instances.machines):
            await announce(client, clock)
            return


async def _seal_anew(store: EncryptedStore) -> None:
    """What was written with an older key, or none, is written again, so that the old key can go."""
    try:
        count = await store.seal_anew()
    except (Damaged, Unavailable) as error:
        log.warning("not everything is sealed with the newest key", extra={"failure": str(error)})
    else:
        log.info("everything is sealed with the newest key", extra={"sealed_anew": count})


def main(arguments: Sequence[str]) -> int:
    """`python -m kobune.host.control_plane STATE_DIR CLUSTER`, as the service starts it."""
    state_dir, name = arguments
    cluster = Layout(Path(state_dir)).cluster(name)
    spec = read_spec(cluster)
    if spec is None:
        print(f"there is no cluster {name!r} in {state_dir}", file=sys.stderr)
        return 1
    os.umask(0o077)
    log_to_files(cluster.logs)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            parts = Parts(
                simulated=simulated_nodes(cluster, SystemClock()),
                simulated_tls=simulator_tls(cluster),
                settings=controller_settings(cluster, spec),
            )
            run_loop(run(cluster, spec, parts, pulse=cluster.pulse(CONTROL_PLANE)))
        except (OSError, BadStore, InUse, Damaged, Unavailable) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
