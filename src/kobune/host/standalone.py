"""Components started one by one, as upstream's binaries are; each generates what it is not given."""

import asyncio
import contextlib
import ipaddress
import random
import re
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from kobune.aks.versions import DEFAULT_VERSION
from kobune.api.clock import SystemClock
from kobune.api.errors import Json
from kobune.api.features import parse_gates, parse_runtime_config
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.client.kubeconfig import KubeconfigError, load_kubeconfig, render_kubeconfig
from kobune.controlplane.apiserver.admission.configuration import AdmissionSettings, read_admission
from kobune.controlplane.apiserver.authentication.front_proxy import RequestHeaders
from kobune.controlplane.apiserver.authentication.issuers import Issuer, anonymous_paths, flag_issuer, issuers_of
from kobune.controlplane.apiserver.authentication.webhook import TokenWebhook
from kobune.controlplane.apiserver.authorization.configuration import WEBHOOK, Stage, Webhook, read_configuration
from kobune.controlplane.apiserver.config import ApiServerConfig, FrontProxy, ServiceAccountKeys
from kobune.host.flags import flag
from kobune.host.loops import patient_collector
from kobune.host.pki import FRONT_PROXY, SERVICE_NAMES, Authority, new_signing_key, write_private
from kobune.host.sockets import listener, server_tls
from kobune.host.stores import StoreFlags, favour_commits, open_store

if TYPE_CHECKING:
    from kobune.host.endpoints import Serving


class BadFlag(Exception):
    """A flag's value cannot be used; one sentence."""


