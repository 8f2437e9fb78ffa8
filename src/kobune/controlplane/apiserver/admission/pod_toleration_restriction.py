"""PodTolerationRestriction: pods tolerate what their namespace, or the configuration, adds, and no more than it allows."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from kobune.api import decode
from kobune.api.errors import ApiError, BadRequest, Json
from kobune.api.qos import qos_class
from kobune.api.validation.affinity import check_tolerations
from kobune.api.validation.checks import Errors
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import plain_failure
from kobune.controlplane.apiserver.admission.tolerations import covers, merged
from kobune.controlplane.apiserver.negotiation import parse_problem
from kobune.controlplane.apiserver.registry.registry import Registry

PREFIX = "scheduler.alpha.kubernetes.io/"
DEFAULTS, WHITELIST = f"{PREFIX}defaultTolerations", f"{PREFIX}tolerationsWhitelist"
PRESSURE = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
VERSION = "podtolerationrestriction.admission.k8s.io/v1alpha1"


class TolerationSettings(NamedTuple):
    """For namespaces that say nothing themselves."""

    defaults: Sequence[Json] = ()
    whitelist: Sequence[Json] = ()


NOTHING_SAID = TolerationSettings()


class PodTolerationRestriction:
    """Source: upstream plugin/pkg/admission/podtolerationrestriction."""

    name = "PodTolerationRestriction"
    operations = ("CREATE", "UPDATE")
    resources = ("pods",)

    def __init__(self, registry: Registry, settings: TolerationSettings) -> None:
        self._registry = registry
        self._settings = settings
        self._kind = registry.builtin("", "v1", "Namespace")
        self._pods = registry.builtin("", "v1", "Pod")

    async def admit(self, attributes: Attributes) -> None:
        spec = (attributes.object or {}).setdefault("spec", {})
        annotations = await self._annotations(attributes.call.namespace)
        extra: list[Json] = []
        if attributes.operation == "CREATE":
            own = self._tolerations(annotations, DEFAULTS)
            extra += self._settings.defaults if own is None else own
        if qos_class(spec) != "BestEffort":
            extra.append(PRESSURE)
        if extra:
            spec["tolerations"] = merged(spec.get("tolerations") or (), extra)
        self._check(spec, annotations)

    async def validate(self, attributes: Attributes) -> None:
        spec = (attributes.object or {}).get("spec") or {}
        self._check(spec, await self._annotations(attributes.call.namespace))

    def _check(self, spec: Json, annotations: Json) -> None:
        tolerations = spec.get("tolerations")
        if not tolerations:
            return
        whitelist, scope = self._tolerations(annotations, WHITELIST), "namespace"
        if whitelist is None:
            whitelist, scope = self._settings.whitelist, "cluster"
        if whitelist and not all(any(covers(wide, one) for wide in whitelist) for one in tolerations):
            raise plain_failure(
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its "
                f"{scope} whitelist"
            )

    async def _annotations(self, name: str) -> Json:
        namespace = await self._registry.find(self._kind, "", name)
        if namespace is None:
            raise ApiError(f"Internal error occurred: namespace {name} does not exist")
        annotations: Json = namespace["metadata"].get("annotations") or {}
        return annotations

    def _tolerations(self, annotations: Json, key: str) -> Sequence[Json] | None:
        """Those that an annotation lists; None: there is no such annotation."""
        text = annotations.get(key)
        if not text:
            return None if text is None else ()
        try:
            pod: Json = {"spec": {"tolerations": orjson.loads(text)}}
            decode.check(self._registry.schema(self._pods), pod, kind="Pod", version="v1")
        except orjson.JSONDecodeError as error:
            raise plain_failure(parse_problem(text.encode(), error)) from error
        except BadRequest as error:
            why = str(error).partition(" as a Pod: ")[2].replace(".spec.tolerations", "")  # There is no pod around it.
            raise plain_failure(why.replace("Go struct field PodSpec of", "Go value of")) from error
        return pod["spec"].get("tolerations") or ()


def read_tolerations(configuration: Json) -> TolerationSettings:
    """What a configuration of the plugin says. Raises ValueError."""
    if (configuration.get("apiVersion"), configuration.get("kind")) != (VERSION, "Configuration"):
        raise ValueError(f"not a Configuration of {VERSION}")
    settings = TolerationSettings(configuration.get("default") or (), configuration.get("whitelist") or ())
    errors: Errors = []
    check_tolerations(list(settings.defaults), "podtolerationrestriction.default", errors)
    check_tolerations(list(settings.whitelist), "podtolerationrestriction.whitelist", errors)
    if errors:
        raise ValueError(f"invalid config: {', '.join(f'{one.field}: {one.message}' for one in errors)}")
    return settings
