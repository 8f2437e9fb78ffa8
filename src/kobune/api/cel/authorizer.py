"""What expressions may ask of authorization: `authorizer.group('apps').resource('deployments').check('create').allowed()`.

Source: upstream apiserver, pkg/cel/library/authz.go. A check that is being put together is a value whose text is JSON, as
are all values of Kubernetes' own types; who decides is set for the time of an evaluation.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import orjson

# What is said to what the parts of a check say: path, or group, resource, subresource, namespace and name; verb; and
# account, as NAMESPACE:NAME, where it is not the one that asks.
Decide = Callable[[Mapping[str, str]], "Told"]
_DECIDE: ContextVar[Decide] = ContextVar("who decides for expressions")
_REQUEST: ContextVar[Mapping[str, str]] = ContextVar("what the request is about")
_REQUEST_RESOURCE = re.compile(r"\bauthorizer\s*\.\s*requestResource\b(?!\s*\()")
BEGINNING = "{}"


class Told(NamedTuple):
    """What authorization says to a check; `error` is why it could not say."""

    allowed: bool
    reason: str = ""
    error: str = ""


def with_request(text: str) -> str:
    """The expression with a call in the place of `authorizer.requestResource`, which looks like a field."""
    return _REQUEST_RESOURCE.sub("authorizer.requestResource()", text)


@contextmanager
def deciding(decide: Decide, request: Mapping[str, str]) -> Iterator[None]:
    """Expressions evaluated inside ask `decide`; `request` are the parts that say what the request is about."""
    first, second = _DECIDE.set(decide), _REQUEST.set(request)
    try:
        yield
    finally:
        _DECIDE.reset(first)
        _REQUEST.reset(second)


def part(name: str, *, required: bool = False) -> Callable[[str, str], str]:
    """A step that adds one part to a check."""

    def add(check: str, value: str) -> str:
        if required and not value.strip():
            raise ValueError(f"{name} must not be empty")
        return _with(check, {name: value})

    return add


def account(check: str, namespace: str, name: str) -> str:
    return _with(check, {"account": f"{namespace}:{name}"})


def request_resource(check: str) -> str:
    return _with(check, _REQUEST.get({}))


def check(text: str, verb: str) -> str:
    """The decision on a check."""
    parts = {**orjson.loads(text), "verb": verb}
    return orjson.dumps([*_DECIDE.get()(parts)]).decode()


def told(decision: str) -> Told:
    return Told(*orjson.loads(decision))


def _with(check: str, more: Mapping[str, Any]) -> str:
    return orjson.dumps({**orjson.loads(check), **more}).decode()
