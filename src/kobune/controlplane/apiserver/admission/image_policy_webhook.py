"""ImagePolicyWebhook: a server outside the cluster judges the images of pods."""

import logging
from dataclasses import dataclass

import orjson

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.reviewer import Answers, Ask, Unanswered

log = logging.getLogger(__name__)

MARK = ".image-policy.k8s.io/"  # In the names of annotations that the server is told.
AUDIT = f"imagepolicywebhook{MARK}"
FAILED_OPEN = f"alpha{MARK}failed-open"
REMEMBERED = 1024
DENIED = "image policy webhook backend denied one or more images"


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """Times are in seconds; zero keeps no answers of that sort."""

    kubeconfig: str
    allow_seconds: float = 300.0
    deny_seconds: float = 30.0
    retry_seconds: float = 0.5
    allows_on_failure: bool = False


class ImagePolicyWebhook:
    """Source: upstream plugin/pkg/admission/imagepolicy. Without a policy and a way to ask nothing can be judged."""

    name = "ImagePolicyWebhook"
    operations = ("CREATE", "UPDATE")
    resources = ("pods", "pods/ephemeralcontainers")

    def __init__(self, policy: ImagePolicy | None, ask: Ask | None, clock: Clock) -> None:
        self._policy = policy
        self._ask = ask
        self._known: Answers[Json] = Answers(clock, REMEMBERED)

    def admit(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        status = await self._status(attributes)
        if status is None:
            return
        for key, value in (status.get("auditAnnotations") or {}).items():
            attributes.call.annotations.setdefault(f"{AUDIT}{key}", str(value))
        if not status.get("allowed"):
            why = status.get("reason")
            raise refused(attributes, f"{DENIED}: {why}" if why else "one or more images rejected by webhook backend")

    async def _status(self, attributes: Attributes) -> Json | None:
        """The judgement; None where there is none and that is taken for a yes. Raises Forbidden where it is not."""
        policy, ask = self._policy, self._ask
        assert policy is not None
        assert ask is not None
        spec = _review_spec(attributes)
        key = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
        if (known := self._known.find(key)) is not None:
            return known[0]
        review = {"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": {}, "spec": spec}
        try:
            status: Json = (await ask(review)).get("status") or {}
        except Unanswered as error:
            log.warning("image policy webhook failed", extra={"why": str(error)})
            if not policy.allows_on_failure:
                raise refused(attributes, str(error)) from error
            attributes.call.annotations[f"{AUDIT}failed-open"] = "true"
            meta = (attributes.object or {})["metadata"]
            meta["annotations"] = {**(meta.get("annotations") or {}), FAILED_OPEN: "true"}
            return None
        self._known.keep(key, status, policy.allow_seconds if status.get("allowed") else policy.deny_seconds)
        return status


def read_image_policy(configuration: Json) -> ImagePolicy:
    """What a configuration of the plugin says; it has neither kind nor version. Raises ValueError."""
    given: Json = configuration.get("imagePolicy") or {}
    usual = ImagePolicy(given.get("kubeConfigFile") or "")
    if not usual.kubeconfig:
        raise ValueError("imagePolicy.kubeConfigFile: Required value")
    return ImagePolicy(
        usual.kubeconfig,
        _seconds(given.get("allowTTL") or 0, usual.allow_seconds, 1.0, 1.0, 1800.0),
        _seconds(given.get("denyTTL") or 0, usual.deny_seconds, 1.0, 1.0, 1800.0),
        _seconds(given.get("retryBackoff") or 0, usual.retry_seconds, 0.001, 1e-9, 300.0),
        bool(given.get("defaultAllow")),
    )


def _seconds(given: float, usual: float, unit: float, least: float, most: float) -> float:
    """-1 is none, zero the usual. Source: upstream normalizeConfigDuration."""
    if given in (-1, 0):
        return usual if given == 0 else 0.0
    seconds = given * unit
    if not least <= seconds <= most:
        raise ValueError(f"valid value is between {least:g}s and {most:g}s, got {seconds:g}s")
    return seconds


def _review_spec(attributes: Attributes) -> Json:
    pod, call = attributes.object or {}, attributes.call
    spec = pod.get("spec") or {}
    members = ("ephemeralContainers",) if call.subresource else ("containers", "initContainers")
    images = [{"image": one.get("image") or ""} for member in members for one in spec.get(member) or ()]
    annotations = {key: value for key, value in (pod["metadata"].get("annotations") or {}).items() if MARK in key}
    review: Json = {"containers": images, "annotations": annotations, "namespace": call.namespace}
    return {name: value for name, value in review.items() if value}
