"""The entry point of the `kobune` command."""

import os
import sys


def main() -> None:
    """Run the command that the arguments name."""
    # Containers, sockets and keys are made for their owner alone, whatever the caller's mask.
    os.umask(0o077)
    try:
        if sys.argv[1:2] == ["kube-apiserver"]:
            # It starts in less time than the other commands' library takes to import.
            from kobune.cli.kube_apiserver import run

            run(sys.argv[2:])
        else:
            from kobune.cli.commands import app

            app()
    except OSError as error:
        # A full disk, a file that is not ours: the user's to mend, and the traceback would not help.
        sys.exit(f"kobune: {error}")
