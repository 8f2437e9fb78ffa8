"""`kobune`: every command by its name. A command's module is imported when the command is called."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

# Commands in the order of the help; each is a module of this folder with a `command` function, an `app`, or a `run` that
# reads its arguments itself.
COMMANDS = (
    "up", "down", "status", "kubeconfig", "image", "logs", "snapshot", "reservations", "why", "plan", "evict", "serve", "az", "kubelogin",
    "kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubelet", "kube-proxy",
)  # fmt: skip


AS_THEY_ARE = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


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
            if hasattr(module, "run"):
                single.command(cmd_name, help=module.ABOUT, context_settings=AS_THEY_ARE)(_passing(module.run))
            else:
                single.command(cmd_name)(module.command)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


def _passing(run: Callable[[Sequence[str]], None]) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        run(context.args)

    return command


app = typer.Typer(
    cls=_Commands, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback()
def _root() -> None:
    """A managed Kubernetes service on your own machine."""
