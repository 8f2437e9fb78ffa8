"""Annotations of pods that mean something to Kubernetes."""

import re

from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, quote
from kobune.api.validation.checks import Errors
from kobune.api.validation.paths import check_descending
from kobune.api.validation.security import containers

MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
UNCONFINED, RUNTIME, DOCKER, LOCALHOST = "unconfined", "runtime/default", "docker/default", "localhost/"

_COST = re.compile(r"-?(0|[1-9][0-9]*)|", re.ASCII)


def check_pod_annotations(annotations: dict[str, str], spec: Json, path: str, errors: Errors) -> None:
    if MIRROR in annotations and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid(f"{path}[{MIRROR}]", annotations[MIRROR], detail))
    cost = annotations.get(DELETION_COST)
    if cost is not None and not (_COST.fullmatch(cost) and cost and -(2**31) <= int(cost) < 2**31):
        errors.append(invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    for key, value in annotations.items():
        if key == SECCOMP_POD or key.startswith(SECCOMP_CONTAINER):
            _check_seccomp(value, f"{path}.{key}", errors)
        elif key.startswith(APP_ARMOR):
            name = key.removeprefix(APP_ARMOR)
            if not any(container.get("name") == name for _, container in containers(spec, "")):
                errors.append(invalid(f"{path}[{key}]", name, "container not found"))
            if value not in ("", RUNTIME, UNCONFINED) and not value.startswith(LOCALHOST):
                errors.append(invalid(f"{path}[{key}]", value, f"invalid AppArmor profile name: {quote(value)}"))


def check_annotation_changes(new: dict[str, str], old: dict[str, str], path: str, errors: Errors) -> None:
    """Profiles and the mark of a mirror pod are settled at creation."""
    for key in old:
        if new.get(key) != old[key]:
            if key.startswith(APP_ARMOR):
                errors.append(forbidden(f"{path}[{key}]", "may not remove or update AppArmor annotations"))
            elif key == MIRROR:
                errors.append(forbidden(f"{path}[{key}]", "may not remove or update mirror pod annotation"))
    for key in new.keys() - old.keys():
        if key.startswith(APP_ARMOR):
            errors.append(forbidden(f"{path}[{key}]", "may not add AppArmor annotations"))
        elif key == MIRROR:
            errors.append(forbidden(f"{path}[{key}]", "may not add mirror pod annotation"))


def check_profile_annotations(annotations: dict[str, str], spec: Json, path: str, errors: Errors) -> None:
    """Where a profile is said twice, by annotation and by field, both must say the same."""
    pod = spec.get("securityContext") or {}
    if SECCOMP_POD in annotations and pod.get("seccompProfile"):
        _compare(
            annotations[SECCOMP_POD], pod["seccompProfile"], "seccomp", f"{path}.securityContext.seccompProfile", errors
        )
    windows = (spec.get("os") or {}).get("name") == "windows"
    for at, container in containers(spec, path):
        context, name = container.get("securityContext") or {}, container.get("name") or ""
        annotation = annotations.get(SECCOMP_CONTAINER + name)
        if annotation is not None and context.get("seccompProfile"):
            _compare(annotation, context["seccompProfile"], "seccomp", f"{at}.securityContext.seccompProfile", errors)
        annotation = annotations.get(APP_ARMOR + name)
        profile = context.get("appArmorProfile") or pod.get("appArmorProfile")
        if annotation is not None and profile and not windows:
            _compare(annotation, profile, "apparmor", f"{at}.securityContext.appArmorProfile", errors)


def _compare(annotation: str, profile: Json, what: str, path: str, errors: Errors) -> None:
    match profile.get("type"):
        case "Unconfined":
            agrees = annotation == UNCONFINED
        case "RuntimeDefault":
            agrees = annotation == RUNTIME or (what == "seccomp" and annotation == DOCKER)
        case "Localhost":
            agrees = annotation.startswith(LOCALHOST)
            if agrees and annotation.removeprefix(LOCALHOST) != profile.get("localhostProfile"):
                errors.append(
                    forbidden(f"{path}.localhostProfile", f"{what} profile in annotation and field must match")
                )
        case _:
            return
    if not agrees:
        errors.append(forbidden(f"{path}.type", f"{what} type in annotation and field must match"))


def _check_seccomp(profile: str, path: str, errors: Errors) -> None:
    if profile.startswith(LOCALHOST):
        check_descending(profile.removeprefix(LOCALHOST), path, errors)
    elif profile not in (RUNTIME, DOCKER, UNCONFINED):
        errors.append(invalid(path, profile, "must be a valid seccomp profile"))
