"""YAML read as JSON: no dates, no sets, no aliases that multiply."""

import re
from contextlib import suppress
from typing import Any

import orjson
import yaml

from kobune.api.depth import MAX_DEPTH

ALIASES_ALLOWED = 100  # A manifest needs few; a billion-laughs document needs many.
VALUES_ALLOWED = 1_000_000  # Of a document with aliases, when they are written out: more than a body has room for.

# Lists in lists on one line. The reader's time grows with the square of the depth.
_CHAIN = re.compile(rb"(?:[-?:][ \t]+){100}")

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
        if text.lstrip()[:1] == b"{":
            with suppress(orjson.JSONDecodeError):
                return orjson.loads(text)  # JSON is YAML, and most clients send it.
        if b"*" in text or text.count(b"[") + text.count(b"{") > MAX_DEPTH or _CHAIN.search(text):
            _check_events(text)
        # Through JSON, so that nothing is shared and nothing but JSON's types is left.
        return orjson.loads(orjson.dumps(yaml.load(text, Loader=_Loader)))
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _check_events(text: bytes) -> None:
    """Refuse what would take too long or become too much; reading stops at the first sign. Raises ValueError."""
    weights: dict[str, int] = {}  # How many values each anchor stands for, aliases within it counted in full.
    inside: list[
        tuple[str | None, int]
    ] = []  # The collections that are open: their anchors, and the values before them.
    values = aliases = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent):
            aliases += 1
            values += weights.get(event.anchor or "", 1)
            if aliases > ALIASES_ALLOWED or values > VALUES_ALLOWED:
                raise ValueError("document contains excessive aliasing")
        elif isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, values))
            values += 1
            if len(inside) > MAX_DEPTH:
                raise ValueError("exceeded max depth")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = inside.pop()
            if anchor:
                weights[anchor] = values - before
        elif isinstance(event, yaml.ScalarEvent):
            values += 1


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
