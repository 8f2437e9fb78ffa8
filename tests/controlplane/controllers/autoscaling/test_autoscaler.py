"""The loop: metrics in, scale out, and what the status says of it."""

from kobune.api.timestamps import format_time

CONTROLLERS = "horizontal-pod-autoscaler-controller,replicaset-controller"
PODS = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"


async def workload(world, replicas=2):
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    await world.create("replicasets", {"metadata": {"name": "web"}, "spec": spec})


async def autoscaler(world, *metrics, least=1, most=10, **rest):
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"},
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": list(metrics),
        **rest,
    }
    await world.create("horizontalpodautoscalers", {"metadata": {"name": "web"}, "spec": spec})


def resource(percent=50):
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    }


def serve_use(world, cpu):
    """The pods together use `cpu()` thousandths of a core; the figures are of now."""

    async def refresh():
        while True:
            pods = await world.list("pods")
            names = [pod["metadata"]["name"] for pod in pods]
            for pod in pods:  # A kubelet says when it took the pod.
                if "startTime" not in pod["status"]:
                    began = {"status": {"startTime": pod["metadata"]["creationTimestamp"]}}
                    await world.patch("pods", pod["metadata"]["name"], began, subresource="status")
            items = [
                {
                    "metadata": {"name": name, "namespace": "default"},
                    "timestamp": format_time(world.clock.now()),
                    "window": "10s",
                    "containers": [{"name": "c", "usage": {"cpu": f"{cpu() // len(names)}m", "memory": "10Mi"}}],
                }
                for name in names
            ]
            world.transport.adapters[PODS] = lambda query, items=items: {"items": items}
            await world.sleep(1)

    return refresh


async def with_use(world, cpu, story):
    import asyncio

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve_use(world, cpu)())
        try:
            return await story()
        finally:
            serving.cancel()


async def conditions(world):
    status = (await world.get("horizontalpodautoscalers", "web"))["status"]
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in status.get("conditions", ())}


async def replicas(world):
    return (await world.get("replicasets", "web"))["spec"]["replicas"]


async def reasons(world):
    return [
        (each["reason"], each["message"])
        for each in await world.list("events", fieldSelector="involvedObject.kind=HorizontalPodAutoscaler")
    ]


def test_a_busy_target_grows_and_an_idle_one_shrinks_after_five_minutes(tell):
    async def story(world):
        use = [180]
        await workload(world)

        async def scenes():
            await world.sleep(400)  # Past the time in which a pod's use may be that of its start.
            await autoscaler(world, resource())
            await world.sleep(40)
            grown, said, status = (
                await replicas(world),
                await conditions(world),
                await world.get("horizontalpodautoscalers", "web"),
            )
            use[0] = 4
            await world.sleep(280)
            held = await replicas(world)
            await world.sleep(400)
            return grown, said, status["status"], held, await replicas(world), await reasons(world)

        return await with_use(world, lambda: use[0], scenes)

    grown, said, status, held, shrunk, told = tell(story, CONTROLLERS)
    assert grown == 4
    assert said["ScalingActive"] == (
        "True",
        "ValidMetricFound",
        "the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)",
    )
    assert said["ScalingLimited"][0] == "False"
    (metric,) = status["currentMetrics"]
    assert metric == {
        "type": "Resource",
        "resource": {"name": "cpu", "current": {"averageUtilization": 45, "averageValue": "45m"}},
    }
    assert status["lastScaleTime"]
    assert held == 4
    assert shrunk == 1
    assert told[0] == (
        "SuccessfulRescale",
        "New size: 4; reason: cpu resource utilization (percentage of request) above target",
    )
    assert told[-1] == ("SuccessfulRescale", "New size: 1; reason: All metrics below target")


def test_a_missing_metrics_api_is_told_of_in_condition_and_events(tell):
    async def story(world):
        await workload(world)
        world.transport.adapters[PODS] = lambda query: {"items": []}
        await autoscaler(world, resource())
        await world.sleep(20)
        return await conditions(world), await reasons(world), await replicas(world)

    said, told, left = tell(story, CONTROLLERS)
    why = (
        "failed to get cpu utilization: unable to get metrics for resource cpu: "
        "no metrics returned from resource metrics API"
    )
    assert said["ScalingActive"] == (
        "False",
        "FailedGetResourceMetric",
        f"the HPA was unable to compute the replica count: {why}",
    )
    assert said["AbleToScale"][1] == "SucceededGetScale"
    assert told == [
        ("FailedGetResourceMetric", why),
        (
            "FailedComputeMetricsReplicas",
            f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}",
        ),
    ]
    assert left == 2


