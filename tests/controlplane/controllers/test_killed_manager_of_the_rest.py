"""Managers killed at random moments, and what is not a rollout: schedules, endpoints, volumes, a namespace's end, scale.

The short form is told with every test run; the long one (50 rounds) belongs to `make test-killed-managers`.
"""

import asyncio
import random
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from kobune.api.timestamps import format_time

CONTROLLERS = (
    "cronjob-controller,job-controller,endpointslice-controller,persistentvolume-binder-controller,namespace-controller,"
    "horizontal-pod-autoscaler-controller,replicaset-controller,garbage-collector-controller"
)
USE = 300  # Thousandths of a core that the pods of web use together; at half of 100m each that asks for six.
REPLICAS = 6
CLAIMS = 5
METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def pod_template(app, **spec):
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


async def furnish(world):
    selector = {"matchLabels": {"app": "web"}}
    web = {"replicas": 2, "selector": selector, "template": pod_template("web")}
    await world.create("replicasets", {"metadata": {"name": "web"}, "spec": web})
    service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    await world.create("services", {"metadata": {"name": "web"}, "spec": service})
    scaling = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"},
        "minReplicas": 2,
        "maxReplicas": 10,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }
        ],
    }
    await world.create("horizontalpodautoscalers", {"metadata": {"name": "web"}, "spec": scaling})
    jobs = {"spec": {"template": pod_template("tick", restartPolicy="Never")}}
    tick = {"schedule": "* * * * *", "successfulJobsHistoryLimit": 100, "jobTemplate": jobs}
    await world.create("cronjobs", {"metadata": {"name": "tick"}, "spec": tick})
    for number in range(CLAIMS):
        shape = {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow"}
        volume = {**shape, "capacity": {"storage": "1Gi"}, "hostPath": {"path": f"/mnt/{number}"}}
        await world.create("persistentvolumes", {"metadata": {"name": f"v{number}"}, "spec": volume}, "")
        claim = {**shape, "resources": {"requests": {"storage": "1Gi"}}}
        await world.create("persistentvolumeclaims", {"metadata": {"name": f"c{number}"}, "spec": claim})
    await world.create("namespaces", {"metadata": {"name": "doomed"}}, "")
    for number in range(10):
        await world.create("configmaps", {"metadata": {"name": f"m{number}"}}, "doomed")
    await world.create("replicasets", {"metadata": {"name": "web"}, "spec": web}, "doomed")


async def live(world):
    """Ticks succeed, and the pods of web say what they use."""
    while True:
        for pod in await world.list("pods", labelSelector="app=tick"):
            if pod["status"].get("phase") == "Running":
                await world.finish(world.key("default", pod["metadata"]["name"]))
        pods = await world.list("pods", labelSelector="app=web")
        for pod in pods:  # A kubelet says when it took the pod.
            if "startTime" not in pod["status"]:
                began = {"status": {"startTime": pod["metadata"]["creationTimestamp"]}}
                await world.patch("pods", pod["metadata"]["name"], began, subresource="status")
        now = format_time(world.clock.now())
        items = [
            {
                "metadata": {"name": pod["metadata"]["name"], "namespace": "default"},
                "timestamp": now,
                "window": "10s",
                "containers": [{"name": "c", "usage": {"cpu": f"{USE // len(pods)}m", "memory": "1Mi"}}],
            }
            for pod in pods
        ]
        world.transport.adapters[METRICS] = lambda query, items=items: {"items": items}
        await world.sleep(1)


async def live_through(world, rng, *, share):
    world.transport.adapters[METRICS] = lambda query: {"items": []}
    living = asyncio.create_task(live(world))
    calm = asyncio.Event()
    killing = asyncio.create_task(world.kill_managers(CONTROLLERS, rng, share=share, until=calm))
    await furnish(world)
    await world.sleep(rng.uniform(5, 30))
    await world.delete("namespaces", "doomed", "")
    await world.sleep(150)
    calm.set()
    last = await killing
    running = asyncio.create_task(last.run())
    try:
        await world.until(lambda: settled(world), seconds=300)
        return {
            "schedule": [job["metadata"]["annotations"][SCHEDULED] for job in await world.list("jobs")],
            "bound": await bindings(world),
            "endpoints": await endpoints(world),
            "left": [each for plural in ("configmaps", "pods") for each in await world.list(plural, "doomed")],
        }
    finally:
        for task in (running, living):
            task.cancel()
        await asyncio.gather(running, living, return_exceptions=True)


async def settled(world):
    web = await world.get("replicasets", "web")
    ready = web["status"].get("readyReplicas", 0) == web["spec"]["replicas"] == REPLICAS
    claims = await world.list("persistentvolumeclaims")
    bound = all(claim["status"].get("phase") == "Bound" for claim in claims)
    addresses, pods = await endpoints(world)
    done = all(job["status"].get("succeeded") == 1 for job in await world.list("jobs"))
    return (
        ready
        and bound
        and done
        and sorted(addresses) == sorted(pods)
        and await world.find("namespaces", "doomed", "") is None
    )


async def bindings(world):
    """Which volume each claim has, and which claim each volume."""
    claims = {
        each["metadata"]["name"]: each["spec"]["volumeName"] for each in await world.list("persistentvolumeclaims")
    }
    volumes = {
        each["spec"]["claimRef"]["name"]: each["metadata"]["name"] for each in await world.list("persistentvolumes", "")
    }
    return claims, volumes


async def endpoints(world):
    """The addresses in the Service's slices, and those of its pods."""
    slices = await world.list("endpointslices", labelSelector="kubernetes.io/service-name=web")
    addresses = [one["addresses"][0] for each in slices for one in each["endpoints"] or ()]
    pods = await world.list("pods", labelSelector="app=web")
    return addresses, [pod["status"].get("podIP") for pod in pods]


def rounds(tell, count, *, share):
    for seed in range(count):

        async def story(world, seed=seed):
            return await live_through(world, random.Random(seed), share=share)

        found = tell(story, None)
        ticks = sorted(datetime.fromisoformat(each) for each in found["schedule"])
        assert len(ticks) >= 2, seed
        # Every minute once.
        assert {later - earlier for earlier, later in pairwise(ticks)} == {timedelta(minutes=1)}, seed
        claims, volumes = found["bound"]
        assert claims == volumes, seed
        assert len(set(claims.values())) == CLAIMS, seed
        assert len(set(found["endpoints"][0])) == len(found["endpoints"][0]) == REPLICAS, seed
        assert found["left"] == [], seed


def test_killed_managers_miss_and_double_nothing(tell):
    rounds(tell, 1, share=0.1)  # And some of their writes are refused, or their answers lost.


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_killed_managers_miss_and_double_nothing_fifty_times(tell, share):
    rounds(tell, 50, share=share)
