"""`kobune kube-controller-manager`: the controllers by themselves, against any API server."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kobune.cli.output import fail, words
from kobune.client.kubeconfig import KubeconfigError
from kobune.client.leases import LeadershipLost
from kobune.host.endpoints import Serving
from kobune.host.flag_values import BadFlag
from kobune.host.logs import log_to_stderr
from kobune.host.standalone import run_controller_manager


def command(
    *,
    kubeconfig: Annotated[Path, typer.Option(help="How to reach the API server.")],
    feature_gates: Annotated[
        list[str] | None, typer.Option(metavar="NAME=BOOL,…", help="Features that are off by default.")
    ] = None,
    leader_elect: Annotated[bool, typer.Option(help="Work only while holding the lease.")] = True,
    controllers: Annotated[str, typer.Option(help="'*' is all, 'foo' adds one, '-foo' leaves one out.")] = "*",
    root_ca_file: Annotated[Path | None, typer.Option(help="Published to every namespace as kube-root-ca.crt.")] = None,
    allocate_node_cidrs: Annotated[bool, typer.Option(help="Give each node a range of --cluster-cidr.")] = False,
    cluster_cidr: Annotated[str, typer.Option(help="The addresses of pods.")] = "10.244.0.0/16",
    cluster_signing_cert_file: Annotated[Path | None, typer.Option(help="Signs certificate requests.")] = None,
    cluster_signing_key_file: Annotated[
        Path | None, typer.Option(help="The key to --cluster-signing-cert-file.")
    ] = None,
    service_account_private_key_file: Annotated[Path | None, typer.Option(help="Signs ServiceAccount tokens.")] = None,
    load_balancer_range: Annotated[str, typer.Option(help="The addresses of Services of type LoadBalancer.")] = "",
    secure_port: Annotated[
        int, typer.Option(help="Answers /metrics, /healthz, /livez and /readyz; 0: nowhere.")
    ] = 10257,
    bind_address: Annotated[str, typer.Option(help="The address of --secure-port.")] = "0.0.0.0",
    tls_cert_file: Annotated[Path | None, typer.Option(help="By default self-signed.")] = None,
    tls_private_key_file: Annotated[Path | None, typer.Option(help="The key to --tls-cert-file.")] = None,
    v: Annotated[int, typer.Option("--v", "-v", help="Logs what is wrong at 0, each reconcile too at 2.")] = 0,
    client_ca_file: Annotated[Path | None, typer.Option(help="Clients may show certificates it has signed.")] = None,
) -> None:
    """Keep what is as it should be."""
    log_to_stderr(v)
    serving = Serving(secure_port, bind_address, tls_cert_file, tls_private_key_file, client_ca_file)
    try:
        asyncio.run(
            run_controller_manager(
                kubeconfig,
                leader_elect=leader_elect,
                feature_gates=words(feature_gates or ()),
                controllers=controllers,
                root_ca_file=root_ca_file,
                allocate_node_cidrs=allocate_node_cidrs,
                cluster_cidr=cluster_cidr,
                signing_certificate_file=cluster_signing_cert_file,
                signing_key_file=cluster_signing_key_file,
                service_account_key_file=service_account_private_key_file,
                load_balancer_range=load_balancer_range,
                serving=serving if secure_port else None,
            )
        )
    except (BadFlag, KubeconfigError, LeadershipLost, OSError, ValueError) as error:
        fail(str(error))
