"""Kubeconfig files: read into a transport, and written for one cluster and one user."""

import base64
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kobune.api.clock import Clock
from kobune.api.errors import Json

if TYPE_CHECKING:
    from kobune.client.https import HttpsTransport


# A letter and more that is no punctuation of YAML; not a word that means something else than its letters.
PLAIN = re.compile(
    r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z][A-Za-z0-9+/=_.-]*(?::/?[A-Za-z0-9/._-]+)*", re.IGNORECASE
)


class KubeconfigError(Exception):
    """The file does not say how to reach a cluster."""


def load_kubeconfig(
    path: Path, *, context: str = "", user_agent: str = "kobune", clock: Clock | None = None
) -> "HttpsTransport":
    """The transport that the file's current (or the named) context describes.

    Relative file names are relative to the kubeconfig, as kubectl reads them. Certificates inline or in files, bearer
    token inline or in a file.

    Raises:
        KubeconfigError: unreadable, or a name in it leads nowhere.
    """
    import yaml  # Late, as the HTTP client below: those who only write a kubeconfig do without.

    from kobune.client.https import HttpsTransport, tls_context

    try:
        config = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"cannot read kubeconfig {path}: {error}") from error
    current = context or config.get("current-context") or ""
    chosen = _named(config, "contexts", current, path)["context"]
    cluster = _named(config, "clusters", chosen.get("cluster", ""), path)["cluster"]
    user: Json = {}
    if chosen.get("user"):
        user = _named(config, "users", chosen["user"], path).get("user") or {}
    server = cluster.get("server", "")
    if not server:
        raise KubeconfigError(f"kubeconfig {path}: cluster {chosen.get('cluster')!r} has no server")
    with ExitStack() as stack:
        certificate = stack.enter_context(_as_file(user, "client-certificate", path))
        key = stack.enter_context(_as_file(user, "client-key", path))
        authority = stack.enter_context(_as_file(cluster, "certificate-authority", path))
        try:
            tls = tls_context(
                authority=authority.read_text() if authority else "",
                certificate=certificate,
                key=key,
                verify=not cluster.get("insecure-skip-tls-verify", False),
            )
        except OSError as error:  # ssl.SSLError is one.
            raise KubeconfigError(f"kubeconfig {path}: {error}") from error
    token_file = user.get("tokenFile")
    return HttpsTransport(
        server,
        tls=tls,
        token=user.get("token") or "",
        token_file=path.parent / token_file if token_file else None,
        tls_server_name=cluster.get("tls-server-name") or "",
        user_agent=user_agent,
        clock=clock,
    )


def render_kubeconfig(
    *,
    cluster: str,
    server: str,
    user: str,
    authority: bytes,
    certificate: bytes = b"",
    key: bytes = b"",
    token: str = "",
    namespace: str = "",
    login: Json | None = None,
) -> str:
    """A kubeconfig of one context, named as the cluster, with everything inline. `authority` and the others are PEM.

    Args:
        login: the user's entry where it has no credentials of its own: what to ask for them.
    """
    credentials = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode() if certificate else "",
        "token": token,
    }
    entry = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    context = {"cluster": cluster, "user": user, "namespace": namespace}
    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: {_quoted(cluster)}
  cluster:{_fields(entry)}
users:
- name: {_quoted(user)}
  user:{_fields(credentials) if login is None else f" {json.dumps(login)}"}
contexts:
- name: {_quoted(cluster)}
  context:{_fields(context)}
current-context: {_quoted(cluster)}
"""


def write_kubeconfig(path: Path, text: str) -> None:
    """Write the file whole or not at all, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _fields(section: Mapping[str, str]) -> str:
    """Those that are not empty, below each other."""
    lines = [f"\n    {name}: {_quoted(value)}" for name, value in section.items() if value]
    return "".join(lines) or " {}"


def _quoted(text: str) -> str:
    """As YAML, plain where it can be nothing else than this text."""
    return text if PLAIN.fullmatch(text) else json.dumps(text)


def _named(config: Json, section: str, name: str, path: Path) -> Json:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            found: Json = entry
            return found
    raise KubeconfigError(f"kubeconfig {path}: no entry {name!r} in {section}")


@contextmanager
def _as_file(section: Json, field: str, path: Path) -> Iterator[Path | None]:
    """The file that `field` names, or a private passing one with its inline data: ssl reads key pairs from files only."""
    inline = section.get(f"{field}-data")
    if inline:
        with tempfile.NamedTemporaryFile(prefix="kobune-") as file:
            try:
                file.write(base64.b64decode(inline, validate=True))
            except ValueError as error:
                raise KubeconfigError(f"kubeconfig {path}: {field}-data is not base64") from error
            file.flush()
            yield Path(file.name)
    else:
        named = section.get(field)
        yield path.parent / named if named else None
