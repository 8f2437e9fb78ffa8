"""What a request wants, as admission plugins see it."""

from dataclasses import dataclass

from kobune.api.errors import Json
from kobune.controlplane.apiserver.options import DeleteOptions
from kobune.controlplane.apiserver.registry.call import Call


@dataclass(slots=True)
class Attributes:
    """`object` is None for a deletion, `old_object` for a creation; a plugin changes `object` in place."""

    operation: str  # "CREATE", "UPDATE", "DELETE" or "CONNECT".
    call: Call
    object: Json | None
    old_object: Json | None
    delete_options: DeleteOptions | None = None
