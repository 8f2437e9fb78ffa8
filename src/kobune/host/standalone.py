"""kube-scheduler and kube-controller-manager by themselves, as upstream's binaries are started."""

import contextlib
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kobune.aks.versions import DEFAULT_VERSION
from kobune.api.clock import SystemClock
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig
from kobune.host import loops
from kobune.host.flag_values import BadFlag, gates_of, read_file, read_optional

if TYPE_CHECKING:
    from kobune.host.endpoints import Serving


async def run_scheduler(
    kubeconfig: Path,
    *,
    leader_elect: bool,
    config: Path | None = None,
    serving: "Serving | None" = None,
    feature_gates: Sequence[str] = (),
) -> None:
    """kube-scheduler against any API server, until a signal.

    Args:
        config: a file with a KubeSchedulerConfiguration.
        serving: where health and metrics are answered; None is nowhere.
    Raises:
        BadFlag, LeadershipLost, KubeconfigError; OSError: the port is in use; Invalid: the configuration is none.
    """
    from kobune.client.leases import LeaderElection
    from kobune.controlplane.scheduler.configuration import default_configuration
    from kobune.controlplane.scheduler.configuration_file import parse_configuration
    from kobune.controlplane.scheduler.scheduler import Scheduler
    from kobune.host.endpoints import Check, Endpoints, serve_endpoints

    features = gates_of("--feature-gates", feature_gates, DEFAULT_VERSION)
    chosen = parse_configuration(read_file("--config", config), features) if config else default_configuration(features)
    clock, rng = SystemClock(), random.Random()
    client = Client(load_kubeconfig(kubeconfig, user_agent="kube-scheduler"))
    scheduler = Scheduler(client, clock=clock, rng=rng, config=chosen, host=socket.gethostname())
    election = LeaderElection(client, Key("kube-system", "kube-scheduler"), identity(rng), clock=clock, rng=rng)
    work = partial(election.lead, scheduler.run) if leader_elect else scheduler.run

    def unsynced() -> str:
        # A candidate that waits for its turn is ready: it has nothing to be in step with yet.
        waits = leader_elect and not election.is_leader
        return "" if scheduler.has_synced or waits else "handlers are not fully synchronized"

    ready = (Check("sched-handler-sync", unsynced),)
    endpoints = Endpoints("kube-scheduler", scheduler.render_metrics, ready=ready)
    async with contextlib.AsyncExitStack() as stack:
        if serving is not None:
            await stack.enter_async_context(serve_endpoints(endpoints, serving, client, clock=clock))
        await until_signalled(work, client)


async def run_controller_manager(
    kubeconfig: Path,
    *,
    leader_elect: bool,
    controllers: str,
    root_ca_file: Path | None,
    allocate_node_cidrs: bool,
    cluster_cidr: str,
    signing_certificate_file: Path | None = None,
    signing_key_file: Path | None = None,
    service_account_key_file: Path | None = None,
    load_balancer_range: str = "",
    serving: "Serving | None" = None,
    feature_gates: Sequence[str] = (),
) -> None:
    """kube-controller-manager against any API server, until a signal.

    Args:
        serving: where health and metrics are answered; None is nowhere.
    Raises:
        BadFlag, LeadershipLost, KubeconfigError; OSError: the port is in use.
    """
    from kobune.controlplane.controllers.controller import Settings
    from kobune.controlplane.controllers.manager import ControllerManager
    from kobune.host.endpoints import Check, Endpoints, serve_endpoints

    gates_of("--feature-gates", feature_gates, DEFAULT_VERSION)  # What runs follows what the API server serves.
    settings = Settings(
        root_ca=read_optional("--root-ca-file", root_ca_file),
        allocate_node_cidrs=allocate_node_cidrs,
        cluster_cidr=cluster_cidr,
        signing_certificate=read_optional("--cluster-signing-cert-file", signing_certificate_file),
        signing_key=read_optional("--cluster-signing-key-file", signing_key_file),
        service_account_key=read_optional("--service-account-private-key-file", service_account_key_file),
        load_balancer_range=load_balancer_range,
    )
    if bool(settings.signing_certificate) != bool(settings.signing_key):
        raise BadFlag("--cluster-signing-cert-file and --cluster-signing-key-file need each other")
    clock, rng = SystemClock(), random.Random()
    client = Client(load_kubeconfig(kubeconfig, user_agent="kube-controller-manager"))
    manager = ControllerManager(
        client,
        clock=clock,
        rng=rng,
        controllers=controllers,
        settings=settings,
        leader_elect=leader_elect,
        identity=identity(rng),
    )
    # A leader that neither renews nor steps down is to be started anew.
    election = manager.election
    overdue = Check("leaderElection", lambda: "the lease has expired" if election and election.is_overdue else "")

    def unsynced() -> str:
        # A candidate that waits for its turn is ready: it has nothing to be in step with yet.
        waits = election is not None and not election.is_leader
        return "" if manager.started.is_set() or waits else "informers are not fully synchronized"

    endpoints = Endpoints(
        "kube-controller-manager", manager.metrics, alive=(overdue,), ready=(Check("informer-sync", unsynced),)
    )
    async with contextlib.AsyncExitStack() as stack:
        if serving is not None:
            await stack.enter_async_context(serve_endpoints(endpoints, serving, client, clock=clock))
        await until_signalled(manager.run, client)


def identity(rng: random.Random) -> str:
    """A candidate's name in a leader election: the machine's name and something that tells its processes apart."""
    return f"{socket.gethostname()}_{rng.getrandbits(64):016x}"


async def until_signalled(work: Callable[[], Awaitable[None]], client: Client) -> None:
    """Run a component until SIGINT or SIGTERM, and let go of its connections; raises what the component raises."""
    try:
        await loops.until_signalled(work)
    finally:
        await client.transport.close()
