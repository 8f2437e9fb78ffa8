"""Containers resized in place."""

from kobune.node.kubelet.config import Amounts


def running(pod):
    return pod["status"].get("phase") == "Running"


def sized(cpu, memory="64Mi"):
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


async def resize(world, name, resources):
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    path = f"/api/v1/namespaces/default/pods/{name}/resize"
    await world.call("PATCH", path, patch, "application/strategic-merge-patch+json")


def cpu_of(pod):
    return pod["status"]["containerStatuses"][0]["resources"]["requests"]["cpu"]


def pending(pod):
    return next((it["reason"] for it in pod["status"]["conditions"] if it["type"] == "PodResizePending"), "")


def test_a_running_container_gets_its_new_size_without_a_restart(tell):
    async def story(world):
        await world.create("web", main={"resources": sized("500m")})
        await world.until_pod("web", running)
        await resize(world, "web", sized("1"))
        pod = await world.until_pod("web", lambda pod: cpu_of(pod) == "1", 30)
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
        assert "update_resources main" in world.runtime.calls
        live = next(iter(world.runtime._containers.values()))
        assert (live.resources.cpu_shares, live.resources.cpu_quota_us) == (1024, 100_000)
        assert any(reason == "ResizeCompleted" for reason, _ in await world.events("web"))

    tell(story)


def test_a_container_that_wants_a_restart_for_it_gets_one(tell):
    async def story(world):
        policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        main = {"resources": sized("500m"), "resizePolicy": policy}
        await world.create("web", main=main, terminationGracePeriodSeconds=1)
        await world.until_pod("web", running)
        await resize(world, "web", sized("500m", "128Mi"))
        await world.until_pod("web", lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1, 60)
        live = [live for live in world.runtime._containers.values() if live.spec.attempt == 1]
        assert live[0].resources.memory_limit_bytes == 128 << 20

    tell(story)


def test_what_does_not_fit_waits_and_says_why(tell):
    async def story(world):
        await world.create("web", main={"resources": sized("500m")})
        await world.create("other", main={"resources": sized("1")})
        for name in ("web", "other"):
            await world.until_pod(name, running)
        await resize(world, "web", sized("1500m"))
        pod = await world.until_pod("web", pending, 30)
        assert (pending(pod), cpu_of(pod)) == ("Deferred", "500m")
        await resize(world, "web", sized("5"))
        await world.until_pod("web", lambda pod: pending(pod) == "Infeasible", 30)
        await resize(world, "web", sized("1500m"))
        await world.delete("other")
        pod = await world.until_pod("web", lambda pod: cpu_of(pod) == "1500m", 60)
        await world.until_pod("web", lambda pod: not pending(pod), 30)

    tell(story, capacity=Amounts(cpu_millicores=2000, memory_bytes=1 << 30, ephemeral_bytes=1 << 30))


def test_a_restarted_kubelet_finishes_what_was_asked_for(tell):
    async def story(world):
        await world.create("web", main={"resources": sized("500m")})
        await world.until_pod("web", running)
        await world.stop_kubelet()
        await resize(world, "web", sized("1"))
        world.start_kubelet()
        await world.until_pod("web", lambda pod: cpu_of(pod) == "1", 30)

    tell(story)
