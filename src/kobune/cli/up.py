"""`kobune up`: creates and starts a cluster, and returns when its nodes are Ready."""

import asyncio
import os
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kobune.aks.clusters import DEFAULT_MAX_PODS, Cluster, NodePool, check_cluster
from kobune.aks.instances import simulated_instead
from kobune.aks.versions import DEFAULT_VERSION, check_version_change
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE
from kobune.api.errors import ApiError, Invalid
from kobune.api.features import parse_runtime_config
from kobune.api.objects.core import Node
from kobune.cli.output import fail, words
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, layout_of
from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig
from kobune.host.background import NotStarted, start_service
from kobune.host.capacity import MOST_REAL_NODES
from kobune.host.etcd_members import REDUNDANT, is_installed, members
from kobune.host.instances import read_instances
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.leftovers import sweep
from kobune.host.pki import write_private
from kobune.host.placement import DEFAULT_PORT, PORTS_TRIED, SLOTS, find_port, find_slot, is_free
from kobune.host.processes import find_running
from kobune.host.readiness import wait_for_default_account
from kobune.host.service import is_served
from kobune.host.spec import Spec, new_wish, read_spec, read_status, write_spec
from kobune.host.stores import BadStore, check_encryption
from kobune.node.machine.requirements import find_missing

READY_SECONDS = 120.0


class StoreKind(StrEnum):
    SQLITE = "sqlite"
    ETCD = "etcd"


class Tier(StrEnum):
    FREE = "free"
    STANDARD = "standard"
    PREMIUM = "premium"


class NetworkPolicyEngine(StrEnum):
    NONE = "none"
    AZURE = "azure"
    CALICO = "calico"
    CILIUM = "cilium"


def command(
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    kubernetes_version: Annotated[
        str | None, typer.Option(help=f"1.34 to 1.37, or a full version.  [default: {DEFAULT_VERSION}]")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(metavar="N", help="Nodes that run real containers.  [default: 1]", min=0)
    ] = None,
    vm_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help=f"The nodes' VM size.  [default: {DEFAULT_VM_SIZE}]")
    ] = None,
    simulated_nodes: Annotated[
        int | None, typer.Option(metavar="N", help="Nodes without containers, as many as you like.", min=0)
    ] = None,
    max_pods: Annotated[
        int | None, typer.Option(metavar="N", help=f"The most pods of a node.  [default: {DEFAULT_MAX_PODS}]")
    ] = None,
    network_policy: Annotated[
        NetworkPolicyEngine | None,
        typer.Option(
            help="Who enforces NetworkPolicies, on real nodes: none, or any of the others, which do the same here."
        ),
    ] = None,
    tier: Annotated[
        Tier | None,
        typer.Option(
            help="Above free the control plane runs redundantly, on three etcd members: any one of its processes may die."
        ),
    ] = None,
    store: Annotated[
        StoreKind | None, typer.Option(help="Where the cluster keeps its state: sqlite, above the free tier etcd.")
    ] = None,
    encryption_provider_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An EncryptionConfiguration: what is stored encrypted, with which keys. A copy is kept with the cluster.",
        ),
    ] = None,
    feature_gates: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=BOOL,…", help="Features that are off by default, as GangScheduling=true."),
    ] = None,
    runtime_config: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION=BOOL,…", help="API versions, as scheduling.k8s.io/v1alpha2=true."),
    ] = None,
    api_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", help=f"Of the API server; else the first free one from {DEFAULT_PORT}.", min=1, max=65535
        ),
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Start a cluster, and return when it is Ready. One that is started again is what it was, where nothing else is said.

    Prints the line that points kubectl at it."""
    began = time.monotonic()
    layout = layout_of(state_dir)
    found = layout.cluster(cluster)
    previous = read_spec(found)
    if previous is not None and previous.running and is_served(layout):
        fail(f"cluster {cluster!r} already runs from {layout.root}; KUBECONFIG={found.kubeconfig} reaches it")
    kind, chosen_tier = store_and_tier(found, previous, store, tier)
    if encryption_provider_config is not None:
        try:
            check_encryption(encryption_provider_config)
        except BadStore as error:
            fail(str(error))
    policy = network_policy.value if network_policy else previous.cluster.network_policy if previous else "none"
    pools = chosen_pools(previous, nodes, simulated_nodes, vm_size, max_pods)
    before = previous.cluster if previous else Cluster(cluster, DEFAULT_VERSION, pools)
    try:
        wanted = check_cluster(
            replace(
                before,
                kubernetes_version=kubernetes_version or before.kubernetes_version,
                pools=pools,
                tier=chosen_tier.capitalize(),
                network_policy=policy,
            )
        )
        if previous is not None:
            check_version_change(previous.cluster.kubernetes_version, wanted.kubernetes_version)
    except Invalid as error:
        fail(str(error))
    spec = Spec(
        cluster=wanted,
        api_port=_port(api_port, previous, layout),
        store=kind.value,
        slot=previous.slot if previous else _slot(layout),
        feature_gates=_settings(feature_gates, previous.feature_gates if previous else ()),
        runtime_config=_settings(runtime_config, previous.runtime_config if previous else ()),
        wish=new_wish("start" if previous else "create"),
    )
    try:
        _ = spec.features, parse_runtime_config(spec.runtime_config)
    except ValueError as error:
        fail(str(error))
    if encryption_provider_config is not None:
        write_private(found.encryption, encryption_provider_config.read_bytes())
    write_spec(found, spec)
    try:
        start_service(layout)
    except NotStarted as error:
        fail(str(error))
    ready = asyncio.run(wait_until_ready(found, spec))
    if ready:
        _stop_trying(found, spec)
        fail(ready)
    count = sum(pool.count for pool in wanted.pools)
    seconds = time.monotonic() - began
    typer.echo(
        f"cluster {cluster}: Kubernetes {wanted.kubernetes_version}, {count} node{'s' * (count != 1)} Ready after {seconds:.1f} s",
        err=True,
    )
    if simulated := simulated_instead(wanted, read_instances(found)):
        typer.echo(f"kobune: this machine carries no more real nodes; {simulated} simulated in their place", err=True)
    typer.echo(f"export KUBECONFIG={found.kubeconfig}")


def chosen_pools(
    previous: Spec | None, nodes: int | None, simulated_nodes: int | None, vm_size: str | None, max_pods: int | None
) -> tuple[NodePool, ...]:
    """The pools that were asked for; where nothing is said of nodes, those that the cluster had."""
    if previous is not None and (nodes, simulated_nodes, vm_size, max_pods) == (None,) * 4:
        return previous.cluster.pools
    real, simulated = 1 if nodes is None else nodes, simulated_nodes or 0
    if real and (missing := find_missing()):
        typer.echo(f"kobune: {' '.join(missing)} Going on with simulated nodes.", err=True)
        real, simulated = 0, simulated + real
    if real > MOST_REAL_NODES:
        fail(
            f"--nodes {real}: at most {MOST_REAL_NODES} real nodes fit on one machine; --simulated-nodes has room for thousands"
        )
    size, most = vm_size or DEFAULT_VM_SIZE, DEFAULT_MAX_PODS if max_pods is None else max_pods
    pools = []
    if real:
        pools.append(NodePool("nodepool1", real, size, most))
    if simulated:
        mode = "User" if pools else "System"
        pools.append(NodePool("simulated", simulated, size, most, mode=mode, simulated=True))
    return tuple(pools)


def _settings(given: list[str] | None, previous: tuple[str, ...]) -> tuple[str, ...]:
    """What was asked for, split at commas; else what the cluster had."""
    return previous if given is None else tuple(words(given))


def store_and_tier(
    cluster: ClusterLayout, previous: Spec | None, store: StoreKind | None, tier: Tier | None
) -> tuple[StoreKind, Tier]:
    """The engine and the tier: those asked for, else those the cluster had. Ends the command if they cannot be."""
    before = StoreKind(previous.store) if previous else None
    chosen = tier or (Tier(previous.cluster.tier.lower()) if previous else Tier.FREE)
    kind = store or before or (StoreKind.SQLITE if chosen is Tier.FREE else StoreKind.ETCD)
    if kind is StoreKind.SQLITE and chosen is not Tier.FREE:
        fail(f"--tier {chosen}: several API servers need a store that they can share; --store etcd is one")
    if before is not None and kind is not before:
        fail(
            f"the cluster's objects are kept by {before}: --store {kind} would start without them; see kobune snapshot"
        )
    if chosen is not Tier.FREE and previous is not None and len(members(cluster, previous)) < REDUNDANT:
        fail(f"--tier {chosen}: the cluster was made with one etcd member, on which everything would hang")
    if kind is StoreKind.ETCD and not is_installed():
        fail("--store etcd: the program etcd is not on the PATH (Debian package etcd-server)")
    return kind, chosen


def _port(asked: int | None, previous: Spec | None, layout: Layout) -> int:
    """The API server's port: the one asked for, the one it had, or the first free one. Ends the command if it is taken."""
    if previous is not None and asked in (None, previous.api_port):
        # Its own control plane may still be there, when only the service was lost.
        if any(find_running(record) for record in layout.cluster(previous.cluster.name).processes.glob("*.json")):
            return previous.api_port
        if asked is None and is_free(previous.api_port):
            return previous.api_port
    if asked is not None:
        if not is_free(asked):
            fail(f"port {asked} is in use; choose another --api-port")
        return asked
    found = find_port(layout, time.time())
    if found is None:
        fail(f"ports {DEFAULT_PORT} to {DEFAULT_PORT + PORTS_TRIED - 1} are all in use; choose an --api-port")
    return found


