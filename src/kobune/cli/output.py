"""How commands answer: as text for people or JSON for programs; failures in one sentence."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NoReturn

import typer


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


def columns(*rows: Sequence[str]) -> str:
    """Rows under one another, columns three blanks apart and as wide as they need, as kubectl prints them."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def words(given: Iterable[str]) -> list[str]:
    """What a flag says that may be repeated and takes several values between commas."""
    return [word.strip() for text in given for word in text.split(",") if word.strip()]


def fail(sentence: str) -> NoReturn:
    """End the command: one sentence on stderr, exit status 1."""
    typer.echo(f"kobune: {sentence}", err=True)
    raise typer.Exit(1)
