"""What the components of a managed cluster are told, from its spec and the keys that the service has laid ready."""

import ssl

from kobune.controlplane.controllers.controller import Settings
from kobune.host.layout import ClusterLayout
from kobune.host.sockets import server_tls
from kobune.host.spec import Spec


def controller_settings(cluster: ClusterLayout, spec: Spec) -> Settings:
    """The controllers. They sign with the cluster's own authority, which is the API server's too."""
    authority = (cluster.pki / "ca.crt").read_bytes()
    return Settings(
        root_ca=authority,
        cluster_cidr=spec.pod_cidr,
        local_volumes=cluster.nodes,
        load_balancer_range=spec.load_balancer_cidr,
        signing_certificate=authority,
        signing_key=(cluster.pki / "ca.key").read_bytes(),
        service_account_key=(cluster.pki / "service-account.key").read_bytes(),
    )


def simulator_tls(cluster: ClusterLayout) -> ssl.SSLContext:
    """The server of the simulated nodes' logs and exec, which answers the API server alone."""
    pki = cluster.pki
    return server_tls(pki / "simulator.crt", pki / "simulator.key", pki / "ca.crt", required=True)
