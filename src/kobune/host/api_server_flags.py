"""The flags of an API server by itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kobune.host.flags import flag
from kobune.host.stores import StoreFlags


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
