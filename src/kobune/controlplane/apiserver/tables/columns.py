"""What a table is made of: columns, and for each kind a function from an object to its cells."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from kobune.api.errors import BadRequest, Json
from kobune.api.selectors import labels_from_json
from kobune.controlplane.apiserver.tables.durations import since

Cells = Callable[[Json, datetime], list[Any]]
GroupKind = tuple[str, str]

NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"
_KEEP = 3  # How many elements of a long list a cell names.


class Column(NamedTuple):
    name: str
    description: str
    type: str = "string"
    format: str = ""
    priority: int = 0  # 1: shown with `-o wide`.

    def definition(self) -> Json:
        """As in a Table's columnDefinitions."""
        return {
            "name": self.name, "type": self.type, "format": self.format,
            "description": self.description, "priority": self.priority,
        }  # fmt: skip


class Printer(NamedTuple):
    columns: tuple[Column, ...]
    cells: Cells
    order: Callable[[Json], Any] | None = None  # Rows of a list are sorted by this; None: as they come.


NAME = Column("Name", "The object's name, unique in its namespace.", format="name")
AGE = Column("Age", "The time since the object was created.")
CREATED_AT = Column("Created At", "When the object was created.", type="date")
CONTAINERS = Column("Containers", "The names of the containers in the template.", priority=1)
IMAGES = Column("Images", "The images of the containers in the template.", priority=1)
SELECTOR = Column("Selector", "Which pods belong to the object.", priority=1)


def name_of(obj: Json) -> str:
    name: str = obj["metadata"].get("name", "")
    return name


def age(obj: Json, now: datetime) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def part(obj: Mapping[str, Any], name: str) -> Json:
    """A struct inside an object; empty when it is not there."""
    return obj.get(name) or {}


def images_of(containers: Sequence[Json] | None) -> list[str]:
    """The CONTAINERS and IMAGES cells."""
    found = containers or ()
    return [",".join(one.get("name", "") for one in found), ",".join(one.get("image", "") for one in found)]


def template_images(obj: Json) -> list[str]:
    return images_of(part(part(part(obj, "spec"), "template"), "spec").get("containers"))


def labels_text(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) if labels else NONE


def selector_text(selector: Json | None) -> str:
    """A label selector as upstream writes it; one that selects everything is `<none>`."""
    try:
        return str(labels_from_json(selector)) or NONE
    except BadRequest:
        return "<error>"


def with_more(items: Sequence[str], *, none: str = UNSET) -> str:
    """The first three, and how many more there are."""
    text = ",".join(items[:_KEEP])
    return f"{text} + {len(items) - _KEEP} more..." if len(items) > _KEEP else text or none


def yes_no(value: bool | None) -> str:
    return UNSET if value is None else "True" if value else "False"


def named_and_aged(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), age(obj, now)]
