"""How a simulated pod lives: read from its annotations, as data."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from kobune.api.timestamps import parse_duration

PREFIX = "kobune.local/sim-"


@dataclass(frozen=True, slots=True)
class Life:
    """One pod's life. Times are seconds.

    Args:
        start_after: from the binding to Running.
        ready_after: from Running to Ready.
        exit_after: from a container's start to its exit with `exit_code`; None is never.
        stop_after: from the deletion to the end, at most the grace period.
        failure: the reason its containers wait for ever with, as "ImagePullBackOff"; "" is none.
        cpu_millicores, memory_bytes: what it uses while it runs; None is what it requests.
        log: the line that its containers log.
    """

    start_after: float = 0.0
    ready_after: float = 0.0
    exit_after: float | None = None
    exit_code: int = 0
    stop_after: float = 0.0
    failure: str = ""
    failure_message: str = ""
    cpu_millicores: int | None = None
    memory_bytes: int | None = None
    log: str = ""


class Annotation(NamedTuple):
    """What a pod may be annotated with: `kobune.local/sim-NAME: VALUE`."""

    name: str
    field: str
    meaning: str


# Whoever documents simulated pods reads this table.
ANNOTATIONS = (
    Annotation("start-after", "start_after", "a duration from the binding to Running, as 2s or 500ms"),
    Annotation("ready-after", "ready_after", "a duration from Running to Ready"),
    Annotation("exit-after", "exit_after", "a duration from a container's start to its exit"),
    Annotation("exit-code", "exit_code", "the exit code, 0 to 255"),
    Annotation("stop-after", "stop_after", "a duration from the deletion to the end; at most the grace period"),
    Annotation("failure", "failure", "the reason with which the containers never start, as ImagePullBackOff"),
    Annotation("cpu", "cpu_millicores", "the use of CPU in whole millicores, as 250m; the request if not given"),
    Annotation("memory", "memory_bytes", "the use of memory in bytes or Ki, Mi, Gi; the request if not given"),
    Annotation("log", "log", "the line that its containers log"),
)
PLAIN = Life()


def read_life(annotations: Mapping[str, str]) -> Life:
    """The life that a pod's annotations ask for. One that cannot be read keeps the pod from starting, and says why."""
    given: dict[str, Any] = {}
    for annotation in ANNOTATIONS:
        text = annotations.get(PREFIX + annotation.name)
        if text is not None:
            try:
                given[annotation.field] = _READERS.get(annotation.field, _seconds)(text)
            except ValueError as error:
                return Life(failure="CreateContainerConfigError", failure_message=f"{PREFIX}{annotation.name}: {error}")
    return Life(**given) if given else PLAIN


def _seconds(text: str) -> float:
    with suppress(ValueError):
        seconds = parse_duration(text).total_seconds()
        if seconds >= 0:
            return seconds
    raise ValueError(f"{text!r} is not a duration such as 5s, 1m30s or 200ms")


def _exit_code(text: str) -> int:
    if not text.isdecimal() or int(text) > 255:
        raise ValueError(f"{text!r} is not an exit code from 0 to 255")
    return int(text)


def _millicores(text: str) -> int:
    if not re.fullmatch(r"\d+m", text):
        raise ValueError(f"{text!r} is not a number of millicores such as 250m")
    return int(text[:-1])


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|)", text)
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory such as 64Mi")
    return int(match[1]) << {"": 0, "Ki": 10, "Mi": 20, "Gi": 30}[match[2]]


_READERS: Mapping[str, Callable[[str], object]] = {
    "exit_code": _exit_code,
    "cpu_millicores": _millicores,
    "memory_bytes": _bytes,
    "failure": str,
    "log": str,
}
