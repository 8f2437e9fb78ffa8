"""`kobune kube-apiserver`: the API server by itself, with upstream's flags."""

from pathlib import Path
from typing import Annotated

import typer

from kobune.aks.versions import DEFAULT_VERSION, resolve_version
from kobune.api.errors import Invalid
from kobune.cli.output import fail
from kobune.controlplane.store.contract import Damaged, Unavailable
from kobune.controlplane.store.sqlite_log import InUse
from kobune.host.standalone import ApiServerFlags, BadFlag, run_api_server
from kobune.host.stores import BadStore, StoreFlags

DEFAULT = ApiServerFlags()


def command(
    *,
    secure_port: Annotated[int, typer.Option(help="The port to serve HTTPS on.")] = DEFAULT.secure_port,
    bind_address: Annotated[str, typer.Option(help="The address to listen on.")] = DEFAULT.bind_address,
    advertise_address: Annotated[str, typer.Option(help="Where members of the cluster reach it.")] = "",
    tls_cert_file: Annotated[Path | None, typer.Option(help="The serving certificate.")] = None,
    tls_private_key_file: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    client_ca_file: Annotated[Path | None, typer.Option(help="Whose client certificates name users.")] = None,
    token_auth_file: Annotated[Path | None, typer.Option(help="Static tokens: token,user,uid,groups.")] = None,
    service_account_key_file: Annotated[
        list[Path] | None, typer.Option(help="Keys that verify tokens; may be repeated.")
    ] = None,
    service_account_signing_key_file: Annotated[Path | None, typer.Option(help="The key that signs tokens.")] = None,
    service_account_issuer: Annotated[
        str, typer.Option(help="The issuer named in tokens.")
    ] = DEFAULT.service_account_issuer,
    api_audiences: Annotated[str, typer.Option(help="Whom tokens must be meant for, comma-separated.")] = "",
    service_cluster_ip_range: Annotated[
        str, typer.Option(help="Addresses of Services.")
    ] = DEFAULT.service_cluster_ip_range,
    service_node_port_range: Annotated[
        str, typer.Option(help="Node ports of Services.")
    ] = DEFAULT.service_node_port_range,
    authorization_mode: Annotated[str, typer.Option(help="Of Node, RBAC, AlwaysAllow; comma-separated.")] = "Node,RBAC",
    disable_admission_plugins: Annotated[str, typer.Option(help="Plug-ins to leave out, comma-separated.")] = "",
    kubelet_client_certificate: Annotated[Path | None, typer.Option(help="Shown to kubelets.")] = None,
    kubelet_client_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    kubelet_certificate_authority: Annotated[
        Path | None, typer.Option(help="Who signed the kubelets' certificates.")
    ] = None,
    store: Annotated[str, typer.Option(help="sqlite:PATH or memory; without it a file in --cert-dir.")] = "",
    etcd_servers: Annotated[str, typer.Option(help="Members of an etcd cluster, comma-separated URLs.")] = "",
    etcd_cafile: Annotated[Path | None, typer.Option(help="Who signed etcd's certificates.")] = None,
    etcd_certfile: Annotated[Path | None, typer.Option(help="Shown to etcd.")] = None,
    etcd_keyfile: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    encryption_provider_config: Annotated[
        Path | None, typer.Option(help="An EncryptionConfiguration: what is stored encrypted, with which keys.")
    ] = None,
    cert_dir: Annotated[Path, typer.Option(help="Where what is not given is generated.")] = DEFAULT.cert_dir,
    audit_policy_file: Annotated[Path | None, typer.Option(help="What is audited, and how much of it.")] = None,
    audit_log_path: Annotated[
        Path | None, typer.Option(help="Where audit events go, a JSON object in each line.")
    ] = None,
    kubernetes_version: Annotated[str, typer.Option(help="The version to serve.")] = DEFAULT_VERSION,
) -> None:
    """Serve the Kubernetes API. What is not given is generated, and kept in --cert-dir."""
    try:
        flags = ApiServerFlags(
            secure_port=secure_port,
            bind_address=bind_address,
            advertise_address=advertise_address,
            tls_cert_file=tls_cert_file,
            tls_private_key_file=tls_private_key_file,
            client_ca_file=client_ca_file,
            token_auth_file=token_auth_file,
            service_account_key_file=service_account_key_file or (),
            service_account_signing_key_file=service_account_signing_key_file,
            service_account_issuer=service_account_issuer,
            api_audiences=_words(api_audiences),
            service_cluster_ip_range=service_cluster_ip_range,
            service_node_port_range=service_node_port_range,
            authorization_mode=_words(authorization_mode),
            disable_admission_plugins=_words(disable_admission_plugins),
            kubelet_client_certificate=kubelet_client_certificate,
            kubelet_client_key=kubelet_client_key,
            kubelet_certificate_authority=kubelet_certificate_authority,
            store=StoreFlags(
                store=store,
                etcd_servers=_words(etcd_servers),
                etcd_cafile=etcd_cafile,
                etcd_certfile=etcd_certfile,
                etcd_keyfile=etcd_keyfile,
                encryption_provider_config=encryption_provider_config,
            ),
            cert_dir=cert_dir.absolute(),
            audit_policy_file=audit_policy_file,
            audit_log_path=audit_log_path,
            kubernetes_version=resolve_version(kubernetes_version),
        )
        import uvloop  # Late, as everything that only a running server needs.

        uvloop.run(run_api_server(flags, lambda line: typer.echo(line)))
    except (BadFlag, BadStore, InUse, Damaged, Unavailable, Invalid, OSError, ValueError) as error:
        fail(str(error))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
