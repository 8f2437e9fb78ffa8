"""The fields of a custom object that a client sends: metadata is typed, unknown fields go, the rest is judged later."""

from kobune.api import decode
from kobune.api.errors import BadRequest, Json
from kobune.api.structural import prune
from kobune.controlplane.apiserver.customresources.table import CustomSchema


def check(schema: CustomSchema, obj: Json, *, kind: str, version: str) -> list[str]:
    """Bring the metadata into its form, drop unknown fields in place, and return their paths.

    Raises:
        BadRequest: the metadata is of wrong types.
    """
    if not isinstance(obj["metadata"], dict):
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: metadata is no object')
    unknown = [
        f"metadata.{path}" for path in decode.check(schema.metadata, obj["metadata"], kind=kind, version=version)
    ]
    return [*unknown, *prune(obj, schema)]
