"""One process of a redundant control plane: an API server, a scheduler, a controller manager, or the simulator.

All of them meet at the cluster's one address. Every API server listens on it and the kernel deals connections out among
those that live, so nothing stands between the address and them.
"""

import contextlib
import logging
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from kobune.api.clock import Clock, SystemClock
from kobune.api.errors import ApiError
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig
from kobune.client.leases import LeaderElection, LeadershipLost
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.logs import log_to_files
from kobune.host.loops import patient_collector, run_loop, until_signalled
from kobune.host.pulse import beating
from kobune.host.spec import Spec, read_spec
from kobune.host.topology import API_SERVER, CONTROLLER_MANAGER, SCHEDULER, SIMULATOR, component_of, replicas

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # Between two looks for an API server that is not there yet.


async def run_api_server(cluster: ClusterLayout, spec: Spec, name: str) -> None:
    """One of several API servers, until SIGTERM."""
    from kobune.host.control_plane import Parts, run
    from kobune.host.settings import controller_settings

    parts = Parts(scheduler=False, controllers="", settings=controller_settings(cluster, spec))
    await run(cluster, spec, parts, shares_address=True, pulse=cluster.pulse(name))


async def run_scheduler(cluster: ClusterLayout, spec: Spec, name: str) -> None:
    """The scheduler while this replica leads, until SIGTERM. Raises LeadershipLost."""
    from kobune.controlplane.scheduler.configuration import default_configuration
    from kobune.controlplane.scheduler.scheduler import Scheduler

    clock, rng = SystemClock(), random.Random()
    async with _client(cluster, SCHEDULER, clock) as client, beating(cluster.pulse(name), clock):
        scheduler = Scheduler(
            client, clock=clock, rng=rng, config=default_configuration(spec.features), host=socket.gethostname()
        )
        election = _election(client, SCHEDULER, name, clock, rng)
        await until_signalled(lambda: election.lead(scheduler.run))


async def run_controller_manager(cluster: ClusterLayout, spec: Spec, name: str) -> None:
    """The controller manager while this replica leads, until SIGTERM. Raises LeadershipLost."""
    from kobune.controlplane.controllers.manager import ControllerManager
    from kobune.host.settings import controller_settings

    clock, rng = SystemClock(), random.Random()
    async with _client(cluster, CONTROLLER_MANAGER, clock) as client, beating(cluster.pulse(name), clock):
        settings = controller_settings(cluster, spec)
        manager = ControllerManager(client, clock=clock, rng=rng, settings=settings)
        election = _election(client, CONTROLLER_MANAGER, name, clock, rng)
        await until_signalled(lambda: election.lead(manager.run))


async def run_simulator(cluster: ClusterLayout, spec: Spec, name: str) -> None:
    """The kubelets of the cluster's simulated nodes, until SIGTERM."""
    from kobune.host.instances import simulated_nodes
    from kobune.host.settings import simulator_tls
    from kobune.host.simulation import simulate

    clock, rng = SystemClock(), random.Random()
    tls = simulator_tls(cluster)
    async with _client(cluster, SIMULATOR, clock) as client, beating(cluster.pulse(name), clock):
        await until_signalled(lambda: simulate(client, simulated_nodes(cluster, clock), clock=clock, rng=rng, tls=tls))


COMPONENTS: Mapping[str, Callable[[ClusterLayout, Spec, str], Awaitable[None]]] = {
    API_SERVER: run_api_server,
    SCHEDULER: run_scheduler,
    CONTROLLER_MANAGER: run_controller_manager,
    SIMULATOR: run_simulator,
}


@asynccontextmanager
async def _client(cluster: ClusterLayout, component: str, clock: Clock) -> AsyncIterator[Client]:
    """A client under the component's name, once an API server answers."""
    client = Client(load_kubeconfig(cluster.component_kubeconfig(component), user_agent=component))
    try:
        while True:
            try:
                await client.transport.request("GET", "/readyz")
                break
            except ApiError:
                await clock.sleep(LOOK_SECONDS)
        yield client
    finally:
        await client.transport.close()


def _election(client: Client, component: str, name: str, clock: Clock, rng: random.Random) -> LeaderElection:
    """A replica's candidacy. Its name stays the same from process to process, and the service never runs two of one name:
    a leader that was killed goes on as soon as it is started again, without waiting for its own lease to run out."""
    identity = f"{socket.gethostname()}_{name}"
    return LeaderElection(client, Key("kube-system", component), identity, clock=clock, rng=rng)


async def run(cluster: ClusterLayout, spec: Spec, name: str) -> None:
    """Be the replica of this name, until SIGTERM."""
    with patient_collector():
        await COMPONENTS[component_of(name)](cluster, spec, name)


def main(arguments: Sequence[str]) -> int:
    """`python -m kobune.host.replica STATE_DIR CLUSTER NAME`, as the service starts it."""
    from kobune.controlplane.store.contract import Damaged, Unavailable
    from kobune.host.stores import BadStore

    state_dir, cluster_name, name = arguments
    cluster = Layout(Path(state_dir)).cluster(cluster_name)
    spec = read_spec(cluster)
    if spec is None or name not in replicas(simulates=True):
        print(f"there is no replica {name!r} of a cluster {cluster_name!r} in {state_dir}", file=sys.stderr)
        return 1
    os.umask(0o077)
    log_to_files(cluster.logs, prefix=f"{name}.")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            run_loop(run(cluster, spec, name))
        except (OSError, BadStore, Damaged, LeadershipLost, Unavailable) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
