"""AdmissionReviews: what a webhook is asked, and what it answers."""

import base64
import binascii
from typing import Any, NamedTuple

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, BadRequest, Json, error_from_status
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.webhooks.matching import Webhook
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.virtual.asked import user_info

API_VERSION = "admission.k8s.io/v1"


class BadAnswer(Exception):
    """The webhook's answer is no review of our request."""


class Verdict(NamedTuple):
    allowed: bool
    patch: list[Json]
    warnings: list[str]
    status: Json
    annotations: dict[str, str]  # For the audit log.


async def review_of(registry: Registry, attributes: Attributes, kind: Kind) -> Json:
    """The question, with the objects in the version of `kind`. Raises ApiError when they cannot be converted."""
    call = attributes.call
    # Who connects sends no object of the kind: what is asked about are the options of the connection.
    connecting = str((attributes.object or {}).get("kind", "")) if attributes.operation == "CONNECT" else ""
    group_version = {"group": kind.group, "version": kind.version}
    asked = {"group": call.kind.group, "version": call.kind.version}
    obj, old = attributes.object, attributes.old_object
    request: Json = {
        "uid": registry.mint.uid(),
        "kind": {**group_version, "kind": connecting or kind.name},
        "resource": {**group_version, "resource": kind.plural},
        "requestKind": {**asked, "kind": connecting or call.kind.name},
        "requestResource": {**asked, "resource": call.kind.plural},
        "operation": attributes.operation,
        "userInfo": user_info(call.user),
        "object": obj if connecting or obj is None else await registry.in_version(obj, call.kind, kind),
        "oldObject": None if old is None else await registry.in_version(old, call.kind, kind),
        "dryRun": is_dry_run(attributes),
        "options": _options(attributes),
    }
    if call.subresource:
        request["subResource"] = request["requestSubResource"] = call.subresource
    name = call.name or ((attributes.object or {}).get("metadata") or {}).get("name")
    if name:
        request["name"] = name
    if call.namespace:
        request["namespace"] = call.namespace
    return {"kind": "AdmissionReview", "apiVersion": API_VERSION, "request": request}


def read_verdict(answer: bytes, uid: str, *, may_patch: bool) -> Verdict:
    """Raises BadAnswer. Source: upstream VerifyAdmissionResponse."""
    try:
        review: Any = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise BadAnswer(str(error)) from error
    if not isinstance(review, dict) or not isinstance(review.get("response"), dict):
        raise BadAnswer("webhook response was absent")
    response: Json = review["response"]
    if (review.get("kind"), review.get("apiVersion")) != ("AdmissionReview", API_VERSION):
        raise BadAnswer(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, "
            f"got {review.get('apiVersion', '')}, Kind={review.get('kind', '')}"
        )
    if response.get("uid") != uid:
        raise BadAnswer(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    patch: Any = []
    if response.get("patch"):
        if not may_patch:
            raise BadAnswer("validating webhook may not return response.patch")
        if response.get("patchType") != "JSONPatch":
            raise BadAnswer("webhook returned response.patch but not response.patchType")
        try:
            patch = orjson.loads(base64.b64decode(response["patch"], validate=True))
        except (binascii.Error, ValueError) as error:
            raise BadAnswer(f"received undecodable patch in webhook response: {error}") from error
        if not isinstance(patch, list):
            raise BadAnswer("received undecodable patch in webhook response: no list of operations")
    elif response.get("patchType"):
        raise BadAnswer("webhook returned response.patchType but not response.patch")
    warnings = [str(text) for text in response.get("warnings") or ()]
    annotations = {str(key): str(value) for key, value in (response.get("auditAnnotations") or {}).items()}
    return Verdict(bool(response.get("allowed")), patch, warnings, response.get("status") or {}, annotations)


def denial(webhook: Webhook, status: Json) -> ApiError:
    """What the client is told. Source: upstream ToStatusErr."""
    said = f'admission webhook "{webhook.name}" denied the request'
    if status.get("message"):
        said += f": {status['message']}"
    elif status.get("reason"):
        said += f": {status['reason']}"
    else:
        said += " without explanation"
    code = status.get("code") or 0
    error = error_from_status({**status, "message": said, "code": code if code >= 400 else 400})
    error.code, error.reason = (code if code >= 400 else 400), status.get("reason", "")
    return error


def no_dry_run(webhook: Webhook) -> BadRequest:
    return BadRequest(f'admission webhook "{webhook.name}" does not support dry run')


def is_dry_run(attributes: Attributes) -> bool:
    return attributes.call.options.dry_run or bool(attributes.delete_options and attributes.delete_options.dry_run)


def _options(attributes: Attributes) -> Json:
    kinds = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
    options: Json = {"kind": kinds.get(attributes.operation, "CreateOptions"), "apiVersion": "meta.k8s.io/v1"}
    call = attributes.call
    if is_dry_run(attributes):
        options["dryRun"] = ["All"]
    if call.options.field_manager:
        options["fieldManager"] = call.options.field_manager
    deleting = attributes.delete_options
    if deleting is not None:
        if deleting.grace_seconds is not None:
            options["gracePeriodSeconds"] = deleting.grace_seconds
        if deleting.propagation:
            options["propagationPolicy"] = deleting.propagation
    return options
