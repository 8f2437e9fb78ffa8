"""What flags name: files, durations, feature gates; a value that cannot be used is told in one sentence."""

from collections.abc import Sequence
from pathlib import Path

from kobune.api.errors import Json
from kobune.api.features import parse_gates
from kobune.api.timestamps import parse_duration


class BadFlag(Exception):
    """A flag's value cannot be used; one sentence."""


def read_file(flag: str, path: Path) -> bytes:
    """A file's content. Raises BadFlag."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFlag(f"{flag} {path}: {error.strerror}") from error


def read_optional(flag: str, path: Path | None) -> bytes:
    """The same, nothing for a flag that is not given."""
    return read_file(flag, path) if path is not None else b""


def read_document(flag: str, path: Path) -> Json:
    """The object that a YAML file holds, an empty one for an empty file. Raises BadFlag."""
    import yaml  # Late: most servers start without such a file.

    try:
        document = yaml.safe_load(read_file(flag, path)) or {}
    except yaml.YAMLError as error:
        raise BadFlag(f"{flag} {path}: {error}") from error
    if not isinstance(document, dict):
        raise BadFlag(f"{flag} {path}: no object")
    return document


def seconds_of(flag: str, text: str) -> float:
    """A duration as Go writes it: 1m0s, 500ms. Raises BadFlag."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise BadFlag(f"{flag} {text}: as in 1m0s") from error


def gates_of(flag: str, settings: Sequence[str], cluster_version: str) -> frozenset[str]:
    """The feature gates that are on. Raises BadFlag."""
    try:
        return parse_gates(settings, cluster_version)
    except ValueError as error:
        raise BadFlag(f"{flag}: {error}") from error
