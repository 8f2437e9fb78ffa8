"""`kobune kube-scheduler`: the scheduler by itself, against any API server."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kobune.api.errors import Invalid
from kobune.cli.output import fail, words
from kobune.client.kubeconfig import KubeconfigError
from kobune.client.leases import LeadershipLost
from kobune.host.endpoints import Serving
from kobune.host.flag_values import BadFlag
from kobune.host.standalone import run_scheduler


def command(
    *,
    kubeconfig: Annotated[Path, typer.Option(help="How to reach the API server.")],
    config: Annotated[Path | None, typer.Option(help="A file with a KubeSchedulerConfiguration.")] = None,
    feature_gates: Annotated[
        list[str] | None, typer.Option(metavar="NAME=BOOL,…", help="Features that are off by default.")
    ] = None,
    leader_elect: Annotated[
        bool, typer.Option(help="Work only while holding the lease kube-system/kube-scheduler.")
    ] = True,
    secure_port: Annotated[
        int, typer.Option(help="Answers /metrics, /healthz, /livez and /readyz; 0: nowhere.")
    ] = 10259,
    bind_address: Annotated[str, typer.Option(help="The address of --secure-port.")] = "0.0.0.0",
    tls_cert_file: Annotated[Path | None, typer.Option(help="By default self-signed.")] = None,
    tls_private_key_file: Annotated[Path | None, typer.Option(help="The key to --tls-cert-file.")] = None,
    client_ca_file: Annotated[Path | None, typer.Option(help="Clients may show certificates it has signed.")] = None,
) -> None:
    """Bind pods to nodes."""
    serving = Serving(secure_port, bind_address, tls_cert_file, tls_private_key_file, client_ca_file)
    try:
        asyncio.run(
            run_scheduler(
                kubeconfig,
                leader_elect=leader_elect,
                feature_gates=words(feature_gates or ()),
                config=config,
                serving=serving if secure_port else None,
            )
        )
    except (BadFlag, Invalid, KubeconfigError, LeadershipLost, OSError) as error:
        fail(str(error))
