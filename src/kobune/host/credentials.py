"""Every key and certificate of a cluster, made by the service before it starts the cluster's processes."""

import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from kobune.aks.nodes import NodeShape
from kobune.client.kubeconfig import render_kubeconfig
from kobune.host.etcd_members import prepare_certificates
from kobune.host.layout import ClusterLayout
from kobune.host.pki import (
    FRONT_PROXY,
    SERVICE_NAMES,
    Authority,
    Credential,
    is_current,
    new_signing_key,
    write_private,
)
from kobune.host.spec import Spec

SERVICE = "aks-service"  # The service itself, where it is a client of the cluster.
API_SERVICE_ADDRESS = "10.0.0.1"
# Component, its user and its groups. Source: Kubernetes, PKI certificates and requirements.
COMPONENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "cluster-autoscaler": ("system:cluster-autoscaler", ("system:masters",)),
    SERVICE: ("aksService", ("system:masters",)),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    # It plays thousands of kubelets at once, so it is none of them.
    "simulator": ("system:kobune-simulator", ("system:masters",)),
}


def prepare(cluster: ClusterLayout, spec: Spec, nodes: Sequence[NodeShape], now: datetime) -> None:
    """Make what is missing or about to expire; what is good stays as it is.

    Args:
        nodes: the real ones, each of which gets a certificate and a kubeconfig.
    """
    _rotate_signing_key(cluster, spec.cluster.service_account_key_generation)
    generation = cluster.pki / "certificate-generation"
    is_new = _number_in(generation) < spec.cluster.certificate_generation
    if is_new:
        _forget_certificates(cluster)
    authority = Authority.load_or_create(cluster.pki, "kobune-ca", now)
    hosts = api_server_hosts(spec)
    complete = (cluster.pki / f"{FRONT_PROXY}.crt").exists() and all(
        cluster.component_kubeconfig(component).exists() for component in COMPONENTS
    )
    if not complete or not is_current(cluster.pki / "kube-apiserver.crt", hosts, now):
        authority.issue_server("kube-apiserver", hosts, now).write(cluster.pki, "kube-apiserver")
        authority.issue_server("simulator", ["127.0.0.1"], now).write(cluster.pki, "simulator")
        kubelet_client = authority.issue_client("kube-apiserver-kubelet-client", ["system:masters"], now)
        kubelet_client.write(cluster.pki, "kube-apiserver-kubelet-client")
        # An authority of its own: whom it signs for may speak in anybody's name to aggregated servers.
        front = Authority.load_or_create(cluster.pki, "front-proxy-ca", now, file="front-proxy-ca")
        front.issue_client(FRONT_PROXY, (), now).write(cluster.pki, FRONT_PROXY)
        for component in COMPONENTS:
            cluster.component_kubeconfig(component).unlink(missing_ok=True)
    server = f"127.0.0.1:{spec.api_port}"
    for component, (user, groups) in COMPONENTS.items():
        kubeconfig = cluster.component_kubeconfig(component)
        if not kubeconfig.exists() or server not in kubeconfig.read_text():
            credential = authority.issue_client(user, groups, now)
            write_private(kubeconfig, _kubeconfig(cluster, spec, component, authority, credential))
    if spec.store == "etcd":
        prepare_certificates(cluster, now)
    admin = f"clusterAdmin_{spec.cluster.resource_group}_{spec.cluster.name}"
    if not cluster.kubeconfig.exists() or server not in cluster.kubeconfig.read_text():
        credential = authority.issue_client("masterclient", ["system:masters"], now)
        write_private(cluster.kubeconfig, _kubeconfig(cluster, spec, admin, authority, credential))
    for shape in nodes:
        _prepare_node(cluster, spec, shape, authority, now)
    if is_new:
        # Last: whoever is killed before begins the new generation over again.
        write_private(generation, str(spec.cluster.certificate_generation).encode())


def _rotate_signing_key(cluster: ClusterLayout, wanted: int) -> None:
    """Have a key of this generation for ServiceAccount tokens; tokens of the one before are still accepted."""
    key, previous = cluster.pki / "service-account.key", cluster.pki / "service-account-previous.key"
    generation = cluster.pki / "signing-key-generation"
    if not key.exists():
        write_private(key, new_signing_key())
        write_private(generation, str(wanted).encode())
    if _number_in(generation) < wanted:
        write_private(previous, key.read_bytes())
        write_private(generation, str(wanted).encode())
    # Whoever is killed between the two finds both keys alike: the new one is still to be made.
    if previous.exists() and previous.read_bytes() == key.read_bytes():
        write_private(key, new_signing_key())


def _forget_certificates(cluster: ClusterLayout) -> None:
    """All of them, the authority's own and the users' included; signing keys stay."""
    found = [*cluster.pki.glob("*.crt"), *cluster.pki.glob("*.kubeconfig"), *cluster.nodes.glob("*/pki/*")]
    for path in [*found, cluster.pki / "ca.key", cluster.kubeconfig]:
        path.unlink(missing_ok=True)


def _number_in(path: Path) -> int:
    """The number in the file; the first generation has none."""
    return int(path.read_text()) if path.exists() else 1


def api_server_hosts(spec: Spec) -> list[str]:
    """The names and addresses under which the API server is reached."""
    return ["localhost", "127.0.0.1", "::1", spec.gateway, API_SERVICE_ADDRESS, *SERVICE_NAMES, socket.gethostname()]


def _prepare_node(cluster: ClusterLayout, spec: Spec, shape: NodeShape, authority: Authority, now: datetime) -> None:
    folder = cluster.node(shape.name) / "pki"
    user, hosts = f"system:node:{shape.name}", [shape.name, shape.address, "127.0.0.1"]
    if not is_current(folder / "kubelet.crt", hosts, now):
        authority.issue_server(user, hosts, now, groups=["system:nodes"]).write(folder, "kubelet")
    kubeconfig, server = folder / "kubeconfig", f"https://{spec.gateway}:{spec.api_port}"
    if not kubeconfig.exists() or server not in kubeconfig.read_text():
        credential = authority.issue_client(user, ["system:nodes"], now)
        write_private(kubeconfig, _kubeconfig(cluster, spec, user, authority, credential, server=server))


def _kubeconfig(
    cluster: ClusterLayout, spec: Spec, user: str, authority: Authority, credential: Credential, *, server: str = ""
) -> bytes:
    return render_kubeconfig(
        server=server or f"https://127.0.0.1:{spec.api_port}",
        cluster=cluster.name,
        user=user,
        authority=authority.credential.certificate,
        certificate=credential.certificate,
        key=credential.key,
    ).encode()
