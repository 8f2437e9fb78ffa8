"""Signing in: cloud metadata, OpenID configuration, and the token endpoint with its flows.

Source: the Microsoft identity platform's protocol pages; what az, the SDKs and Terraform ask of them.
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from kobune.aks.arm.directory import Directory
from kobune.aks.arm.tokens import ARM_AUDIENCES, LIFETIME_SECONDS, Issuer, Principal, access_claims
from kobune.api.errors import Json

CLOUD_NAME = "Kobune"
ADMINISTRATOR = "admin@kobune.local"  # Who signs in by a device code.
DEVICE_CODE_SECONDS = 900
MOST_DEVICE_CODES = 100  # Waiting at once.


class SignInError(Exception):
    """A refusal of the token endpoint, in OAuth's form."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.number = number


@dataclass(slots=True)
class SignIn:
    """The identity provider of one tenant."""

    issuer: Issuer
    principal: Principal  # The service's own.
    directory: Directory
    _device_codes: dict[str, float] = field(default_factory=dict)  # Code and when it ends.

    @property
    def tenant(self) -> str:
        return self.principal.tenant

    def token(self, form: Mapping[str, str], *, base: str, now: float, new_id: str) -> Json:
        """The answer to a token request. Raises SignInError."""
        grant = form.get("grant_type", "")
        if grant == "client_credentials":
            return self._access(self._client(form, now), form, base=base, now=now, new_id=new_id)
        if grant == "urn:ietf:params:oauth:grant-type:device_code":
            ends = self._device_codes.pop(form.get("device_code", ""), 0.0)
            if ends < now:
                raise SignInError(400, "expired_token", 70020, "AADSTS70020: The device code is unknown or expired.")
            return self._with_identity(form, base=base, now=now, new_id=new_id)
        if grant == "refresh_token":
            self._check_refresh(form.get("refresh_token", ""), now)
            return self._with_identity(form, base=base, now=now, new_id=new_id)
        raise SignInError(
            400,
            "unsupported_grant_type",
            70003,
            f"AADSTS70003: The app requested an unsupported grant type '{grant}'.",
        )

    def device_code(self, *, base: str, now: float, new_id: str) -> Json:
        """Begin a device login. There is nobody to ask on a machine of one's own: the code holds as soon as it is used."""
        self._device_codes = {code: ends for code, ends in self._device_codes.items() if ends > now}
        if len(self._device_codes) >= MOST_DEVICE_CODES:
            raise SignInError(429, "slow_down", 50196, "AADSTS50196: Too many device logins are waiting.")
        self._device_codes[new_id] = now + DEVICE_CODE_SECONDS
        code = new_id[:8].upper()
        return {
            "user_code": code,
            "device_code": new_id,
            "verification_uri": f"{base}/devicelogin",
            "expires_in": DEVICE_CODE_SECONDS,
            "interval": 1,
            "message": f"This cloud is your own machine: the code {code} is accepted without a page to enter it.",
        }

    def managed_identity(self, resource: str, client_id: str, *, base: str, now: float, new_id: str) -> Json:
        """A token for a process of this machine, in the form of the App Service identity endpoint.

        Args:
            client_id: of a user-assigned identity; empty: the machine's own, which is the service's principal.
        """
        principal = self.directory.find_identity(client_id, tenant=self.tenant) if client_id else self.principal
        if principal is None:
            raise SignInError(400, "invalid_request", 70001, f"The identity '{client_id}' is not known here.")
        claims = self._claims(principal, resource, base=base, now=now, new_id=new_id)
        return {
            "access_token": self.issuer.sign(claims),
            "client_id": principal.client_id,
            "expires_on": str(claims["exp"]),
            "not_before": str(claims["nbf"]),
            "resource": resource,
            "token_type": "Bearer",
        }

    def _client(self, form: Mapping[str, str], now: float) -> Principal:
        """The application that asks, with its secret."""
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        if client.lower() == self.principal.client_id.lower():
            good = hmac.compare_digest(secret.encode(), self.principal.secret.encode())
            found = self.principal if good else None
        else:
            time = datetime.fromtimestamp(now, UTC).isoformat()
            try:
                found = self.directory.find_client(client, secret, tenant=self.tenant, now=time)
            except LookupError as error:
                raise SignInError(
                    400,
                    "unauthorized_client",
                    700016,
                    f"AADSTS700016: Application with identifier '{client}' was not found in the directory '{self.tenant}'.",
                ) from error
        if found is None:
            raise SignInError(
                401,
                "invalid_client",
                7000215,
                "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client "
                f"secret value, not the client secret ID, for a secret added to app '{client}'.",
            )
        return found

    def _check_refresh(self, token: str, now: float) -> None:
        try:
            claims = self.issuer.read(token)
        except ValueError as error:
            raise SignInError(400, "invalid_grant", 9002313, "AADSTS9002313: The refresh token is invalid.") from error
        if claims.get("use") != "refresh" or float(claims.get("exp", 0)) < now:
            raise SignInError(400, "invalid_grant", 700082, "AADSTS700082: The refresh token has expired.")

    def _access(
        self, principal: Principal, form: Mapping[str, str], *, base: str, now: float, new_id: str, person: str = ""
    ) -> Json:
        claims = self._claims(principal, _audience(form), base=base, now=now, new_id=new_id)
        if person:
            claims |= {"idtyp": "user", "upn": person, "unique_name": person, "scp": "user_impersonation"}
        return {
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECONDS,
            "ext_expires_in": LIFETIME_SECONDS,
            "access_token": self.issuer.sign(claims),
        }

    def _claims(self, principal: Principal, audience: str, *, base: str, now: float, new_id: str) -> Json:
        claims = access_claims(principal, audience=audience, issuer=self._issuer_url(base), now=now, token_id=new_id)
        groups = self.directory.groups_of(principal.object_id)
        return claims | {"groups": list(groups)} if groups else claims

    def _with_identity(self, form: Mapping[str, str], *, base: str, now: float, new_id: str) -> Json:
        """Access token, id token and refresh token, as for a person."""
        identity = {
            "aud": form.get("client_id", ""),
            "iss": self._issuer_url(base),
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + LIFETIME_SECONDS,
            "name": "Kobune administrator",
            "preferred_username": ADMINISTRATOR,
            "oid": self.principal.object_id,
            "sub": self.principal.object_id,
            "tid": self.tenant,
            "ver": "2.0",
        }
        who = {"uid": self.principal.object_id, "utid": self.tenant}
        refresh = {"use": "refresh", "tid": self.tenant, "exp": int(now) + 90 * 86400, "jti": new_id}
        access = self._access(self.principal, form, base=base, now=now, new_id=new_id, person=ADMINISTRATOR)
        return access | {
            "scope": form.get("scope", ""),
            "id_token": self.issuer.sign(identity),
            "refresh_token": self.issuer.sign(refresh),
            "client_info": base64.urlsafe_b64encode(orjson.dumps(who)).rstrip(b"=").decode(),
            "foci": "1",
        }

    def _issuer_url(self, base: str) -> str:
        return f"{base}/{self.tenant}/v2.0"