def test_a_target_outside_its_bounds_is_brought_within_without_asking_metrics(tell):
    async def story(world):
        await workload(world, 20)
        await autoscaler(world, resource(), most=5)
        await world.sleep(20)
        high = await replicas(world)
        await world.patch("replicasets", "web", {"spec": {"replicas": 1}})
        await world.patch("horizontalpodautoscalers", "web", {"spec": {"minReplicas": 3}})
        await world.sleep(20)
        return high, await replicas(world), await reasons(world)

    high, low, told = tell(story, CONTROLLERS)
    assert (high, low) == (5, 3)
    rescales = [message for reason, message in told if reason == "SuccessfulRescale"]
    assert rescales == [
        "New size: 5; reason: Current number of replicas above Spec.MaxReplicas",
        "New size: 3; reason: Current number of replicas below Spec.MinReplicas",
    ]


def test_a_target_of_no_replicas_is_left_alone(tell):
    async def story(world):
        await workload(world, 0)
        await autoscaler(world, resource())
        await world.sleep(20)
        return await replicas(world), await conditions(world)

    left, said = tell(story, CONTROLLERS)
    assert left == 0
    assert said["ScalingActive"] == (
        "False",
        "ScalingDisabled",
        "scaling is disabled since the replica count of the target is zero",
    )


def test_a_target_that_is_not_there_is_told_of(tell):
    async def story(world):
        await autoscaler(world, resource())
        await world.sleep(20)
        return await conditions(world)

    said = tell(story, CONTROLLERS)
    assert said["AbleToScale"] == (
        "False",
        "FailedGetScale",
        'the HPA controller was unable to get the target\'s current scale: replicasets.apps "web" not found',
    )


def test_custom_and_external_metrics_come_through_their_own_apis(tell):
    named = {"name": "queue", "selector": {"matchLabels": {"shard": "one"}}}
    external = {
        "type": "External",
        "external": {"metric": named, "target": {"type": "AverageValue", "averageValue": "10"}},
    }
    per_pod = {
        "type": "Pods",
        "pods": {"metric": {"name": "rate"}, "target": {"type": "AverageValue", "averageValue": "5"}},
    }
    of_object = {
        "type": "Object",
        "object": {
            "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "front"},
            "metric": {"name": "hits"},
            "target": {"type": "Value", "value": "100"},
        },
    }

    async def story(world):
        await workload(world)
        await world.sleep(400)
        asked = []

        def value(amount, name="web"):
            return {"describedObject": {"name": name}, "timestamp": format_time(world.clock.now()), "value": amount}

        def queue(query):
            asked.append(query)
            return {"items": [{"value": "40"}, {"value": "20"}]}

        names = [pod["metadata"]["name"] for pod in await world.list("pods")]
        custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
        metric = {"resource": "pods/rate", "scope": "Namespaced", "responseKind": {"kind": "MetricValueList"}}
        group = {
            "metadata": {"name": "custom.metrics.k8s.io"},
            "versions": [{"version": "v1beta2", "resources": [metric]}],
        }
        world.transport.adapters |= {
            "/apis": lambda query: {"kind": "APIGroupDiscoveryList", "items": [group]},
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue": queue,
            f"{custom}/pods/*/rate": lambda query: {"items": [value("5", name) for name in names]},
            f"{custom}/services/front/hits": lambda query: {"items": [value("150")]},
        }
        await autoscaler(world, external, per_pod, of_object)
        await world.sleep(10)
        return (
            await replicas(world),
            (await world.get("horizontalpodautoscalers", "web"))["status"],
            asked,
            await conditions(world),
        )

    grown, status, asked, said = tell(story, CONTROLLERS)
    assert grown == 4  # The queue asks for six, but a target at most doubles or grows to four.
    assert said["ScalingLimited"][1] == "ScaleUpLimit"
    assert asked[0] == {"labelSelector": "shard=one"}
    queue, rate, hits = status["currentMetrics"]
    assert queue["external"]["current"] == {"averageValue": "30"}
    assert rate["pods"] == {"metric": {"name": "rate"}, "current": {"averageValue": "5"}}
    assert hits["object"]["current"] == {"value": "150"}
    assert hits["object"]["describedObject"] == {"apiVersion": "v1", "kind": "Service", "name": "front"}


def test_two_autoscalers_of_the_same_pods_scale_nothing(tell):
    async def story(world):
        await workload(world)
        await world.create(
            "replicasets",
            {
                "metadata": {"name": "other"},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {
                        "metadata": {"labels": {"app": "web"}},
                        "spec": {"containers": [{"name": "c", "image": "i"}]},
                    },
                },
            },
        )
        await autoscaler(world, resource())
        target = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "other"}
        spec = {"scaleTargetRef": target, "maxReplicas": 9, "metrics": [resource()]}
        await world.create("horizontalpodautoscalers", {"metadata": {"name": "again"}, "spec": spec})
        await world.sleep(40)
        return await conditions(world)

    assert tell(story, CONTROLLERS)["ScalingActive"] == (
        "False",
        "AmbiguousSelector",
        "pods by selector app=web are controlled by multiple HPAs: [{again default} {web default}]",
    )
