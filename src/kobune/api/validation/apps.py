"""Deployments, ReplicaSets, StatefulSets, DaemonSets and their revisions."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import IMMUTABLE, NOT_NEGATIVE, forbidden, invalid, not_supported, required
from kobune.api.validation.checks import (
    Errors,
    check_immutable,
    check_int_or_percent,
    check_name,
    check_not_negative,
    check_not_over_100_percent,
    number_or_percent,
    same,
)
from kobune.api.validation.claims import check_claim_spec
from kobune.api.validation.kinds import Rules, label_name
from kobune.api.validation.pods import check_template, check_template_policy
from kobune.api.validation.selectors import check_label_selector, compiled, is_empty
from kobune.api.validation.statuses import check_collisions, check_replica_counts

MISMATCH = "`selector` does not match template `labels`"
DEPLOYMENT_COUNTS = (
    "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas",
    "terminatingReplicas", "collisionCount",
)  # fmt: skip
REPLICA_SET_COUNTS = (
    "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration", "terminatingReplicas",
)  # fmt: skip
STATEFUL_SET_COUNTS = (
    "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration",
    "collisionCount",
)  # fmt: skip
DAEMON_SET_COUNTS = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
    "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
)  # fmt: skip
STATEFUL_SET_UPDATABLE = (
    "replicas", "template", "updateStrategy", "minReadySeconds", "ordinals", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
)  # fmt: skip
STATEFUL_SET_FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy',"
    " 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def check_deployment(deployment: Json, errors: Errors) -> None:
    spec = deployment.get("spec") or {}
    check_not_negative(spec, "replicas", "spec", errors)
    _check_selected_template(spec, "deployment", errors)
    _check_deployment_strategy(spec.get("strategy") or {}, errors)
    for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        check_not_negative(spec, field, "spec", errors)
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))


def check_deployment_update(new: Json, old: Json, errors: Errors) -> None:
    check_deployment(new, errors)
    _check_same_selector(new, old, errors)


def check_deployment_status(new: Json, old: Json, errors: Errors) -> None:
    within = ("updatedReplicas", "readyReplicas", "availableReplicas")
    check_replica_counts(new.get("status") or {}, DEPLOYMENT_COUNTS, within, "status", errors)
    check_collisions(new, old, errors)


def check_replica_set(replica_set: Json, errors: Errors) -> None:
    spec = replica_set.get("spec") or {}
    for field in ("replicas", "minReadySeconds"):
        check_not_negative(spec, field, "spec", errors)
    # Upstream says "deployment" here too.
    _check_selected_template(spec, "deployment", errors)


def check_replica_set_update(new: Json, old: Json, errors: Errors) -> None:
    check_replica_set(new, errors)
    _check_same_selector(new, old, errors)


def check_replica_set_status(new: Json, old: Json, errors: Errors) -> None:
    within = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    check_replica_counts(new.get("status") or {}, REPLICA_SET_COUNTS, within, "status", errors)


def check_daemon_set(daemon_set: Json, errors: Errors) -> None:
    spec = daemon_set.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    check_label_selector(selector, "spec.selector", errors)
    matcher, labels = compiled(selector), (template.get("metadata") or {}).get("labels") or {}
    if matcher is not None and not matcher.matches(labels):
        errors.append(invalid("spec.template.metadata.labels", labels or None, MISMATCH))
    if selector is not None and is_empty(selector):
        errors.append(invalid("spec.selector", selector, "empty selector is invalid for daemonset"))
    check_template(template, "spec.template", errors)
    check_template_policy(template, "DaemonSet", "spec.template", errors)
    for field in ("minReadySeconds", "revisionHistoryLimit"):
        check_not_negative(spec, field, "spec", errors)
    _check_daemon_strategy(spec.get("updateStrategy") or {}, errors)


def check_daemon_set_update(new: Json, old: Json, errors: Errors) -> None:
    _check_same_selector(new, old, errors)
    check_daemon_set(new, errors)


def check_daemon_set_status(new: Json, old: Json, errors: Errors) -> None:
    for field in DAEMON_SET_COUNTS:
        check_not_negative(new.get("status") or {}, field, "status", errors)
    check_collisions(new, old, errors)


def check_stateful_set(stateful_set: Json, errors: Errors) -> None:
    spec = stateful_set.get("spec") or {}
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        check_claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{index}].spec", errors)
    if spec.get("serviceName"):
        check_name(names.is_dns1123_label, spec["serviceName"], "spec.serviceName", errors)
    _check_stateful_spec(spec, errors)


def check_stateful_set_update(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    _check_stateful_spec(after, errors)
    kept = {field: value for field, value in after.items() if field not in STATEFUL_SET_UPDATABLE}
    fixed = {field: value for field, value in before.items() if field not in STATEFUL_SET_UPDATABLE}
    if not same(kept, fixed):
        errors.append(forbidden("spec", STATEFUL_SET_FIXED))


def check_stateful_set_status(new: Json, old: Json, errors: Errors) -> None:
    within = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    check_replica_counts(
        new.get("status") or {}, STATEFUL_SET_COUNTS, within, "status", errors, ready="status.readyReplicas"
    )
    check_collisions(new, old, errors)


def check_revision(revision: Json, errors: Errors) -> None:
    if revision.get("revision", 0) < 0:
        errors.append(invalid("revision", revision["revision"], NOT_NEGATIVE))
    data = revision.get("data")
    if data is None:
        errors.append(required("data", "data is mandatory"))
    elif not isinstance(data, dict):
        errors.append(required("data", "data must be a valid JSON object"))


def check_revision_update(new: Json, old: Json, errors: Errors) -> None:
    if new.get("revision", 0) < 0:
        errors.append(invalid("revision", new["revision"], NOT_NEGATIVE))
    if new.get("data") != old.get("data"):
        errors.append(invalid("data", new.get("data"), IMMUTABLE))


def _check_same_selector(new: Json, old: Json, errors: Errors) -> None:
    check_immutable(new.get("spec") or {}, old.get("spec") or {}, "selector", "spec.selector", errors)


def _check_selector(selector: Json | None, kind: str, errors: Errors) -> None:
    if selector is None:
        errors.append(required("spec.selector"))
        return
    check_label_selector(selector, "spec.selector", errors)
    if is_empty(selector):
        errors.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))


def _check_selected_template(spec: Json, kind: str, errors: Errors) -> None:
    """A selector, and a template whose labels it matches."""
    selector = spec.get("selector")
    _check_selector(selector, kind, errors)
    matcher = compiled(selector)
    if matcher is None:
        errors.append(invalid("spec.selector", selector, "invalid label selector"))
        return
    template = spec.get("template") or {}
    _check_labels_match(
        template, matcher.is_everything or matcher.matches((template.get("metadata") or {}).get("labels")), errors
    )
    check_template(template, "spec.template", errors)
    check_template_policy(template, "ReplicaSet", "spec.template", errors)


def _check_labels_match(template: Json, matches: bool, errors: Errors) -> None:
    if not matches:
        labels = (template.get("metadata") or {}).get("labels")
        errors.append(invalid("spec.template.metadata.labels", labels, MISMATCH))


def _check_deployment_strategy(strategy: Json, errors: Errors) -> None:
    rolling, at = strategy.get("rollingUpdate"), "spec.strategy.rollingUpdate"
    match strategy.get("type"):
        case "Recreate":
            if rolling is not None:
                errors.append(forbidden(at, "may not be specified when strategy `type` is 'Recreate'"))
        case "RollingUpdate":
            if rolling is None:
                errors.append(required(at, "this should be defaulted and never be nil"))
                return
            unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
            check_int_or_percent(unavailable, f"{at}.maxUnavailable", errors)
            check_int_or_percent(surge, f"{at}.maxSurge", errors)
            if not number_or_percent(unavailable) and not number_or_percent(surge):
                errors.append(invalid(f"{at}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
            check_not_over_100_percent(unavailable, f"{at}.maxUnavailable", errors)
        case _:
            errors.append(not_supported("spec.strategy", strategy, ("Recreate", "RollingUpdate")))


def _check_daemon_strategy(strategy: Json, errors: Errors) -> None:
    kind, rolling, at = strategy.get("type"), strategy.get("rollingUpdate"), "spec.updateStrategy.rollingUpdate"
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        errors.append(not_supported("spec.updateStrategy", strategy, ("RollingUpdate", "OnDelete")))
    elif rolling is None:
        errors.append(required(at))
    else:
        for field in ("maxUnavailable", "maxSurge"):
            check_int_or_percent(rolling.get(field), f"{at}.{field}", errors)
            check_not_over_100_percent(rolling.get(field), f"{at}.{field}", errors)
        unavailable, surge = (
            number_or_percent(rolling.get("maxUnavailable")),
            number_or_percent(rolling.get("maxSurge")),
        )
        if unavailable and surge:
            errors.append(
                invalid(f"{at}.maxSurge", rolling["maxSurge"], "may not be set when maxUnavailable is non-zero")
            )
        elif not unavailable and not surge:
            errors.append(required(f"{at}.maxUnavailable", "cannot be 0 when maxSurge is 0"))


def _check_stateful_spec(spec: Json, errors: Errors) -> None:
    policy = spec.get("podManagementPolicy")
    if not policy:
        errors.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        errors.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    _check_stateful_strategy(spec.get("updateStrategy") or {}, errors)
    for field, value in (spec.get("persistentVolumeClaimRetentionPolicy") or {}).items():
        if value not in ("Retain", "Delete"):
            errors.append(
                not_supported(f"spec.persistentVolumeClaimRetentionPolicy.{field}", value, ("Retain", "Delete"))
            )
    for field in ("replicas", "minReadySeconds"):
        check_not_negative(spec, field, "spec", errors)
    if spec.get("ordinals") is not None:
        check_not_negative(spec["ordinals"], "start", "spec.ordinals", errors)
    selector = spec.get("selector")
    _check_selector(selector, "statefulset", errors)
    template = spec.get("template") or {}
    matcher = compiled(selector)
    if matcher is None:
        errors.append(invalid("spec.selector", selector, ""))
    else:
        labels = (template.get("metadata") or {}).get("labels")
        _check_labels_match(template, matcher.is_everything or matcher.matches(labels), errors)
        check_template(_with_claims(template, spec), "spec.template", errors)
    check_template_policy(template, "StatefulSet", "spec.template", errors)


def _check_stateful_strategy(strategy: Json, errors: Errors) -> None:
    kind, rolling, at = strategy.get("type"), strategy.get("rollingUpdate"), "spec.updateStrategy.rollingUpdate"
    if not kind:
        errors.append(required("spec.updateStrategy"))
    elif kind == "OnDelete":
        if rolling is not None:
            errors.append(invalid(at, rolling, "only allowed for updateStrategy 'RollingUpdate'"))
    elif kind != "RollingUpdate":
        errors.append(invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    elif rolling is not None:
        check_not_negative(rolling, "partition", at, errors)
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            check_int_or_percent(unavailable, f"{at}.maxUnavailable", errors)
            if not number_or_percent(unavailable):
                errors.append(invalid(f"{at}.maxUnavailable", unavailable, "cannot be 0"))
            check_not_over_100_percent(unavailable, f"{at}.maxUnavailable", errors)


def _with_claims(template: Json, spec: Json) -> Json:
    """The template with the volumes that its pods will have; host names are the controller's to set."""
    pod = {
        field: value for field, value in (template.get("spec") or {}).items() if field not in ("subdomain", "hostname")
    }
    claims = {(claim.get("metadata") or {}).get("name") or "" for claim in spec.get("volumeClaimTemplates") or ()}
    if claims:
        own = [volume for volume in pod.get("volumes") or () if volume.get("name") not in claims]
        pod["volumes"] = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in sorted(claims)] + own
    return {**template, "spec": pod}


RULES = {
    "ControllerRevision": Rules(check_revision, check_revision_update),
    "DaemonSet": Rules(check_daemon_set, check_daemon_set_update, {"status": check_daemon_set_status}),
    "Deployment": Rules(check_deployment, check_deployment_update, {"status": check_deployment_status}),
    "ReplicaSet": Rules(check_replica_set, check_replica_set_update, {"status": check_replica_set_status}),
    "StatefulSet": Rules(
        check_stateful_set, check_stateful_set_update, {"status": check_stateful_set_status}, label_name
    ),
}
