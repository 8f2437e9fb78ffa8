"""One member of an etcd cluster, as a command to run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# A body of 3 MiB is the largest that the API takes; the frame around it is small. Source: upstream MaxRequestBodyBytes.
MAX_REQUEST_BYTES = 4 * 2**20
QUOTA_BYTES = 8 * 2**30  # Source: etcd's documentation: the largest advised.


@dataclass(frozen=True, slots=True)
class MemberTls:
    """Files in PEM form. The certificate serves clients and other members, and is shown to them."""

    authority: Path
    certificate: Path
    key: Path


def member_command(
    name: str,
    folder: Path,
    *,
    client: str,
    peers: Mapping[str, str],
    tls: MemberTls | None = None,
    existing: bool = False,
    program: str = "etcd",
) -> Sequence[str]:
    """The command line of a member.

    Args:
        name: the member's; one of `peers`.
        folder: its data; made by etcd, which must find the mode 0700 or make it.
        client: "HOST:PORT" at which clients are served.
        peers: "HOST:PORT" at which members talk to each other, by name; the same for all members.
        existing: it joins a cluster that has formed already.
    """
    scheme = "https" if tls else "http"
    options = {
        "name": name,
        "data-dir": str(folder),
        "listen-client-urls": f"{scheme}://{client}",
        "advertise-client-urls": f"{scheme}://{client}",
        "listen-peer-urls": f"{scheme}://{peers[name]}",
        "initial-advertise-peer-urls": f"{scheme}://{peers[name]}",
        "initial-cluster": ",".join(f"{peer}={scheme}://{address}" for peer, address in peers.items()),
        "initial-cluster-state": "existing" if existing else "new",
        "max-request-bytes": str(MAX_REQUEST_BYTES),
        "quota-backend-bytes": str(QUOTA_BYTES),
        "logger": "zap",
        "log-outputs": "stderr",
        "log-level": "warn",
    }
    if tls:
        for side in ("", "peer-"):
            options[f"{side}cert-file"] = str(tls.certificate)
            options[f"{side}key-file"] = str(tls.key)
            options[f"{side}trusted-ca-file"] = str(tls.authority)
            options[f"{side}client-cert-auth"] = "true"
    return [program, *(f"--{option}={value}" for option, value in options.items())]
