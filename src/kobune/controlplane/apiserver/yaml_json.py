"""YAML read as JSON: no dates, no sets, no aliases that multiply."""

from typing import Any

import orjson
import yaml

ALIASES_ALLOWED = 100  # A manifest needs few; a billion-laughs document needs many.

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML 1.1 as Kubernetes reads it: dates stay text and keys are text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        mapping = super().construct_mapping(node, deep=deep)
        return {key if isinstance(key, str) else _json_key(key): value for key, value in mapping.items()}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}


def load_yaml(text: bytes) -> Any:
    """The JSON value of one YAML document, sharing nothing. Raises ValueError."""
    try:
        if b"*" in text:
            aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_Base))
            if aliases > ALIASES_ALLOWED:
                raise ValueError("document contains excessive aliasing")
        # Through JSON, so that nothing is shared and nothing but JSON's types is left.
        return orjson.loads(orjson.dumps(yaml.load(text, Loader=_Loader)))
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def keys_set_twice(text: bytes) -> list[str]:
    """The later ones of equal keys in a map, with their lines counted from 1, as Go's reader words it."""
    found: list[str] = []
    seen: set[int] = set()
    pending = [yaml.compose(text, Loader=_Base)]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue  # An alias of a node that has been looked at.
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                elif isinstance(key, yaml.ScalarNode):
                    keys.add(key.value)
            pending += reversed([value for _, value in node.value])
    return found


def _json_key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)
