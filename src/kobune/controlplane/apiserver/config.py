"""What an API server is told when it is started."""

import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from kobune.api.errors import Json
from kobune.client.transport import Transport
from kobune.controlplane.apiserver.admission.configuration import AS_USUAL, AdmissionSettings
from kobune.controlplane.apiserver.authentication.authenticator import TokenAuthenticator
from kobune.controlplane.apiserver.authentication.front_proxy import RequestHeaders
from kobune.controlplane.apiserver.authentication.issuers import Issuer
from kobune.controlplane.apiserver.authentication.webhook import TokenWebhook
from kobune.controlplane.apiserver.authorization.authorizer import Authorizer
from kobune.controlplane.apiserver.authorization.configuration import Stage
from kobune.controlplane.store.upkeep import EVENT_SECONDS


@dataclass(frozen=True, slots=True)
class ServiceAccountKeys:
    """`verifying` are the public keys whose tokens are accepted; the signing key's own is always among them."""

    signing: PrivateKeyTypes
    verifying: Sequence[PublicKeyTypes] = ()


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """How servers of aggregated versions know this one: its client certificate and the authority that signed it."""

    certificate: Path
    key: Path
    authority: bytes  # PEM.
    name: str = "front-proxy-client"  # The certificate's common name.


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """Names follow upstream's flags.

    Attributes:
        cluster_version: "1.36" or "1.36.1"; decides which kinds and fields are served.
        feature_gates: the gates that are on (`api.features`).
        runtime_config: which API versions and resources are switched on or off against their default.
        advertise_address, advertise_port: where clients inside the cluster find this server; "" keeps no endpoints
            for the `kubernetes` Service.
        client_ca: PEM certificates; whoever shows a certificate signed by them is its subject.
        static_tokens: bearer tokens and the line of the token file that each stands in: (user, uid, groups).
        issuers: whose tokens are believed, beside this server's own (OpenID Connect).
        token_authenticators: who else is asked whose a token is; `authorizers`: who else may allow what roles do not.
        kubelet_tls: how to reach kubelets: the server's client certificate and the CA that signed theirs. None turns
            logs, exec and proxying off.
        front_proxy: how aggregated servers are asked in the name of others; None: they cannot tell who asks.
        admission: what admission plugins are told.
        request_headers: which front proxies may ask this server in the name of others.
        anonymous_health, anonymous_paths: what may be asked by whoever says not who it is: health, and these paths (None:
            all there are).
        audit_policy, audit_sink: what is audited, as an audit.k8s.io/v1 Policy, and where each event (a line of JSON
            without its end) goes; both or none.
        admits_connection: whether a client at this address, with this certificate (DER; None: it has none), may speak
            at all; others are cut off without an answer. None: everybody may.
        authorization_mode: who decides, in this order: of "Node", "RBAC", "AlwaysAllow", "AlwaysDeny", and webhooks.
        token_webhook: who is shown tokens that are nobody's else.
        open_kubeconfig: the way to the server of a kubeconfig, by its path, for the webhooks.
        max_requests_inflight, max_mutating_requests_inflight: how many requests are answered at the same time; with
            priority and fairness the sum of both counts.
        enable_priority_and_fairness: whether levels and queues decide who waits for that.
        request_timeout: seconds for a request that is no stream.
        event_ttl: seconds that an Event is kept after it was last written.
        serve_metrics: whether metrics.k8s.io is answered from the kubelets' figures.
        serve_bootstrap: whether default namespaces, the `kubernetes` Service and the like are kept right.
    """

    cluster_version: str = "1.36"
    feature_gates: frozenset[str] = frozenset()
    runtime_config: Mapping[str, bool] = field(default_factory=dict)
    advertise_address: str = ""
    advertise_port: int = 6443
    service_cluster_ip_range: str = "10.0.0.0/16"
    service_node_port_range: tuple[int, int] = (30000, 32767)
    client_ca: bytes = b""
    static_tokens: dict[str, tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)
    issuers: Sequence[Issuer] = ()
    service_account_keys: ServiceAccountKeys | None = None
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    api_audiences: tuple[str, ...] = ()
    max_token_expiration_seconds: int = 0
    token_authenticators: Sequence[TokenAuthenticator] = ()
    authorizers: Sequence[Authorizer] = ()
    kubelet_tls: ssl.SSLContext | None = None
    front_proxy: FrontProxy | None = None
    request_headers: RequestHeaders | None = None
    admits_connection: Callable[[str, bytes | None], bool] | None = None
    authorization_mode: tuple[Stage, ...] = ("Node", "RBAC")
    token_webhook: TokenWebhook | None = None
    open_kubeconfig: Callable[[str], Transport] | None = None
    anonymous_health: bool = True
    anonymous_paths: Collection[str] | None = ()
    disabled_admission_plugins: tuple[str, ...] = ()
    enabled_admission_plugins: tuple[str, ...] = ()
    admission: AdmissionSettings = AS_USUAL
    audit_policy: Json | None = None
    audit_sink: Callable[[bytes], None] | None = None
    shared_store: bool = False
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    enable_priority_and_fairness: bool = True
    request_timeout: float = 60.0
    event_ttl: float = EVENT_SECONDS
    serve_metrics: bool = True
    serve_bootstrap: bool = True

    @property
    def audiences(self) -> tuple[str, ...]:
        """Whom a token must be meant for; without --api-audiences the issuer."""
        return self.api_audiences or (self.service_account_issuer,)
