"""Evictions and the budgets that refuse them."""

import pytest

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
MERGE = "application/merge-patch+json"
EVICTION = {"metadata": {"name": "a"}}


async def guarded_pod(ask, *, ready, policy=None, phase="Running", **status):
    """Pod a and its budget b, whose status is as a controller has counted."""
    spec = {"containers": [{"name": "main", "image": "busybox"}], "nodeName": "n"}
    await ask.create(PODS, {"metadata": {"name": "a", "labels": {"app": "a"}}, "spec": spec})
    ready_condition = {"type": "Ready", "status": "True" if ready else "False"}
    await set_status(ask, f"{PODS}/a", phase=phase, conditions=[ready_condition])
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    if policy:
        spec["unhealthyPodEvictionPolicy"] = policy
    await ask.create(BUDGETS, {"metadata": {"name": "b"}, "spec": spec})
    counted = {"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1}
    await set_status(ask, f"{BUDGETS}/b", **{"observedGeneration": 1, **counted, **status})


async def set_status(ask, path, **status):
    await ask("PATCH", f"{path}/status", {"status": status}, content_type=MERGE)


def disallowed(reason, message):
    since = "2026-01-05T08:00:00Z"
    condition = {"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": message}
    return [{**condition, "lastTransitionTime": since}]


async def test_an_eviction_spends_the_budget(ask):
    await guarded_pod(ask, ready=True, disruptionsAllowed=1)
    await ask("POST", f"{PODS}/a/eviction", EVICTION, status=201)
    evicted = await ask("GET", f"{PODS}/a")
    assert evicted["metadata"]["deletionTimestamp"]
    assert evicted["status"]["conditions"][-1]["type"] == "DisruptionTarget"
    status = (await ask("GET", f"{BUDGETS}/b"))["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["a"])


@pytest.mark.parametrize(
    ("counted", "why"),
    [
        ({}, "needs 1 healthy pods and has 1 currently"),
        (
            {"conditions": disallowed("SyncFailed", "no scale")},
            "does not allow evicting pods currently because it failed sync: no scale",
        ),
        (
            {"currentHealthy": 2, "conditions": disallowed("Held", "by hand")},
            "does not allow evicting pods currently (Held): by hand",
        ),
        ({"currentHealthy": 2}, "does not allow evicting pods currently"),
        ({"observedGeneration": 0}, "is still being processed by the server."),
    ],
)
async def test_a_budget_says_why_it_refuses(ask, counted, why):
    await guarded_pod(ask, ready=True, **counted)
    answer = await ask("POST", f"{PODS}/a/eviction", EVICTION, status=429)
    assert answer["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert answer["details"]["causes"] == [{"reason": "DisruptionBudget", "message": f"The disruption budget b {why}"}]
    assert "deletionTimestamp" not in (await ask("GET", f"{PODS}/a"))["metadata"]


@pytest.mark.parametrize(
    ("policy", "counted", "spared"),
    [
        (None, {}, True),
        (None, {"currentHealthy": 0}, False),
        (None, {"desiredHealthy": 0}, False),
        ("IfHealthyBudget", {}, True),
        ("IfHealthyBudget", {"currentHealthy": 0}, False),
        ("AlwaysAllow", {"currentHealthy": 0}, True),
        ("AlwaysAllow", {"observedGeneration": 0}, True),
    ],
)
async def test_a_pod_that_is_not_healthy_goes_as_the_policy_says(ask, policy, counted, spared):
    await guarded_pod(ask, ready=False, policy=policy, **counted)
    await ask("POST", f"{PODS}/a/eviction", EVICTION, status=201 if spared else 429)
    assert "disruptedPods" not in (await ask("GET", f"{BUDGETS}/b"))["status"]  # It costs nothing.


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_what_has_ended_or_not_begun_is_not_asked_about(ask, phase):
    await guarded_pod(ask, ready=False, phase=phase, currentHealthy=0)
    await ask("POST", f"{PODS}/a/eviction", EVICTION, status=201)


@pytest.mark.parametrize("policy", ["AlwaysAllow", "IfHealthyBudget"])
async def test_a_pod_that_has_become_ready_meanwhile_is_guarded_again(ask, policy):
    await guarded_pod(ask, ready=False, policy=policy)
    registry, find, turns = ask.server.registry, ask.server.registry.find, []

    async def find_and_change(kind, namespace, name):
        found = await find(kind, namespace, name)
        if not turns:
            turns.append(name)
            await set_status(ask, f"{PODS}/a", conditions=[{"type": "Ready", "status": "True"}])
        return found

    registry.find = find_and_change
    answer = await ask("POST", f"{PODS}/a/eviction", EVICTION, status=429)
    assert answer["details"]["retryAfterSeconds"] == 10
    assert "deletionTimestamp" not in (await ask("GET", f"{PODS}/a"))["metadata"]


async def test_a_pending_pod_that_has_started_meanwhile_is_judged_anew(ask):
    await guarded_pod(ask, ready=False, phase="Pending")
    registry, find, turns = ask.server.registry, ask.server.registry.find, []

    async def find_and_change(kind, namespace, name):
        found = await find(kind, namespace, name)
        if not turns:
            turns.append(name)
            await set_status(ask, f"{PODS}/a", phase="Running", conditions=[{"type": "Ready", "status": "True"}])
        return found

    registry.find = find_and_change
    answer = await ask("POST", f"{PODS}/a/eviction", EVICTION, status=429)
    assert "needs 1 healthy pods" in answer["details"]["causes"][0]["message"]


async def test_an_eviction_of_a_version_is_of_no_other(ask):
    await guarded_pod(ask, ready=False, policy="AlwaysAllow")
    options = {"preconditions": {"resourceVersion": "1"}}
    answer = await ask("POST", f"{PODS}/a/eviction", {**EVICTION, "deleteOptions": options}, status=409)
    assert answer["reason"] == "Conflict"


async def test_two_budgets_are_one_too_many(ask):
    await guarded_pod(ask, ready=True, disruptionsAllowed=1)
    await ask.create(BUDGETS, {"metadata": {"name": "c"}, "spec": {"maxUnavailable": 1, "selector": {}}})
    answer = await ask("POST", f"{PODS}/a/eviction", EVICTION, status=500)
    assert answer["message"] == (
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    )