@dataclass(frozen=True, slots=True)
class ApiServerFlags:
    """kube-apiserver's flags, under upstream's names; empty is not given."""

    secure_port: int = flag(6443, "The port to serve HTTPS on.")
    bind_address: str = flag("0.0.0.0", "The address to listen on.")
    advertise_address: str = flag("", "Where members of the cluster reach it.")
    tls_cert_file: Path | None = flag(None, "The serving certificate.")
    tls_private_key_file: Path | None = flag(None, "Its key.")
    client_ca_file: Path | None = flag(None, "Whose client certificates name users.")
    token_auth_file: Path | None = flag(None, "Static tokens: token,user,uid,groups.")
    oidc_issuer_url: str = flag("", "Who issues OpenID Connect tokens.")
    oidc_client_id: str = flag("", "Whom they must be meant for.")
    oidc_ca_file: Path | None = flag(None, "Who signed the issuer's certificate.")
    oidc_username_claim: str = flag("sub", "The claim that names the user.")
    oidc_username_prefix: str = flag("", "What stands before it; - for nothing, else the issuer's URL.")
    oidc_groups_claim: str = flag("", "The claim that names the user's groups.")
    oidc_groups_prefix: str = flag("", "What stands before each.")
    oidc_required_claim: Sequence[str] = flag((), "Claims that a token must have, as name=value.")
    oidc_signing_algs: Sequence[str] = flag(("RS256",), "How tokens may be signed.")
    authentication_config: Path | None = flag(None, "An AuthenticationConfiguration: whose tokens are believed.")
    service_account_key_file: Sequence[Path] = flag((), "Keys that verify tokens; may be repeated.")
    service_account_signing_key_file: Path | None = flag(None, "The key that signs tokens.")
    service_account_issuer: str = flag("https://kubernetes.default.svc.cluster.local", "The issuer named in tokens.")
    api_audiences: Sequence[str] = flag((), "Whom tokens must be meant for, comma-separated.")
    service_cluster_ip_range: str = flag("10.0.0.0/24", "Addresses of Services.")
    service_node_port_range: str = flag("30000-32767", "Node ports of Services.")
    authorization_mode: Sequence[str] = flag(
        (), "Of Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny; without it Node,RBAC."
    )
    authorization_config: Path | None = flag(None, "An AuthorizationConfiguration: who decides, in which order.")
    authorization_webhook_config_file: Path | None = flag(None, "The kubeconfig of the server that mode Webhook asks.")
    authorization_webhook_version: str = flag("v1beta1", "The version of the SubjectAccessReviews it is asked with.")
    authorization_webhook_cache_authorized_ttl: str = flag("5m0s", "How long what it allows is kept.")
    authorization_webhook_cache_unauthorized_ttl: str = flag("30s", "How long what it does not allow is kept.")
    authentication_token_webhook_config_file: Path | None = flag(None, "The kubeconfig of the server shown tokens.")
    authentication_token_webhook_version: str = flag("v1beta1", "The version of the TokenReviews it is asked with.")
    authentication_token_webhook_cache_ttl: str = flag("2m0s", "How long its answers are kept.")
    disable_admission_plugins: Sequence[str] = flag((), "Plug-ins to leave out, comma-separated.")
    enable_admission_plugins: Sequence[str] = flag((), "Plug-ins to use that are off by default, comma-separated.")
    admission_control_config_file: Path | None = flag(None, "An AdmissionConfiguration: what plug-ins are told.")
    kubelet_client_certificate: Path | None = flag(None, "Shown to kubelets.")
    kubelet_client_key: Path | None = flag(None, "Its key.")
    kubelet_certificate_authority: Path | None = flag(None, "Who signed the kubelets' certificates.")
    proxy_client_cert_file: Path | None = flag(None, "Shown to aggregated API servers.")
    proxy_client_key_file: Path | None = flag(None, "Its key.")
    requestheader_client_ca_file: Path | None = flag(None, "Who signs the certificates of front proxies; also of ours.")
    requestheader_allowed_names: Sequence[str] = flag((), "Common names that front proxies may have; none is any.")
    requestheader_username_headers: Sequence[str] = flag(("X-Remote-User",), "Where they name the user.")
    requestheader_uid_headers: Sequence[str] = flag(("X-Remote-Uid",), "And its uid.")
    requestheader_group_headers: Sequence[str] = flag(("X-Remote-Group",), "And its groups.")
    requestheader_extra_headers_prefix: Sequence[str] = flag(("X-Remote-Extra-",), "And what else is known of it.")
    max_requests_inflight: int = flag(400, "Reads answered at the same time.")
    max_mutating_requests_inflight: int = flag(200, "Writes answered at the same time.")
    enable_priority_and_fairness: bool = flag(True, "Whether levels and queues decide who waits for that.")
    request_timeout: str = flag("1m0s", "How long a request may take that is no stream.")
    event_ttl: str = flag("1h0m0s", "How long Events are kept.")
    store: StoreFlags = field(default_factory=StoreFlags)
    cert_dir: Path = flag(Path("/var/run/kubernetes"), "Where what is not given is generated.")
    kubernetes_version: str = flag("1.36", "The version to serve.")
    feature_gates: Sequence[str] = flag((), "Features of alpha and beta stage, as in GangScheduling=true.")
    runtime_config: Sequence[str] = flag((), "API versions to switch on or off, as in scheduling.k8s.io/v1alpha2=true.")
    audit_policy_file: Path | None = flag(None, "What is audited, and how much of it.")
    audit_log_path: Path | None = flag(None, "Where audit events go, a JSON object in each line.")


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
                await _signalled()
                if sealing is not None:
                    sealing.cancel()
        finally:
            await store.close()


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

    features = gates("--feature-gates", feature_gates, DEFAULT_VERSION)
    chosen = parse_configuration(_read("--config", config), features) if config else default_configuration(features)
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
        await until_signalled(work(), client)


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

    gates("--feature-gates", feature_gates, DEFAULT_VERSION)  # What runs follows what the API server serves.
    settings = Settings(
        root_ca=_optional("--root-ca-file", root_ca_file),
        allocate_node_cidrs=allocate_node_cidrs,
        cluster_cidr=cluster_cidr,
        signing_certificate=_optional("--cluster-signing-cert-file", signing_certificate_file),
        signing_key=_optional("--cluster-signing-key-file", signing_key_file),
        service_account_key=_optional("--service-account-private-key-file", service_account_key_file),
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
        await until_signalled(manager.run(), client)


def identity(rng: random.Random) -> str:
    """A candidate's name in a leader election: the machine's name and something that tells its processes apart."""
    return f"{socket.gethostname()}_{rng.getrandbits(64):016x}"


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
    admission = _admission(flags.admission_control_config_file)
    config = ApiServerConfig(
        cluster_version=flags.kubernetes_version,
        feature_gates=gates("--feature-gates", flags.feature_gates, flags.kubernetes_version),
        runtime_config=_runtime_config(flags.runtime_config),
        audit_policy=_audit_policy(flags.audit_policy_file),
        audit_sink=_audit_sink(flags),
        advertise_address=advertised,
        advertise_port=flags.secure_port,
        service_cluster_ip_range=flags.service_cluster_ip_range,
        service_node_port_range=(int(low), int(high)),
        client_ca=_read("--client-ca-file", ca),
        static_tokens=_tokens(flags.token_auth_file),
        issuers=_issuers(flags),
        anonymous_paths=_anonymous(flags.authentication_config),
        service_account_keys=_service_account_keys(flags),
        service_account_issuer=flags.service_account_issuer,
        api_audiences=tuple(flags.api_audiences),
        kubelet_tls=_kubelet_tls(flags, ca),
        front_proxy=_front_proxy(flags, now),
        request_headers=_request_headers(flags, ca),
        max_requests_inflight=flags.max_requests_inflight,
        max_mutating_requests_inflight=flags.max_mutating_requests_inflight,
        enable_priority_and_fairness=flags.enable_priority_and_fairness,
        request_timeout=_seconds("--request-timeout", flags.request_timeout),
        event_ttl=_seconds("--event-ttl", flags.event_ttl),
        authorization_mode=stages(flags),
        token_webhook=_token_webhook(flags),
        open_kubeconfig=lambda path: load_kubeconfig(Path(path), user_agent="kube-apiserver"),
        disabled_admission_plugins=tuple(flags.disable_admission_plugins),
        enabled_admission_plugins=tuple(flags.enable_admission_plugins),
        pod_security=admission.pod_security,
        limited_resources=admission.limited_resources,
    )
    try:
        tls = server_tls(certificate, key, ca)
        if flags.requestheader_client_ca_file is not None:
            tls.load_verify_locations(flags.requestheader_client_ca_file)
        return config, tls, kubeconfig
    except (OSError, ssl.SSLError) as error:
        raise BadFlag(f"--tls-cert-file {certificate}, --tls-private-key-file {key}: {error}") from error


def gates(flag: str, settings: Sequence[str], cluster_version: str) -> frozenset[str]:
    """The feature gates that are on. Raises BadFlag."""
    try:
        return parse_gates(settings, cluster_version)
    except ValueError as error:
        raise BadFlag(f"{flag}: {error}") from error


def _runtime_config(settings: Sequence[str]) -> dict[str, bool]:
    try:
        return parse_runtime_config(settings)
    except ValueError as error:
        raise BadFlag(f"--runtime-config: {error}") from error


def _outward(bind_address: str) -> str:
    """The address that others reach us under: the one bound to, or for "all of them" the one of the default route."""
    return bind_address if not ipaddress.ip_address(bind_address).is_unspecified else own_address()


def own_address() -> str:
    """This machine's address on its default route; without a route that of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing; only asks for the route.
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address


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


def _tokens(path: Path | None) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    if path is None:
        return {}
    from kobune.controlplane.apiserver.authentication.authenticator import read_token_file

    try:
        return read_token_file(_read("--token-auth-file", path).decode())
    except ValueError as error:
        raise BadFlag(f"--token-auth-file {path}: {error}") from error


def _audit_policy(path: Path | None) -> Json | None:
    if path is None:
        return None
    import yaml

    from kobune.controlplane.apiserver.audit.policy import Policy

    try:
        policy = yaml.safe_load(_read("--audit-policy-file", path))
        Policy(policy if isinstance(policy, dict) else {})  # Refuses what is no policy before anything is started.
    except (ValueError, yaml.YAMLError) as error:
        raise BadFlag(f"--audit-policy-file {path}: {error}") from error
    found: Json = policy
    return found


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


def _service_account_keys(flags: ApiServerFlags) -> ServiceAccountKeys:
    path = flags.service_account_signing_key_file
    if path is None:
        path = flags.cert_dir / "service-account.key"
        if not path.exists():
            write_private(path, new_signing_key())
    try:
        signing = load_pem_private_key(_read("--service-account-signing-key-file", path), password=None)
        verifying = [_public(_read("--service-account-key-file", file)) for file in flags.service_account_key_file]
    except ValueError as error:
        raise BadFlag(f"the service account keys cannot be read: {error}") from error
    return ServiceAccountKeys(signing, verifying)


def _public(pem: bytes) -> PublicKeyTypes:
    """The key of a public or, as upstream also takes it, a private key file."""
    if b"PRIVATE KEY" in pem:
        return load_pem_private_key(pem, password=None).public_key()
    return load_pem_public_key(pem)


def _issuers(flags: ApiServerFlags) -> list[Issuer]:
    """Of the file, or of the flags."""
    try:
        if flags.authentication_config is not None:
            if flags.oidc_issuer_url:
                raise BadFlag("--authentication-config and --oidc-issuer-url exclude each other")
            import yaml

            return issuers_of(yaml.safe_load(_read("--authentication-config", flags.authentication_config)) or {})
        if not flags.oidc_issuer_url:
            return []
        issuer = flag_issuer(
            flags.oidc_issuer_url,
            flags.oidc_client_id,
            username_claim=flags.oidc_username_claim,
            username_prefix=flags.oidc_username_prefix,
            groups_claim=flags.oidc_groups_claim,
            groups_prefix=flags.oidc_groups_prefix,
            required={name: value for name, _, value in (one.partition("=") for one in flags.oidc_required_claim)},
            algorithms=flags.oidc_signing_algs,
            authority=_optional("--oidc-ca-file", flags.oidc_ca_file).decode(),
        )
        return [issuer]
    except (ValueError, KeyError, AttributeError) as error:
        raise BadFlag(f"{error}") from error


def _admission(path: Path | None) -> AdmissionSettings:
    if path is None:
        return AdmissionSettings()
    import yaml

    def read(file: str) -> Json:
        found: Json = yaml.safe_load(_read("--admission-control-config-file", path.parent / file)) or {}
        return found

    try:
        return read_admission(read(path.name), read)
    except (ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise BadFlag(f"--admission-control-config-file {path}: {error}") from error


def stages(flags: ApiServerFlags) -> tuple[Stage, ...]:
    """Who decides, by the file or by the flags. Raises BadFlag."""
    webhook, file = flags.authorization_webhook_config_file, flags.authorization_config
    if file is not None:
        if flags.authorization_mode or webhook is not None:
            raise BadFlag("--authorization-config excludes --authorization-mode and --authorization-webhook-*")
        import yaml

        try:
            found = read_configuration(yaml.safe_load(_read("--authorization-config", file)) or {})
        except (ValueError, AttributeError, yaml.YAMLError) as error:
            raise BadFlag(f"--authorization-config {file}: {error}") from error
    else:
        modes = tuple(flags.authorization_mode) or ("Node", "RBAC")
        if (WEBHOOK in modes) != (webhook is not None):
            raise BadFlag("--authorization-mode Webhook and --authorization-webhook-config-file need each other")
        found = [_webhook(flags, webhook) if mode == WEBHOOK and webhook else mode for mode in modes]
    for stage in found:
        if isinstance(stage, Webhook):
            _check_kubeconfig(stage.kubeconfig)
    return tuple(found)


def _webhook(flags: ApiServerFlags, kubeconfig: Path) -> Webhook:
    name, version = "--authorization-webhook-", flags.authorization_webhook_version
    if version not in ("v1", "v1beta1"):
        raise BadFlag(f"{name}version {version}: v1 or v1beta1")
    return Webhook(
        "default",
        str(kubeconfig),
        _seconds(f"{name}cache-authorized-ttl", flags.authorization_webhook_cache_authorized_ttl),
        _seconds(f"{name}cache-unauthorized-ttl", flags.authorization_webhook_cache_unauthorized_ttl),
        version=version,
    )


def _token_webhook(flags: ApiServerFlags) -> TokenWebhook | None:
    path, name = flags.authentication_token_webhook_config_file, "--authentication-token-webhook-"
    if path is None:
        return None
    version = flags.authentication_token_webhook_version
    if version not in ("v1", "v1beta1"):
        raise BadFlag(f"{name}version {version}: v1 or v1beta1")
    _check_kubeconfig(str(path))
    seconds = _seconds(f"{name}cache-ttl", flags.authentication_token_webhook_cache_ttl)
    return TokenWebhook(str(path), version, seconds)


def _check_kubeconfig(path: str) -> None:
    """Refuse a kubeconfig that leads nowhere before anything is started."""
    try:
        load_kubeconfig(Path(path))
    except KubeconfigError as error:
        raise BadFlag(str(error)) from error


def _anonymous(path: Path | None) -> frozenset[str] | None:
    if path is None:
        return frozenset()
    import yaml

    try:
        return anonymous_paths(yaml.safe_load(_read("--authentication-config", path)) or {})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadFlag(f"--authentication-config {path}: {error}") from error


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
    return FrontProxy(certificate, key, _read("--requestheader-client-ca-file", ca))


def _request_headers(flags: ApiServerFlags, client_ca: Path) -> RequestHeaders | None:
    path = flags.requestheader_client_ca_file
    if path is None:
        return None
    return RequestHeaders(
        _read("--requestheader-client-ca-file", path),
        _read("--client-ca-file", client_ca),
        tuple(flags.requestheader_allowed_names),
        tuple(flags.requestheader_username_headers),
        tuple(flags.requestheader_uid_headers),
        tuple(flags.requestheader_group_headers),
        tuple(flags.requestheader_extra_headers_prefix),
    )


def _seconds(flag: str, text: str) -> float:
    """A duration as Go writes it: 1m0s, 500ms."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise BadFlag(f"{flag} {text}: as in 1m0s")
    return sum(float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFlag(f"{flag} {path}: {error.strerror}") from error


def _optional(flag: str, path: Path | None) -> bytes:
    return _read(flag, path) if path is not None else b""


async def _signalled() -> None:
    """Return on SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def until_signalled(work: Coroutine[Any, Any, None], client: Client) -> None:
    """Run a component until SIGINT or SIGTERM, and let go of its connections; raises what the component raises."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(work, name="component")
            waiting = tasks.create_task(_signalled(), name="signals")
            await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            waiting.cancel()
    finally:
        await client.transport.close()