def error_answer(error: SignInError, *, time: str, new_id: str) -> Json:
    """The body of a refused token request."""
    return {
        "error": error.error,
        "error_description": f"{error} Trace ID: {new_id} Correlation ID: {new_id} Timestamp: {time}",
        "error_codes": [error.number],
        "timestamp": time,
        "trace_id": new_id,
        "correlation_id": new_id,
    }


def openid_configuration(base: str, tenant: str, *, adfs: bool) -> Json:
    """What clients read to find the endpoints; with `adfs` under the path that spares them the public discovery."""
    oauth = f"{base}/adfs/oauth2" if adfs else f"{base}/{tenant}/oauth2/v2.0"
    return {
        "token_endpoint": f"{oauth}/token",
        "authorization_endpoint": f"{oauth}/authorize",
        "device_authorization_endpoint": f"{oauth}/devicecode",
        "issuer": f"{base}/{tenant}/v2.0",
        "jwks_uri": f"{base}/{tenant}/discovery/v2.0/keys",
        "response_types_supported": ["code", "id_token", "token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "scopes_supported": ["openid", "profile", "offline_access"],
        "cloud_instance_name": base.removeprefix("https://"),
    }


def cloud_metadata(base: str) -> Json:
    """The cloud's endpoints, in the form of api-version 2022-09-01."""
    host = base.removeprefix("https://").partition(":")[0]
    return {
        "name": CLOUD_NAME,
        "portal": f"{base}/portal",
        "authentication": {
            "loginEndpoint": f"{base}/adfs",
            "audiences": list(ARM_AUDIENCES),
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "resourceManager": f"{base}/",
        "microsoftGraphResourceId": f"{base}/msgraph",
        "graph": f"{base}/graph",
        "graphAudience": f"{base}/graph",
        "media": f"{base}/media",
        "batch": f"{base}/batch",
        "gallery": f"{base}/gallery",
        "sqlManagement": f"{base}/sql",
        "vmImageAliasDoc": f"{base}/images",
        "activeDirectoryDataLake": f"{base}/datalake",
        "logAnalyticsEndpoint": f"{base}/loganalytics",
        "suffixes": {
            "acrLoginServer": f"azurecr.{host}",
            "keyVaultDns": f"vault.{host}",
            "storage": f"core.{host}",
            "sqlServerHostname": f"database.{host}",
            "mhsmDns": f"managedhsm.{host}",
            "azureDataLakeStoreFileSystem": f"datalakestore.{host}",
            "azureDataLakeAnalyticsCatalogAndJob": f"datalakeanalytics.{host}",
        },
    }


def _audience(form: Mapping[str, str]) -> str:
    """The resource of a scope: az's resource ids end in a slash, so its scopes have two."""
    if form.get("resource"):
        return form["resource"]
    scope = next((part for part in form.get("scope", "").split() if part.endswith("/.default")), "")
    return scope.removesuffix("/.default") or ARM_AUDIENCES[0]
