"""Admission webhooks, admission policies and their bindings."""

from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, invalid, not_supported, required
from kobune.api.validation.admission_policies import (
    check_mutating_binding,
    check_mutating_policy,
    check_policy_status,
    check_validating_binding,
    check_validating_policy,
)
from kobune.api.validation.admission_rules import FAILURE_POLICIES, MATCH_POLICIES, check_match_conditions, check_rule
from kobune.api.validation.checks import Errors
from kobune.api.validation.domains import check_qualified_domain
from kobune.api.validation.kinds import Rules
from kobune.api.validation.selectors import check_label_selector
from kobune.api.validation.webhooks import ACCEPTED_VERSIONS, check_client, check_review_versions

WITHOUT_EFFECTS = ("None", "NoneOnDryRun")
EFFECTS = (*WITHOUT_EFFECTS, "Some", "Unknown")
REINVOCATION = ("IfNeeded", "Never")
LONGEST_TIMEOUT = 30


def check_webhooks(configuration: Json, errors: Errors) -> None:
    _check_webhooks(configuration, None, errors)


def check_webhooks_update(new: Json, old: Json, errors: Errors) -> None:
    _check_webhooks(new, old, errors)


def _check_webhooks(configuration: Json, old: Json | None, errors: Errors) -> None:
    """Where the old configuration had a fault of some sort already, the new one may have it too."""
    before = (old or {}).get("webhooks") or []
    known = all(_is_understood(hook) for hook in before)
    unique = len({hook.get("name") for hook in before}) == len(before)
    effects = WITHOUT_EFFECTS if all(hook.get("sideEffects") in WITHOUT_EFFECTS for hook in before) else EFFECTS
    seen: set[str] = set()
    missing = f"must specify one of {', '.join(ACCEPTED_VERSIONS)}"
    for index, hook in enumerate(configuration.get("webhooks") or ()):
        path, name = f"webhooks[{index}]", hook.get("name") or ""
        _check_webhook(hook, effects, path, errors)
        versions = hook.get("admissionReviewVersions") or []
        check_review_versions(versions, f"{path}.admissionReviewVersions", errors, known=known, missing=missing)
        if unique and name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)


def _check_webhook(hook: Json, effects: tuple[str, ...], path: str, errors: Errors) -> None:
    check_qualified_domain(hook.get("name"), f"{path}.name", errors)
    for index, rule in enumerate(hook.get("rules") or ()):
        check_rule(rule, f"{path}.rules[{index}]", errors)
    for field, supported in (("failurePolicy", FAILURE_POLICIES), ("matchPolicy", MATCH_POLICIES)):
        if hook.get(field) is not None and hook[field] not in supported:
            errors.append(not_supported(f"{path}.{field}", hook[field], supported))
    if hook.get("sideEffects") is None:
        errors.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(effects)}"))
    elif hook["sideEffects"] not in effects:
        errors.append(not_supported(f"{path}.sideEffects", hook["sideEffects"], effects))
    timeout, reinvocation = hook.get("timeoutSeconds"), hook.get("reinvocationPolicy")
    if timeout is not None and not 1 <= timeout <= LONGEST_TIMEOUT:
        detail = f"the timeout value must be between 1 and {LONGEST_TIMEOUT} seconds"
        errors.append(invalid(f"{path}.timeoutSeconds", timeout, detail))
    for field in ("namespaceSelector", "objectSelector"):
        check_label_selector(hook.get(field), f"{path}.{field}", errors)
    if reinvocation is not None and reinvocation not in REINVOCATION:
        errors.append(not_supported(f"{path}.reinvocationPolicy", reinvocation, REINVOCATION))
    check_client(hook.get("clientConfig") or {}, f"{path}.clientConfig", errors)
    check_match_conditions(hook.get("matchConditions") or [], f"{path}.matchConditions", errors)


def _is_understood(hook: Json) -> bool:
    versions = hook.get("admissionReviewVersions") or []
    return not versions or any(version in ACCEPTED_VERSIONS for version in versions)


_WEBHOOKS = Rules(check_webhooks, check_webhooks_update)
RULES = {
    "MutatingAdmissionPolicy": Rules(check_mutating_policy),
    "MutatingAdmissionPolicyBinding": Rules(check_mutating_binding),
    "MutatingWebhookConfiguration": _WEBHOOKS,
    "ValidatingAdmissionPolicy": Rules(check_validating_policy, subresources={"status": check_policy_status}),
    "ValidatingAdmissionPolicyBinding": Rules(check_validating_binding),
    "ValidatingWebhookConfiguration": _WEBHOOKS,
}
