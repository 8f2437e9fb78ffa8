"""How a connection to an extender is secured: the `tlsConfig` of its configuration.

Source: Kubernetes documentation, kube-scheduler Configuration (v1), ExtenderTLSConfig; upstream makeTransport.
"""

import base64
import ssl
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from kobune.api.errors import Json


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Certificates as files, or as PEM in place of a file."""

    insecure: bool = False  # The server's certificate is not checked.
    server_name: str = ""  # In place of the URL's host, for SNI and for the certificate.
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    cert_data: bytes = b""
    key_data: bytes = b""
    ca_data: bytes = b""


def read_tls(config: Json | None, *, https: bool) -> TlsOptions | None:
    """The options of one extender; None when it says nothing. `https` without an authority checks no certificate."""
    if config is None and not https:
        return None
    config = config or {}
    options = TlsOptions(
        insecure=bool(config.get("insecure")),
        server_name=config.get("serverName") or "",
        cert_file=config.get("certFile") or "",
        key_file=config.get("keyFile") or "",
        ca_file=config.get("caFile") or "",
        cert_data=base64.b64decode(config.get("certData") or ""),
        key_data=base64.b64decode(config.get("keyData") or ""),
        ca_data=base64.b64decode(config.get("caData") or ""),
    )
    has_authority = options.ca_file or options.ca_data
    return options if has_authority or not https else replace(options, insecure=True)


def context(options: TlsOptions) -> ssl.SSLContext:
    """For connections to the extender. Raises OSError, ssl.SSLError: a file is missing or not what it should be."""
    made = ssl.create_default_context(
        cafile=None if options.ca_data else options.ca_file or None, cadata=options.ca_data.decode() or None
    )
    if options.insecure:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    certificate = options.cert_data or _content(options.cert_file)
    if certificate:
        # OpenSSL reads the client's certificate from a file only.
        with tempfile.NamedTemporaryFile() as both:
            both.write(certificate + b"\n" + (options.key_data or _content(options.key_file)))
            both.flush()
            made.load_cert_chain(both.name)
    return made


def _content(path: str) -> bytes:
    return Path(path).read_bytes() if path else b""
