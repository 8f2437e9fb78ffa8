"""`kobune kubelet`: the kubelet by itself, for a machine with a container runtime, with upstream's flags."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kobune.cli.output import fail
from kobune.client.kubeconfig import KubeconfigError
from kobune.host.flag_values import BadFlag
from kobune.host.standalone_node import DEFAULT_EVICTION, KubeletFlags, run_kubelet
from kobune.node.runtime.runtime import RuntimeFailure


def command(
    *,
    kubeconfig: Annotated[Path, typer.Option(help="How to reach the API server, as the node.")],
    container_runtime_endpoint: Annotated[
        str, typer.Option(help="The runtime's CRI socket.")
    ] = "unix:///run/containerd/containerd.sock",
    hostname_override: Annotated[str, typer.Option(help="The node's name; else the machine's.")] = "",
    node_ip: Annotated[str, typer.Option(help="The node's address; else that of the default route.")] = "",
    root_dir: Annotated[Path, typer.Option(help="For volumes, logs and state.")] = Path("/var/lib/kubelet"),
    address: Annotated[str, typer.Option(help="Where the kubelet's own API listens.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Of the kubelet's own API.")] = 10250,
    max_pods: Annotated[int, typer.Option(help="The most pods of this node.")] = 110,
    pod_cidr: Annotated[str, typer.Option(help="The node's pod range, where nobody allocates one.")] = "",
    kube_reserved: Annotated[str, typer.Option(help="As in cpu=100m,memory=1638Mi.")] = "",
    system_reserved: Annotated[str, typer.Option(help="As --kube-reserved.")] = "",
    eviction_hard: Annotated[str, typer.Option(help="Thresholds below which pods are evicted.")] = DEFAULT_EVICTION,
    cluster_dns: Annotated[str, typer.Option(help="Addresses of the cluster's DNS, comma-separated.")] = "",
    cluster_domain: Annotated[str, typer.Option(help="The cluster's domain.")] = "cluster.local",
    node_labels: Annotated[str, typer.Option(help="As in a=b,c=d.")] = "",
    register_with_taints: Annotated[str, typer.Option(help="As in key=value:NoSchedule, comma-separated.")] = "",
    register_node: Annotated[bool, typer.Option(help="Make the Node object.")] = True,
    provider_id: Annotated[str, typer.Option(help="The machine's name at its provider.")] = "",
    pod_manifest_path: Annotated[Path | None, typer.Option(help="A folder of static pods.")] = None,
    cgroup_root: Annotated[str, typer.Option(help="The cgroup under which pods' are made.")] = "",
    tls_cert_file: Annotated[Path | None, typer.Option(help="The serving certificate.")] = None,
    tls_private_key_file: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    client_ca_file: Annotated[
        Path | None, typer.Option(help="Whose clients may use the API; without it there is none.")
    ] = None,
) -> None:
    """Run the pods that are bound to this node. Containers outlive it, and the next kubelet finds them."""
    flags = KubeletFlags(
        kubeconfig=kubeconfig,
        container_runtime_endpoint=container_runtime_endpoint,
        hostname_override=hostname_override,
        node_ip=node_ip,
        root_dir=root_dir,
        port=port,
        address=address,
        max_pods=max_pods,
        pod_cidr=pod_cidr,
        kube_reserved=kube_reserved,
        system_reserved=system_reserved,
        eviction_hard=eviction_hard,
        cluster_dns=[each for each in cluster_dns.split(",") if each],
        cluster_domain=cluster_domain,
        node_labels=node_labels,
        register_with_taints=register_with_taints,
        register_node=register_node,
        provider_id=provider_id,
        pod_manifest_path=pod_manifest_path,
        cgroup_root=cgroup_root,
        tls_cert_file=tls_cert_file,
        tls_private_key_file=tls_private_key_file,
        client_ca_file=client_ca_file,
    )
    try:
        asyncio.run(run_kubelet(flags))
    except (BadFlag, KubeconfigError, RuntimeFailure) as error:
        fail(str(error))
