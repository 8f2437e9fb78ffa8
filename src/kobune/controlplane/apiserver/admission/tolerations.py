"""Tolerations together: which says all that another says. Source: upstream pkg/util/tolerations."""

from collections.abc import Sequence

from kobune.api.errors import Json


def merged(first: Sequence[Json], second: Sequence[Json]) -> list[Json]:
    """Both, without those that others cover."""
    every = [*first, *second]
    kept: list[Json] = []
    for index, one in enumerate(every):
        if any(covers(other, one) for other in kept):
            continue
        if any(_said(one) != _said(other) and covers(other, one) for other in every[index + 1 :]):
            continue
        kept.append(one)
    return kept


def covers(wide: Json, narrow: Json) -> bool:
    """Whether `wide` tolerates all that `narrow` does."""
    if _said(wide) == _said(narrow):
        return True
    key, operator = wide.get("key") or "", wide.get("operator") or "Equal"
    if (narrow.get("key") or "") != key and (key or operator != "Exists"):
        return False
    if wide.get("effect") and wide["effect"] != narrow.get("effect"):
        return False
    if wide.get("effect") == "NoExecute" and wide.get("tolerationSeconds") is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > wide["tolerationSeconds"]:
            return False
    if operator == "Exists":
        return True
    same = (narrow.get("operator") or "Equal") == "Equal" and (narrow.get("value") or "") == (wide.get("value") or "")
    return operator == "Equal" and same


def _said(toleration: Json) -> Json:
    return {field: value for field, value in toleration.items() if value not in ("", None)}
