"""`kobune kube-apiserver`: the API server by itself, with upstream's flags."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from kobune.aks.versions import resolve_version
from kobune.api.errors import Invalid
from kobune.controlplane.store.contract import Damaged, Unavailable
from kobune.controlplane.store.sqlite_log import InUse
from kobune.host.api_server import run_api_server
from kobune.host.api_server_flags import ApiServerFlags
from kobune.host.flag_values import BadFlag
from kobune.host.flags import parse
from kobune.host.stores import BadStore

ABOUT = "Serve the Kubernetes API. What is not given is generated, and kept in --cert-dir."


def run(arguments: Sequence[str]) -> None:
    """The server, until a signal."""
    flags = parse(ApiServerFlags, arguments, program="kobune kube-apiserver", description=ABOUT)
    try:
        flags = replace(
            flags, cert_dir=flags.cert_dir.absolute(), kubernetes_version=resolve_version(flags.kubernetes_version)
        )
        import uvloop  # Late, as everything that only a running server needs.

        uvloop.run(run_api_server(flags, lambda line: print(line, flush=True)))
    except (BadFlag, BadStore, InUse, Damaged, Unavailable, Invalid, OSError, ValueError) as error:
        sys.exit(f"kobune: {error}")
