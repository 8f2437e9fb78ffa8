"""Conversion webhooks: objects of a custom kind in another of its versions, as its author's program says.

Source: Kubernetes documentation, Webhook conversion; upstream apiextensions-apiserver, pkg/apiserver/conversion.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import orjson

from kobune.api.errors import ApiError, Json

# Sends a review to a clientConfig and gives the answer's body; raises ApiError.
Send = Callable[[Json, Json], Awaitable[bytes]]

REMEMBERED = 10_000  # Conversions: the same state of an object is asked for again and again.
_FIXED = ("name", "namespace", "uid")
# What the webhook may change in metadata; all else is put back.
_CHANGEABLE = ("labels", "annotations")


class WebhookConversion(NamedTuple):
    """How one definition's objects are converted."""

    client: Json  # clientConfig
    review_versions: Sequence[str]
    kind: str


class Converted:
    """The conversions that were asked for lately, by the object's bytes and the version wanted."""

    def __init__(self, conversion: WebhookConversion, send: Send, uid: Callable[[], str]) -> None:
        self._conversion = conversion
        self._send = send
        self._uid = uid
        self._known: OrderedDict[tuple[bytes, str], Json] = OrderedDict()

    def find(self, obj: Json, api_version: str) -> Json | None:
        """The object in a version, if it has been converted."""
        return self._known.get((_key(obj), api_version))

    async def convert(self, objects: Sequence[Json], api_version: str) -> list[Json]:
        """The objects in a version; those that are not known yet are asked for together. Raises ApiError."""
        missing = [one for one in objects if one["apiVersion"] != api_version and self.find(one, api_version) is None]
        if missing:
            for source, result in zip(missing, await self._ask(missing, api_version), strict=True):
                self._known[_key(source), api_version] = result
        found = []
        for one in objects:
            known = one if one["apiVersion"] == api_version else self.find(one, api_version)
            assert known is not None
            found.append(known)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _ask(self, objects: list[Json], api_version: str) -> list[Json]:
        version = next((one for one in self._conversion.review_versions if one in ("v1", "v1beta1")), "v1")
        uid, review_version = self._uid(), f"apiextensions.k8s.io/{version}"
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": objects}
        review = {"kind": "ConversionReview", "apiVersion": review_version, "request": request}
        try:
            answer = await self._send(self._conversion.client, review)
            return read_answer(answer, objects, api_version, uid)
        except (ValueError, ApiError) as error:
            source = objects[0]["apiVersion"]
            raise ApiError(f"conversion webhook for {source}, Kind={self._conversion.kind} failed: {error}") from error


def read_answer(answer: bytes, objects: Sequence[Json], api_version: str, uid: str) -> list[Json]:
    """The converted objects. Raises ValueError for an answer that is none."""
    review: Any = orjson.loads(answer)
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise ValueError("no response provided")
    if response.get("uid") != uid:
        raise ValueError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result") or {}
    if result.get("status") != "Success":
        raise ValueError(
            result.get("message") or f"response.result.status was '{result.get('status', '')}', not 'Success'"
        )
    converted = response.get("convertedObjects") or []
    if len(converted) != len(objects):
        raise ValueError(f"webhook returned {len(converted)} objects, expected {len(objects)}")
    pairs = zip(objects, converted, strict=True)
    return [_checked(before, after, api_version, at) for at, (before, after) in enumerate(pairs)]


def _checked(before: Json, after: Any, api_version: str, position: int) -> Json:
    where = f"invalid converted object at index {position}"
    if not isinstance(after, dict) or not isinstance(after.get("metadata"), dict):
        raise ValueError(f"{where}: missing metadata in converted object")
    if after.get("apiVersion") != api_version:
        raise ValueError(
            f"{where}: invalid groupVersion (expected {api_version}, received {after.get('apiVersion', '')})"
        )
    if after.get("kind") != before["kind"]:
        raise ValueError(f"{where}: invalid kind (expected {before['kind']}, received {after.get('kind', '')})")
    for field in _FIXED:
        if after["metadata"].get(field, "") != before["metadata"].get(field, ""):
            raise ValueError(f"{where}: must have the same {'UID' if field == 'uid' else field}")
    metadata = dict(before["metadata"])
    for field in _CHANGEABLE:
        if after["metadata"].get(field):
            metadata[field] = after["metadata"][field]
        else:
            metadata.pop(field, None)
    return {**after, "metadata": metadata}


def _key(obj: Json) -> bytes:
    return orjson.dumps(obj)
