"""Copies of JSON values that share nothing changeable with the original."""

from typing import Any

CONTAINERS = frozenset({dict, list})


def clone(value: Any) -> Any:
    """A deep copy; several times faster than `copy.deepcopy`, since JSON has neither cycles nor classes."""
    if type(value) is dict:
        return {key: clone(each) if type(each) in CONTAINERS else each for key, each in value.items()}
    if type(value) is list:
        return [clone(each) if type(each) in CONTAINERS else each for each in value]
    return value