def _slot(layout: Layout) -> int:
    sweep()  # Killed clusters may still have the first ones.
    found = find_slot(layout, time.time())
    if found is None:
        fail(f"{SLOTS} clusters are the most on one machine; kobune down --purge makes room")
    return found


async def wait_until_ready(cluster: ClusterLayout, spec: Spec) -> str:
    """Wait until the API server answers and every node is Ready; the problem in one sentence if that fails."""
    deadline = time.monotonic() + READY_SECONDS
    wanted = sum(pool.count for pool in spec.cluster.pools)
    client, seen = None, "the API server does not answer"
    try:
        while time.monotonic() < deadline:
            status = read_status(cluster)
            if status.problem:
                return status.problem
            if client is None and cluster.kubeconfig.exists():
                client = Client(load_kubeconfig(cluster.kubeconfig))
            if client is not None:
                try:
                    nodes = (await client.list(Node)).items
                    ready = sum(node.takes_pods for node in nodes)
                    if ready >= wanted:
                        async with asyncio.timeout(READY_SECONDS):
                            await wait_for_default_account(client)
                        return ""
                except ApiError as error:
                    seen = str(error)
                else:
                    seen = f"{ready} of {wanted} nodes are Ready"
                    if sys.stderr.isatty():
                        typer.echo(f"\r{seen} ", err=True, nl=False)
            await asyncio.sleep(0.05)
        return f"after {READY_SECONDS:.0f} s {seen}; see {cluster.logs}"
    finally:
        if client is not None:
            await client.transport.close()
        if sys.stderr.isatty():
            typer.echo("\r", err=True, nl=False)


def _stop_trying(cluster: ClusterLayout, spec: Spec) -> None:
    """What did not come up is not left restarting behind the user's back."""
    write_spec(cluster, replace(spec, running=False))
    os.sync()
