"""The network namespaces of a machine's pods, for when its runtime is no longer there to remove them."""

import base64
import contextlib
import json
from pathlib import Path

from pyroute2 import netns

CNI_RESULTS = Path("/var/lib/cni/results")  # Source: libcni, CacheDir.


def remove_sandboxes(addresses: Path) -> None:
    """Remove the namespaces of the pods whose network plug-ins kept their addresses in this folder. Blocks."""
    told_where = json.dumps(str(addresses)).encode()
    for result in CNI_RESULTS.glob("*"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(result.read_text())
            if told_where in base64.b64decode(told["config"]):
                for sandbox in [link["sandbox"] for link in told["result"]["interfaces"] if link.get("sandbox")]:
                    with contextlib.suppress(FileNotFoundError):
                        netns.remove(sandbox)
                result.unlink()
