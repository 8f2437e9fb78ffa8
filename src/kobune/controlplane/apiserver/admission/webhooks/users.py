"""As whom webhooks are asked: the users of the kubeconfig that a WebhookAdmissionConfiguration names.

Source: upstream apiserver, pkg/util/webhook/authentication.go, and pkg/admission/plugin/webhook/config.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kobune.api.errors import Json

VERSION = "apiserver.config.k8s.io/v1"


class Identity(NamedTuple):
    """What is shown to one webhook."""

    headers: tuple[tuple[str, str], ...] = ()
    certificate: str = ""  # PEM, as the key.
    key: str = ""


@dataclass(frozen=True, slots=True)
class WebhookUsers:
    """The users of a kubeconfig; file names in it are relative to `folder`."""

    kubeconfig: Json
    folder: Path

    def identity(self, host: str, port: int) -> Identity:
        """Who asks the webhook at that address. Raises OSError or ValueError where credentials cannot be read."""
        user = self._user(host, port)
        return Identity(
            tuple(self._headers(user)), self._text(user, "client-certificate"), self._text(user, "client-key")
        )

    def _user(self, host: str, port: int) -> Json:
        users = {one.get("name"): one.get("user") or {} for one in self.kubeconfig.get("users") or ()}
        for name in _names(host, port):
            if name in users:
                return dict(users[name])
        current = self.kubeconfig.get("current-context")
        for one in self.kubeconfig.get("contexts") or ():
            if one.get("name") == current:
                return dict(users.get((one.get("context") or {}).get("user")) or {})
        return {}

    def _headers(self, user: Json) -> Iterator[tuple[str, str]]:
        token = user.get("token") or ""
        if not token and user.get("tokenFile"):
            token = (self.folder / user["tokenFile"]).read_text().strip()
        if token:
            yield "Authorization", f"Bearer {token}"
        elif user.get("username") or user.get("password"):
            pair = f"{user.get('username') or ''}:{user.get('password') or ''}"
            yield "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"
        if user.get("as"):
            yield "Impersonate-User", user["as"]
            if user.get("as-uid"):
                yield "Impersonate-Uid", user["as-uid"]
            for group in user.get("as-groups") or ():
                yield "Impersonate-Group", group
            for key, values in (user.get("as-user-extra") or {}).items():
                for value in values:
                    yield f"Impersonate-Extra-{key}", value

    def _text(self, user: Json, field: str) -> str:
        """A file's content, given inline or by its name; read anew each time, for certificates are renewed."""
        if inline := user.get(f"{field}-data"):
            return base64.b64decode(inline, validate=True).decode()
        return (self.folder / user[field]).read_text() if user.get(field) else ""


NOBODY = WebhookUsers({}, Path())


def read_webhook_users(configuration: Json, read_file: Callable[[str], Json]) -> WebhookUsers:
    """What a WebhookAdmissionConfiguration says. Raises ValueError."""
    if (configuration.get("apiVersion"), configuration.get("kind")) != (VERSION, "WebhookAdmissionConfiguration"):
        raise ValueError(f"not a WebhookAdmissionConfiguration of {VERSION}")
    if configuration.get("staticManifestsDir"):
        raise ValueError("staticManifestsDir: Forbidden: webhooks come from the cluster's objects alone")
    path = Path(configuration.get("kubeConfigFile") or "")
    if path == Path():
        return NOBODY
    if not path.is_absolute():
        raise ValueError(f'kubeConfigFile: Invalid value: "{path}": must be an absolute file path')
    kubeconfig = read_file(str(path))
    for one in kubeconfig.get("users") or ():
        for way in ("exec", "auth-provider"):
            if (one.get("user") or {}).get(way):
                raise ValueError(f"{path}: users[{one.get('name')}].{way}: not supported for webhooks")
    return WebhookUsers(kubeconfig, path.parent)


def _names(host: str, port: int) -> Iterator[str]:
    """What the user for an address may be called, the most special first."""
    targets = [f"{host}:{port}", host] if port == 443 else [f"{host}:{port}"]
    for target in targets:
        yield target
        steps = target.split(".")
        for index in range(1, len(steps)):
            yield f"*.{'.'.join(steps[index:])}"
    yield "*"
