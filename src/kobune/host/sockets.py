"""Listening sockets and TLS contexts, made before anything is started, so that a taken port is a clear error."""

import socket
import ssl
from pathlib import Path

# Linux's number; Python has no name for it. Source: linux/in.h.
IP_FREEBIND = 15


def listener(address: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound to the address, which need not exist yet: the bridge to the nodes may come later.

    Args:
        shared: other processes of this user listen there too; the kernel deals connections out among those that live.
    Raises:
        OSError: naming address and port, when another process has it.
    """
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise OSError(f"cannot listen on {address}:{port}: {error.strerror}") from error
    return bound


def server_tls(certificate: Path, key: Path, client_ca: Path | None, *, required: bool = False) -> ssl.SSLContext:
    """TLS for a server that asks clients for certificates; one that is shown must be good, and `required` wants one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def own_address() -> str:
    """This machine's address on its default route; without a route that of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing; only asks for the route.
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address
