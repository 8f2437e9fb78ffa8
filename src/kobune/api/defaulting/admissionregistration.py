"""Admission webhooks and admission policies."""

from collections.abc import Iterable

from kobune.api.errors import Json

HTTPS_PORT = 443


def default_validating_webhooks(configuration: Json) -> None:
    for webhook in configuration.get("webhooks") or ():
        _default_webhook(webhook)


def default_mutating_webhooks(configuration: Json) -> None:
    for webhook in configuration.get("webhooks") or ():
        _default_webhook(webhook)
        webhook.setdefault("reinvocationPolicy", "Never")


def default_policy(policy: Json) -> None:
    """A ValidatingAdmissionPolicy or MutatingAdmissionPolicy."""
    spec = policy.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    if "matchConstraints" in spec:
        _default_match(spec["matchConstraints"])


def default_policy_binding(binding: Json) -> None:
    spec = binding.get("spec") or {}
    if "matchResources" in spec:
        _default_match(spec["matchResources"])


def default_alpha_policy_binding(binding: Json) -> None:
    default_policy_binding(binding)
    parameters = (binding.get("spec") or {}).get("paramRef")
    if parameters is not None:
        parameters.setdefault("parameterNotFoundAction", "Deny")


def default_service(reference: Json | None) -> None:
    """The service that a webhook is called at."""
    if reference is not None:
        reference.setdefault("port", HTTPS_PORT)


def _default_webhook(webhook: Json) -> None:
    webhook.setdefault("failurePolicy", "Fail")
    webhook.setdefault("timeoutSeconds", 10)
    _default_selection(webhook)
    _default_rules(webhook.get("rules"))
    default_service((webhook.get("clientConfig") or {}).get("service"))


def _default_match(match: Json) -> None:
    _default_selection(match)
    _default_rules(match.get("resourceRules"))
    _default_rules(match.get("excludeResourceRules"))


def _default_selection(match: Json) -> None:
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})


def _default_rules(rules: Iterable[Json] | None) -> None:
    for rule in rules or ():
        rule.setdefault("scope", "*")


DEFAULTS = {
    "MutatingAdmissionPolicy": default_policy,
    "MutatingAdmissionPolicyBinding": default_policy_binding,
    "MutatingWebhookConfiguration": default_mutating_webhooks,
    "ValidatingAdmissionPolicy": default_policy,
    "ValidatingAdmissionPolicyBinding": default_policy_binding,
    "ValidatingWebhookConfiguration": default_validating_webhooks,
    "v1alpha1/MutatingAdmissionPolicyBinding": default_alpha_policy_binding,
    "v1alpha1/ValidatingAdmissionPolicyBinding": default_alpha_policy_binding,
}
