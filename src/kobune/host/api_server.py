"""kube-apiserver by itself, as upstream's binary is started; it generates what it is not given."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from kobune.api.clock import SystemClock
from kobune.api.errors import Json
from kobune.api.features import parse_runtime_config
from kobune.client.kubeconfig import load_kubeconfig, render_kubeconfig
from kobune.controlplane.apiserver.admission.configuration import AS_USUAL, AdmissionSettings, read_admission
from kobune.controlplane.apiserver.config import ApiServerConfig, FrontProxy
from kobune.host.api_server_access import believed, request_headers, service_account_keys, stages, token_webhook, tokens
from kobune.host.api_server_flags import ApiServerFlags
from kobune.host.flag_values import BadFlag, gates_of, read_document, read_file, seconds_of
from kobune.host.loops import patient_collector, signalled
from kobune.host.pki import FRONT_PROXY, SERVICE_NAMES, Authority, write_private
from kobune.host.sockets import listener, own_address, server_tls
from kobune.host.stores import favour_commits, open_store


async def run_api_server(flags: ApiServerFlags, say: Callable[[str], None]) -> None:
    """kube-apiserver until a signal; `say` is told what was generated. Raises BadFlag, OSError."""
    from kobune.controlplane.apiserver.https import serve
    from kobune.controlplane.apiserver.server import ApiServer

    favour_commits()
    clock = SystemClock()
    with patient_collector(), listener(flags.bind_address, flags.secure_port) as sock:
        config, tls, kubeconfig = prepare_api_server(flags, clock.now())
        where = flags.store
        if not where.store and not where.etcd_servers:
            where = replace(where, store=f"sqlite:{flags.cert_dir / 'kobune.db'}")
        store = await open_store(where)
        config = replace(config, shared_store=where.is_shared)
        try:
            async with (
                ApiServer(config, store, clock=clock) as server,
                serve(server, sock=sock, tls=tls),
                asyncio.TaskGroup() as tasks,
            ):
                say(f"kube-apiserver answers on {flags.bind_address}:{flags.secure_port}")
                if kubeconfig is not None:
                    say(f"export KUBECONFIG={kubeconfig}")
                # What was written with an older key, or none, is written again, so that the old key can go.
                sealing = None
                if where.encryption_provider_config is not None:
                    from kobune.controlplane.store.encrypted import EncryptedStore

                    assert isinstance(store, EncryptedStore)
                    sealing = tasks.create_task(store.seal_anew())
                await signalled()
                if sealing is not None:
                    sealing.cancel()
        finally:
            await store.close()


def prepare_api_server(flags: ApiServerFlags, now: datetime) -> tuple[ApiServerConfig, ssl.SSLContext, Path | None]:
    """Configuration, TLS and, where an authority was generated, the kubeconfig of its administrator."""
    authority = None if flags.client_ca_file else Authority.load_or_create(flags.cert_dir, "kobune-ca", now)
    advertised = flags.advertise_address or _outward(flags.bind_address)
    certificate, key = flags.tls_cert_file, flags.tls_private_key_file
    if certificate is None or key is None:
        issuer = authority or Authority.load_or_create(flags.cert_dir, "kobune-ca", now)
        service = str(ipaddress.ip_network(flags.service_cluster_ip_range)[1])
        hosts = ["localhost", "127.0.0.1", advertised, service, *SERVICE_NAMES, socket.gethostname()]
        certificate, key = issuer.issue_server("kube-apiserver", hosts, now).write(flags.cert_dir, "apiserver")
    kubeconfig = None
    if authority is not None:
        kubeconfig = flags.cert_dir / "admin.kubeconfig"
        _write_admin(kubeconfig, authority, flags, now)
    ca = flags.client_ca_file or flags.cert_dir / "ca.crt"
    low, _, high = flags.service_node_port_range.partition("-")
    if not (low.isdecimal() and high.isdecimal() and int(low) <= int(high)):
        raise BadFlag(f"--service-node-port-range {flags.service_node_port_range}: as in 30000-32767")
    strangers = believed(flags)
    config = ApiServerConfig(
        cluster_version=flags.kubernetes_version,
        feature_gates=gates_of("--feature-gates", flags.feature_gates, flags.kubernetes_version),
        runtime_config=_runtime_config(flags.runtime_config),
        audit_policy=_audit_policy(flags.audit_policy_file),
        audit_sink=_audit_sink(flags),
        advertise_address=advertised,
        advertise_port=flags.secure_port,
        service_cluster_ip_range=flags.service_cluster_ip_range,
        service_node_port_range=(int(low), int(high)),
        client_ca=read_file("--client-ca-file", ca),
        static_tokens=tokens(flags.token_auth_file),
        issuers=strangers.issuers,
        anonymous_paths=strangers.anonymous_paths,
        service_account_keys=service_account_keys(flags),
        service_account_issuer=flags.service_account_issuer,
        api_audiences=tuple(flags.api_audiences),
        kubelet_tls=_kubelet_tls(flags, ca),
        front_proxy=_front_proxy(flags, now),
        request_headers=request_headers(flags, ca),
        max_requests_inflight=flags.max_requests_inflight,
        max_mutating_requests_inflight=flags.max_mutating_requests_inflight,
        enable_priority_and_fairness=flags.enable_priority_and_fairness,
        request_timeout=seconds_of("--request-timeout", flags.request_timeout),
        event_ttl=seconds_of("--event-ttl", flags.event_ttl),
        authorization_mode=stages(flags),
        token_webhook=token_webhook(flags),
        open_kubeconfig=lambda path: load_kubeconfig(Path(path), user_agent="kube-apiserver"),
        disabled_admission_plugins=tuple(flags.disable_admission_plugins),
        enabled_admission_plugins=tuple(flags.enable_admission_plugins),
        admission=_admission(flags.admission_control_config_file),
    )
    try:
        tls = server_tls(certificate, key, ca)
        if flags.requestheader_client_ca_file is not None:
            tls.load_verify_locations(flags.requestheader_client_ca_file)
        return config, tls, kubeconfig
    except (OSError, ssl.SSLError) as error:
        raise BadFlag(f"--tls-cert-file {certificate}, --tls-private-key-file {key}: {error}") from error


def _runtime_config(settings: Sequence[str]) -> dict[str, bool]:
    try:
        return parse_runtime_config(settings)
    except ValueError as error:
        raise BadFlag(f"--runtime-config: {error}") from error


def _outward(bind_address: str) -> str:
    """The address that others reach us under: the one bound to, or for "all of them" the one of the default route."""
    return bind_address if not ipaddress.ip_address(bind_address).is_unspecified else own_address()


def _write_admin(path: Path, authority: Authority, flags: ApiServerFlags, now: datetime) -> None:
    credential = authority.issue_client("kubernetes-admin", ["system:masters"], now)
    address = flags.bind_address if not ipaddress.ip_address(flags.bind_address).is_unspecified else "127.0.0.1"
    text = render_kubeconfig(
        cluster="kobune",
        server=f"https://{address}:{flags.secure_port}",
        user="kubernetes-admin",
        authority=authority.credential.certificate,
        certificate=credential.certificate,
        key=credential.key,
    )
    write_private(path, text.encode())


def _audit_policy(path: Path | None) -> Json | None:
    if path is None:
        return None
    from kobune.controlplane.apiserver.audit.policy import Policy

    policy = read_document("--audit-policy-file", path)
    try:
        Policy(policy)  # Refuses what is no policy before anything is started.
    except ValueError as error:
        raise BadFlag(f"--audit-policy-file {path}: {error}") from error
    return policy


def _audit_sink(flags: ApiServerFlags) -> Callable[[bytes], None] | None:
    """Lines go to the file as they come; without a file nothing is audited, as upstream has it."""
    if flags.audit_log_path is None:
        return None
    if flags.audit_policy_file is None:
        raise BadFlag("--audit-log-path says where to; --audit-policy-file, what is logged, is missing")
    flags.audit_log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = open(flags.audit_log_path, "ab", buffering=0)  # noqa: SIM115 - open as long as the process lives

    def write(line: bytes) -> None:
        file.write(line + b"\n")

    return write


def _admission(path: Path | None) -> AdmissionSettings:
    if path is None:
        return AS_USUAL

    def read(file: str) -> Json:
        return read_document("--admission-control-config-file", path.parent / file)

    try:
        return read_admission(read(path.name), read)
    except (ValueError, AttributeError, TypeError) as error:
        raise BadFlag(f"--admission-control-config-file {path}: {error}") from error


def _kubelet_tls(flags: ApiServerFlags, ca: Path) -> ssl.SSLContext | None:
    if flags.kubelet_client_certificate is None or flags.kubelet_client_key is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(flags.kubelet_certificate_authority or ca))
        context.load_cert_chain(flags.kubelet_client_certificate, flags.kubelet_client_key)
    except (OSError, ssl.SSLError) as error:
        raise BadFlag(f"--kubelet-client-certificate {flags.kubelet_client_certificate}: {error}") from error
    return context


def _front_proxy(flags: ApiServerFlags, now: datetime) -> FrontProxy:
    """As given, or by an authority made for it."""
    certificate, key = flags.proxy_client_cert_file, flags.proxy_client_key_file
    ca = flags.requestheader_client_ca_file or flags.cert_dir / "front-proxy-ca.crt"
    if certificate is None or key is None:
        front = Authority.load_or_create(flags.cert_dir, "front-proxy-ca", now, file="front-proxy-ca")
        certificate, key = front.issue_client(FRONT_PROXY, (), now).write(flags.cert_dir, FRONT_PROXY)
    return FrontProxy(certificate, key, read_file("--requestheader-client-ca-file", ca))
