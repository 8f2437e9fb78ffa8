"""Built-in kinds' schemas in the form of a CustomResourceDefinition's, for the type checker."""

from typing import Any

from kobune.api.schema import Schema


def raw_of(schema: Schema, above: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The schema with all that it refers to; a type inside itself may be anything."""
    if schema.definition in above or schema.int_or_string or schema.format == "quantity":
        return {}
    inside = above | {schema.definition} if schema.definition else above
    match schema.type:
        case "object" if schema.properties:
            return {
                "type": "object",
                "properties": {name: raw_of(one, inside) for name, one in schema.properties.items()},
            }
        case "object" if schema.additional is not None:
            return {"type": "object", "additionalProperties": raw_of(schema.additional, inside)}
        case "array" if schema.items is not None:
            return {"type": "array", "items": raw_of(schema.items, inside)}
        case "string" | "integer" | "number" | "boolean" as plain:
            return {"type": plain, **({"format": schema.format} if schema.format else {})}
    return {}
