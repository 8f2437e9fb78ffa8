"""`kobune`: every command by its name. A command's module is imported when the command is called."""

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

# Commands in the order of the help; each is a module of this folder with a `command` function or an `app`.
COMMANDS = (
    "up", "down", "status", "kubeconfig", "image", "logs", "snapshot", "reservations", "why", "plan", "serve",
    "kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubelet", "kube-proxy",
)  # fmt: skip


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"kobune.cli.{cmd_name.replace('-', '_')}")
        if hasattr(module, "app"):
            command = typer.main.get_command(module.app)
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(module.command)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Commands, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback()
def _root() -> None:
    """A managed Kubernetes service on your own machine."""


def main() -> None:
    """The entry point of the `kobune` command."""
    # Containers, sockets and keys are made for their owner alone, whatever the caller's mask.
    os.umask(0o077)
    try:
        app()
    except OSError as error:
        # A full disk, a file that is not ours: the user's to mend, and the traceback would not help.
        sys.exit(f"kobune: {error}")
