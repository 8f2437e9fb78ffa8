"""Writes an event for each stage of each request that the policy wants."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import orjson

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.api.timestamps import format_micro
from kobune.controlplane.apiserver.audit.policy import Depth, Level, Policy
from kobune.controlplane.apiserver.authorization.authorizer import Access
from kobune.controlplane.apiserver.minting import Mint
from kobune.controlplane.apiserver.request import Part, Request, Response, User
from kobune.controlplane.apiserver.virtual.asked import user_info

# Where an event goes: one line of JSON, without its end.
Sink = Callable[[bytes], None]


class Entry:
    """What is known of one request while it is being answered."""

    __slots__ = ("access", "depth", "event", "request")

    def __init__(self, request: Request, access: Access, depth: Depth, event: Json) -> None:
        self.request = request
        self.access = access
        self.depth = depth
        self.event = event


class Auditor:
    def __init__(self, policy: Policy, sink: Sink, *, clock: Clock, mint: Mint) -> None:
        self._policy = policy
        self._sink = sink
        self._clock = clock
        self._mint = mint

    def notes(self, access: Access) -> bool:
        """Whether anything of such a request is logged."""
        return self._policy.depth(access).level is not Level.NONE

    def received(self, request: Request, access: Access, by: User | None) -> Entry | None:
        """A request has been authenticated; None when nothing of it is logged.

        Args:
            by: who impersonates, if somebody does.
        """
        depth = self._policy.depth(access)
        if depth.level is Level.NONE:
            return None
        now = self._clock.now()
        event: Json = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": depth.level.wire_name,
            "auditID": self._mint.uid(),
            "stage": "",
            "requestURI": _uri(request),
            "verb": access.verb,
            "user": user_info(by or access.user),
        }
        if by is not None:
            event["impersonatedUser"] = user_info(access.user)
        if request.remote:
            event["sourceIPs"] = [request.remote]
        if request.headers.get("user-agent"):
            event["userAgent"] = request.headers["user-agent"]
        if not access.path:
            event["objectRef"] = _reference(access)
        event["requestReceivedTimestamp"] = format_micro(now)
        entry = Entry(request, access, depth, event)
        self._write(entry, "RequestReceived", now)
        return entry

    def answered(self, entry: Entry, response: Response) -> Response:
        """The request has its answer; what is streamed is logged again when it ends."""
        event, depth = entry.event, entry.depth
        if depth.level >= Level.REQUEST and entry.request.body and not entry.access.path:
            event["requestObject"] = _decoded(entry.request.body, depth)
        event["responseStatus"] = _status(response)
        decision = "forbid" if response.status == 403 else "allow"
        event["annotations"] = {
            "authorization.k8s.io/decision": decision,
            "authorization.k8s.io/reason": "",
            **entry.request.annotations,
        }
        response.headers = {**response.headers, "Audit-Id": event["auditID"]}
        if isinstance(response.body, bytes):
            if depth.level is Level.REQUEST_RESPONSE and not entry.access.path:
                event["responseObject"] = _decoded(response.body, depth)
            self._write(entry, "ResponseComplete", self._clock.now())
        else:
            self._write(entry, "ResponseStarted", self._clock.now())
            response.body = self._until_its_end(entry, response.body)
        return response

    async def _until_its_end(self, entry: Entry, body: AsyncIterator[Part]) -> AsyncIterator[Part]:
        try:
            async for chunk in body:
                yield chunk
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
            self._write(entry, "ResponseComplete", self._clock.now())

    def _write(self, entry: Entry, stage: str, now: datetime) -> None:
        if stage not in entry.depth.omitted_stages:
            self._sink(orjson.dumps({**entry.event, "stage": stage, "stageTimestamp": format_micro(now)}))


def _uri(request: Request) -> str:
    if not request.query:
        return request.path
    from urllib.parse import urlencode

    return f"{request.path}?{urlencode(request.repeated or list(request.query.items()))}"


def _reference(access: Access) -> Json:
    reference = {
        "resource": access.resource, "namespace": access.namespace, "name": access.name, "apiGroup": access.group,
        "apiVersion": access.version, "subresource": access.subresource,
    }  # fmt: skip
    return {field: value for field, value in reference.items() if value}


def _status(response: Response) -> Json:
    status: Json = {"metadata": {}, "code": response.status}
    if response.status >= 400 and isinstance(response.body, bytes):
        told = _json(response.body)
        if isinstance(told, dict) and told.get("kind") == "Status":
            status |= {field: told[field] for field in ("status", "message", "reason") if field in told}
    return status


def _decoded(body: bytes, depth: Depth) -> Any:
    """The object in a body, which is left out when it is not JSON."""
    obj = _json(body)
    if depth.omits_managed_fields and isinstance(obj, dict):
        for one in (obj, *(obj.get("items") or ())):
            if isinstance(one, dict) and isinstance(one.get("metadata"), dict):
                one["metadata"].pop("managedFields", None)
    return obj


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
