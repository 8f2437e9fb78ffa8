"""What a namespace's labels ask of its pods, and what a PodSecurityConfiguration says for those that ask nothing.

Source: upstream pod-security-admission, api/helpers.go and admission/api/v1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kobune.api.errors import FieldError, Json
from kobune.api.field_errors import invalid as invalid_field
from kobune.controlplane.apiserver.admission.pod_security_standards import LEVELS

PREFIX = "pod-security.kubernetes.io/"
VERSIONS = tuple(f"pod-security.admission.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
LATEST = "latest"
_VERSION = re.compile(r"v1\.(?:[0-9]|[1-9][0-9]*)")
_NO_LEVEL = f"must be one of {', '.join(LEVELS)}"
_NO_VERSION = 'must be "latest" or "v1.x"'


class Standard(NamedTuple):
    """A level as it was in a version."""

    level: str = "privileged"
    version: str = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    def minor(self, newest: int) -> int:
        """The minor version of Kubernetes, which is at most `newest`."""
        return newest if self.version == LATEST else min(int(self.version.removeprefix("v1.")), newest)


class Policy(NamedTuple):
    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()

    @property
    def is_privileged(self) -> bool:
        return all(standard.level == "privileged" for standard in self)


ANYTHING = Policy()


@dataclass(frozen=True, slots=True)
class PodSecuritySettings:
    """`defaults` hold for namespaces without labels; whoever is named in the others is not judged."""

    defaults: Policy = ANYTHING
    usernames: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()


AS_LABELLED = PodSecuritySettings()


def policy_of(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, list[FieldError]]:
    """The policy, and what is wrong with the labels: a level that is none is the strictest, and nothing to warn of."""
    policy, faults = defaults._asdict(), list[FieldError]()
    for mode in Policy._fields:
        level, version = labels.get(PREFIX + mode), labels.get(f"{PREFIX}{mode}-version")
        if level is not None and level not in LEVELS:
            faults.append(_fault(mode, level, _NO_LEVEL))
            level = "restricted" if mode == "enforce" else "privileged"
        if version is not None and version != LATEST and not _VERSION.fullmatch(version):
            faults.append(_fault(f"{mode}-version", version, _NO_VERSION))
            version = LATEST
        known = policy[mode]
        policy[mode] = Standard(known.level if level is None else level, known.version if version is None else version)
    enforced, warned = policy["enforce"], policy["warn"]
    # Who enforces a level and says nothing of warnings is warned of the same.
    if labels.get(f"{PREFIX}enforce") in LEVELS and f"{PREFIX}warn" not in labels and _is_stricter(enforced, warned):
        has_version = f"{PREFIX}warn-version" in labels
        policy["warn"] = Standard(enforced.level, warned.version if has_version else enforced.version)
    return Policy(**policy), faults


def read_settings(configuration: Json) -> PodSecuritySettings:
    """What a PodSecurityConfiguration says. Raises ValueError."""
    if configuration.get("apiVersion") not in VERSIONS or configuration.get("kind") != "PodSecurityConfiguration":
        raise ValueError(f"not a PodSecurityConfiguration of {', '.join(VERSIONS)}")
    given, exempt = configuration.get("defaults") or {}, configuration.get("exemptions") or {}
    standards = {}
    for mode in Policy._fields:
        level, version = given.get(mode) or "privileged", given.get(f"{mode}-version") or LATEST
        if level not in LEVELS:
            raise ValueError(f'defaults.{mode}: Invalid value: "{level}": {_NO_LEVEL}')
        if version != LATEST and not _VERSION.fullmatch(version):
            raise ValueError(f'defaults.{mode}-version: Invalid value: "{version}": {_NO_VERSION}')
        standards[mode] = Standard(level, version)
    return PodSecuritySettings(
        Policy(**standards),
        _names(exempt, "usernames"),
        _names(exempt, "namespaces"),
        _names(exempt, "runtimeClasses"),
    )


def is_relaxed(new: Standard, old: Standard) -> bool:
    """Whether what the old one let in is let in by the new one."""
    return new.level == "privileged" or (new.version == old.version and not _is_stricter(new, old))


def _names(exempt: Json, field: str) -> frozenset[str]:
    names = exempt.get(field) or []
    if "" in names or len(set(names)) != len(names):
        raise ValueError(f"exemptions.{field}: every name once, and none empty")
    return frozenset(names)


def _is_stricter(one: Standard, other: Standard) -> bool:
    return LEVELS.index(one.level) > LEVELS.index(other.level)


def _fault(label: str, value: str, why: str) -> FieldError:
    return invalid_field(f"metadata.labels[{PREFIX}{label}]", value, why)
