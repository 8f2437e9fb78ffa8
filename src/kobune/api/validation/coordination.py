"""Leases and candidates for them."""

import re

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, not_supported, required
from kobune.api.names import Check
from kobune.api.validation.checks import Errors, check_immutable, check_name
from kobune.api.validation.kinds import Rules

STRATEGIES = ("OldestEmulationVersion",)

_version = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", re.ASCII
).fullmatch


def check_lease(lease: Json, errors: Errors) -> None:
    spec = lease.get("spec") or {}
    if spec.get("leaseDurationSeconds", 1) <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"))
    if spec.get("leaseTransitions", 0) < 0:
        errors.append(invalid("spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0"))
    if spec.get("strategy") is not None:
        _check_strategy(spec["strategy"], errors)
    if spec.get("preferredHolder") and not spec.get("strategy"):
        errors.append(forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"))


def check_candidate(candidate: Json, errors: Errors) -> None:
    spec = candidate.get("spec") or {}
    if not spec.get("leaseName"):
        errors.append(required("spec.leaseName"))
    emulation, binary = spec.get("emulationVersion") or "", spec.get("binaryVersion") or ""
    if emulation and not _version(emulation):
        errors.append(invalid("spec.emulationVersion", emulation, "must be a valid semantic version"))
    if not binary:
        errors.append(required("spec.binaryVersion"))
    elif not _version(binary):
        errors.append(invalid("spec.binaryVersion", binary, "must be a valid semantic version"))
    elif _version(emulation) and _order(binary) < _order(emulation):
        detail = "must be greater than or equal to `emulationVersion`"
        errors.append(invalid("spec.binaryVersion", binary, detail))
    strategy = spec.get("strategy")
    if not strategy:
        errors.append(required("spec.strategy"))
        return
    if strategy == "OldestEmulationVersion" and not emulation:
        detail = "must be specified when `strategy` is 'OldestEmulationVersion'"
        errors.append(required("spec.emulationVersion", detail))
    _check_strategy(strategy, errors)


def check_candidate_update(new: Json, old: Json, errors: Errors) -> None:
    check_candidate(new, errors)
    check_immutable(new.get("spec") or {}, old.get("spec") or {}, "leaseName", "spec.leaseName", errors)


def candidate_name(candidate: Json) -> Check:
    return names.is_config_key


def _check_strategy(strategy: str, errors: Errors) -> None:
    at = "spec.strategy.strategy"  # As upstream names it.
    if "/" in strategy:
        check_name(names.is_qualified_name, strategy, at, errors)
    elif strategy not in STRATEGIES:
        errors.append(not_supported(at, strategy, STRATEGIES))


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.split("[-+]", version)[0].split("."))


RULES = {
    "Lease": Rules(check_lease),
    "LeaseCandidate": Rules(check_candidate, check_candidate_update, name=candidate_name),
}
