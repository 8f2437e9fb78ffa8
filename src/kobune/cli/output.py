"""How commands answer: as text for people or JSON for programs; failures in one sentence."""

from enum import StrEnum
from typing import NoReturn

import typer


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


def fail(sentence: str) -> NoReturn:
    """End the command: one sentence on stderr, exit status 1."""
    typer.echo(f"kobune: {sentence}", err=True)
    raise typer.Exit(1)
