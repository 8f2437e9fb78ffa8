"""Which processes a cluster's control plane consists of: one for all of it, or every component apart and more than once."""

import sys
from collections.abc import Sequence

from kobune.host.etcd_members import STOP_SECONDS, member_commands, members
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.processes import Command
from kobune.host.spec import Spec

CONTROL_PLANE = "control-plane"
API_SERVER, SCHEDULER, CONTROLLER_MANAGER = "kube-apiserver", "kube-scheduler", "kube-controller-manager"
SIMULATOR = "simulator"
REPLICAS = 2  # Of each component of a redundant control plane: any one may die.


def control_plane_commands(
    layout: Layout, cluster: ClusterLayout, spec: Spec, *, simulates: bool
) -> dict[str, Command]:
    """The processes of a running cluster's control plane, by name; `simulates` where it has simulated nodes."""
    where = (str(layout.root), cluster.name)
    wanted: dict[str, Command] = {}
    if spec.store == "etcd":
        # etcd reads its certificates anew with each connection.
        wanted |= {name: Command(argv) for name, argv in member_commands(cluster, members(cluster, spec)).items()}
    if not spec.is_redundant:
        argv = (sys.executable, "-m", "kobune.host.control_plane", *where)
        return wanted | {CONTROL_PLANE: Command(argv, stamp(spec))}
    for name in replicas(simulates=simulates):
        wanted[name] = Command((sys.executable, "-m", "kobune.host.replica", *where, name), stamp(spec))
    return wanted


def stamp(spec: Spec) -> str:
    """What of the spec a control plane's process reads only when it starts."""
    cluster = spec.cluster
    return (
        f"Kubernetes {cluster.kubernetes_version}, certificates {cluster.certificate_generation},"
        f" signing key {cluster.service_account_key_generation}{', audited' if cluster.audited else ''}"
        f"{''.join(f', reached from {text}' for text in cluster.authorized_ranges)}"
    )


def replicas(*, simulates: bool) -> Sequence[str]:
    """The processes of a redundant control plane that are not etcd's."""
    names = [f"{part}-{n}" for part in (API_SERVER, SCHEDULER, CONTROLLER_MANAGER) for n in range(REPLICAS)]
    # Nodes without containers have no state beside the API: a second simulator would only be in the first one's way.
    return [*names, SIMULATOR] if simulates else names


def component_of(process: str) -> str:
    """What a process of this name runs."""
    name, dash, number = process.rpartition("-")
    return name if dash and number.isdigit() else process


def serves_api(process: str) -> bool:
    """Whether an API server runs in a process of this name."""
    return component_of(process) in (CONTROL_PLANE, API_SERVER)


def is_etcd(process: str) -> bool:
    """Whether a member of etcd runs in a process of this name."""
    return component_of(process) == "etcd"


def stop_grace(process: str) -> float:
    """Seconds before it is killed; 0: the usual ones."""
    return STOP_SECONDS if is_etcd(process) else 0.0


def stop_order(process: str) -> int:
    """What the others need is stopped after them."""
    return 2 if is_etcd(process) else 1 if serves_api(process) else 0
