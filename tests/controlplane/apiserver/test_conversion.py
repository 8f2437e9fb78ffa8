"""One object in two API versions."""

EVENT = {
    "metadata": {"name": "e"},
    "eventTime": "2026-01-02T03:04:05.000006Z",
    "reportingController": "example.com/c",
    "reportingInstance": "c-1",
    "action": "Act",
    "reason": "Why",
    "type": "Normal",
    "note": "what happened",
    "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
}


async def test_an_event_is_one_object_in_both_groups(ask):
    await ask.create("/apis/events.k8s.io/v1/namespaces/default/events", EVENT)
    core = await ask("GET", "/api/v1/namespaces/default/events/e")
    assert (core["message"], core["involvedObject"]["name"]) == ("what happened", "p")
    new = await ask("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
    assert (new["note"], new["regarding"]["name"]) == ("what happened", "p")
    listed = await ask("GET", "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name=p")
    assert [one["apiVersion"] for one in listed["items"]] == ["events.k8s.io/v1"]


async def test_an_autoscaler_keeps_its_cpu_target_between_versions(ask):
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    path = "namespaces/default/horizontalpodautoscalers"
    await ask.create(f"/apis/autoscaling/v1/{path}", {"metadata": {"name": "h"}, "spec": spec})
    newer = await ask("GET", f"/apis/autoscaling/v2/{path}/h")
    assert newer["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    ]
    older = await ask("GET", f"/apis/autoscaling/v1/{path}/h")
    assert older["spec"]["targetCPUUtilizationPercentage"] == 50
    assert "metrics" not in older["spec"]
