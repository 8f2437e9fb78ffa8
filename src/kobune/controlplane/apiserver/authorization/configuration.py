"""Who decides, and in which order: an AuthorizationConfiguration, or the --authorization flags.

Source: upstream apiserver, pkg/apis/apiserver (v1 AuthorizationConfiguration) and its validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.api.timestamps import parse_duration

VERSIONS = tuple(f"apiserver.config.k8s.io/{version}" for version in ("v1", "v1beta1"))
MODES = ("AlwaysAllow", "AlwaysDeny", "Node", "RBAC")
WEBHOOK = "Webhook"
MOST_SECONDS, MOST_CONDITIONS = 30.0, 64


@dataclass(frozen=True, slots=True)
class Webhook:
    """A server that is asked with SubjectAccessReviews. Times are in seconds; zero keeps no answers of that sort."""

    name: str
    kubeconfig: str
    authorized_seconds: float = 300.0
    unauthorized_seconds: float = 30.0
    timeout_seconds: float = MOST_SECONDS
    version: str = "v1"  # Of authorization.k8s.io; "v1" or "v1beta1".
    denies_on_failure: bool = False
    conditions: Sequence[str] = ()  # Expressions over `request`; all must hold for it to be asked.


class Mode(NamedTuple):
    """One of MODES, under the name that a configuration gives it."""

    type: str
    name: str


# One of MODES, named or not, or a webhook.
Stage = str | Mode | Webhook


def label_of(stage: Stage) -> tuple[str, str]:
    """Type and name, as metrics tell them; what has no name is called by its type."""
    if isinstance(stage, Webhook):
        return WEBHOOK, stage.name
    return (stage.type, stage.name) if isinstance(stage, Mode) else (stage, stage.lower())


def read_configuration(configuration: Json) -> list[Stage]:
    """The stages of an AuthorizationConfiguration. Raises ValueError, saying what is wrong."""
    if configuration.get("apiVersion") not in VERSIONS or configuration.get("kind") != "AuthorizationConfiguration":
        raise ValueError(f"not an AuthorizationConfiguration of {' or '.join(VERSIONS)}")
    given = configuration.get("authorizers") or ()
    if not given:
        raise ValueError("authorizers: Required value: at least one authorization mode must be defined")
    stages: list[Stage] = []
    types: set[str] = set()
    names: set[str] = set()
    for index, one in enumerate(given):
        path = f"authorizers[{index}]"
        kind, name = one.get("type") or "", one.get("name") or ""
        if kind not in (*MODES, WEBHOOK):
            raise ValueError(f'{path}.type: Unsupported value: "{kind}"')
        if kind in types and kind != WEBHOOK:
            raise ValueError(f'{path}.type: Duplicate value: "{kind}"')
        if not name:
            raise ValueError(f"{path}.name: Required value")
        if name in names:
            raise ValueError(f'{path}.name: Duplicate value: "{name}"')
        types.add(kind)
        names.add(name)
        webhook = one.get("webhook")
        if kind != WEBHOOK:
            if webhook is not None:
                raise ValueError(f"{path}.webhook: may only be specified when type=Webhook")
            stages.append(Mode(kind, name))
        elif webhook is None:
            raise ValueError(f"{path}.webhook: Required value: required when type=Webhook")
        else:
            stages.append(_webhook(name, webhook, path))
    return stages


def _webhook(name: str, given: Json, path: str) -> Webhook:
    timeout = _seconds(given, "timeout", path)
    if timeout > MOST_SECONDS:
        raise ValueError(f"{path}.timeout: must be > 0s and <= 30s")
    policy, version = given.get("failurePolicy"), given.get("subjectAccessReviewVersion")
    if policy not in ("NoOpinion", "Deny"):
        raise ValueError(f'{path}.failurePolicy: must be "NoOpinion" or "Deny"')
    if version not in ("v1", "v1beta1"):
        raise ValueError(f'{path}.subjectAccessReviewVersion: must be "v1" or "v1beta1"')
    conditions = [one.get("expression") or "" for one in given.get("matchConditions") or ()]
    if len(conditions) > MOST_CONDITIONS or len(set(conditions)) < len(conditions) or "" in conditions:
        raise ValueError(f"{path}.matchConditions: at most {MOST_CONDITIONS} different expressions, none empty")
    if conditions and given.get("matchConditionSubjectAccessReviewVersion") != "v1":
        raise ValueError(f'{path}.matchConditionSubjectAccessReviewVersion: must be "v1" beside match conditions')
    check_expressions(conditions, f"{path}.matchConditions")
    authorized, unauthorized = (_seconds(given, field, path) for field in ("authorizedTTL", "unauthorizedTTL"))
    return Webhook(
        name,
        _kubeconfig(given.get("connectionInfo") or {}, f"{path}.connectionInfo"),
        authorized if given.get("cacheAuthorizedRequests", True) else 0.0,
        unauthorized if given.get("cacheUnauthorizedRequests", True) else 0.0,
        timeout,
        version,
        policy == "Deny",
        tuple(conditions),
    )


def check_expressions(expressions: Sequence[str], path: str) -> None:
    """Raises ValueError for one that does not compile."""
    if not expressions:
        return
    from kobune.api.cel.environment import CelError, compiled  # Late: the engine takes time to load.

    for index, expression in enumerate(expressions):
        _, program = compiled(expression, ("request",))
        if isinstance(program, CelError):
            raise ValueError(f"{path}[{index}].expression: compilation failed: {program}")


def _seconds(given: Json, field: str, path: str) -> float:
    text = given.get(field)
    if not text:
        raise ValueError(f"{path}.{field}: Required value")
    try:
        seconds = parse_duration(str(text)).total_seconds()
    except ValueError as error:
        raise ValueError(f"{path}.{field}: {error}") from error
    if seconds <= 0:
        raise ValueError(f"{path}.{field}: must be > 0s")
    return seconds


def _kubeconfig(given: Json, path: str) -> str:
    file = given.get("kubeConfigFile") or ""
    if given.get("type") != "KubeConfigFile":
        raise ValueError(f'{path}.type: must be "KubeConfigFile": this server runs in no cluster of its own')
    if not PurePath(file).is_absolute():
        raise ValueError(f"{path}.kubeConfigFile: must be an absolute path")
    return str(file)
