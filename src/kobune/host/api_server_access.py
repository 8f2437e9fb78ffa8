"""Whom an API server by itself believes, and who decides what they may: read off its flags and the files that these name."""

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from kobune.client.kubeconfig import KubeconfigError, load_kubeconfig
from kobune.controlplane.apiserver.authentication.front_proxy import RequestHeaders
from kobune.controlplane.apiserver.authentication.issuers import Issuer, anonymous_paths, flag_issuer, issuers_of
from kobune.controlplane.apiserver.authentication.webhook import TokenWebhook
from kobune.controlplane.apiserver.authorization.configuration import WEBHOOK, Stage, Webhook, read_configuration
from kobune.controlplane.apiserver.config import ServiceAccountKeys
from kobune.host.api_server_flags import ApiServerFlags
from kobune.host.flag_values import BadFlag, read_document, read_file, read_optional, seconds_of
from kobune.host.pki import new_signing_key, write_private


class Believed(NamedTuple):
    """What an AuthenticationConfiguration, or the flags instead, say of strangers."""

    issuers: list[Issuer]
    anonymous_paths: frozenset[str] | None  # As of ApiServerConfig.


def believed(flags: ApiServerFlags) -> Believed:
    """Whose tokens are believed, and what may be asked without one. Raises BadFlag."""
    file = flags.authentication_config
    try:
        if file is None:
            return Believed(_flag_issuers(flags), frozenset())
        if flags.oidc_issuer_url:
            raise BadFlag("--authentication-config and --oidc-issuer-url exclude each other")
        configuration = read_document("--authentication-config", file)
        return Believed(issuers_of(configuration), anonymous_paths(configuration))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadFlag(f"--authentication-config {file}: {error}" if file else f"{error}") from error


def _flag_issuers(flags: ApiServerFlags) -> list[Issuer]:
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
        authority=read_optional("--oidc-ca-file", flags.oidc_ca_file).decode(),
    )
    return [issuer]


def tokens(path: Path | None) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    if path is None:
        return {}
    from kobune.controlplane.apiserver.authentication.authenticator import read_token_file

    try:
        return read_token_file(read_file("--token-auth-file", path).decode())
    except ValueError as error:
        raise BadFlag(f"--token-auth-file {path}: {error}") from error


def service_account_keys(flags: ApiServerFlags) -> ServiceAccountKeys:
    path = flags.service_account_signing_key_file
    if path is None:
        path = flags.cert_dir / "service-account.key"
        if not path.exists():
            write_private(path, new_signing_key())
    try:
        signing = load_pem_private_key(read_file("--service-account-signing-key-file", path), password=None)
        verifying = [_public(read_file("--service-account-key-file", file)) for file in flags.service_account_key_file]
    except ValueError as error:
        raise BadFlag(f"the service account keys cannot be read: {error}") from error
    return ServiceAccountKeys(signing, verifying)


def _public(pem: bytes) -> PublicKeyTypes:
    """The key of a public or, as upstream also takes it, a private key file."""
    if b"PRIVATE KEY" in pem:
        return load_pem_private_key(pem, password=None).public_key()
    return load_pem_public_key(pem)


def stages(flags: ApiServerFlags) -> tuple[Stage, ...]:
    """Who decides, by the file or by the flags. Raises BadFlag."""
    webhook, file = flags.authorization_webhook_config_file, flags.authorization_config
    if file is not None:
        if flags.authorization_mode or webhook is not None:
            raise BadFlag("--authorization-config excludes --authorization-mode and --authorization-webhook-*")
        try:
            found = read_configuration(read_document("--authorization-config", file))
        except (ValueError, AttributeError) as error:
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
        seconds_of(f"{name}cache-authorized-ttl", flags.authorization_webhook_cache_authorized_ttl),
        seconds_of(f"{name}cache-unauthorized-ttl", flags.authorization_webhook_cache_unauthorized_ttl),
        version=version,
    )


def token_webhook(flags: ApiServerFlags) -> TokenWebhook | None:
    path, name = flags.authentication_token_webhook_config_file, "--authentication-token-webhook-"
    if path is None:
        return None
    version = flags.authentication_token_webhook_version
    if version not in ("v1", "v1beta1"):
        raise BadFlag(f"{name}version {version}: v1 or v1beta1")
    _check_kubeconfig(str(path))
    seconds = seconds_of(f"{name}cache-ttl", flags.authentication_token_webhook_cache_ttl)
    return TokenWebhook(str(path), version, seconds)


def _check_kubeconfig(path: str) -> None:
    """Refuse a kubeconfig that leads nowhere before anything is started."""
    try:
        load_kubeconfig(Path(path))
    except KubeconfigError as error:
        raise BadFlag(str(error)) from error


def request_headers(flags: ApiServerFlags, client_ca: Path) -> RequestHeaders | None:
    path = flags.requestheader_client_ca_file
    if path is None:
        return None
    return RequestHeaders(
        read_file("--requestheader-client-ca-file", path),
        read_file("--client-ca-file", client_ca),
        tuple(flags.requestheader_allowed_names),
        tuple(flags.requestheader_username_headers),
        tuple(flags.requestheader_uid_headers),
        tuple(flags.requestheader_group_headers),
        tuple(flags.requestheader_extra_headers_prefix),
    )
