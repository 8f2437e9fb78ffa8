"""The life of a pod on one node, with a runtime that only plays."""

from itertools import pairwise
from typing import Any

from kobune.node.runtime.simulated import Behaviour, Result


def running(pod: Any) -> bool:
    return pod["status"].get("phase") == "Running"


def ready(pod: Any) -> bool:
    return any(it["type"] == "Ready" and it["status"] == "True" for it in pod["status"].get("conditions", ()))


def main_status(pod: Any) -> Any:
    """The first container's status; before there is any, that of one not yet made."""
    return (pod["status"].get("containerStatuses") or [{"state": {}, "lastState": {}, "restartCount": 0}])[0]


def test_a_pod_is_run_and_reported(tell):
    async def story(world):
        await world.create("web")
        pod = await world.until_pod("web", ready)
        status = pod["status"]
        assert status["phase"] == "Running"
        assert status["podIP"] == "10.244.0.1"
        assert status["hostIP"] == "10.224.0.4"
        assert main_status(pod)["ready"] is True
        assert main_status(pod)["containerID"].startswith("simulated://")
        assert [it["type"] for it in status["conditions"] if it["status"] == "True"] == [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ]
        reasons = [reason for reason, _ in await world.until(lambda: world.events("web"))]
        assert reasons == ["Pulling", "Pulled", "Created", "Started"]

    tell(story)


def test_a_pod_that_starts_at_once_costs_one_status_write(tell):
    async def story(world):
        await world.clock.sleep(5)  # The node itself has been reported by now.
        created = await world.create("web")
        pod = await world.until_pod("web", ready)
        events = len(await world.events("web"))
        between = int(pod["metadata"]["resourceVersion"]) - int(created["metadata"]["resourceVersion"])
        assert between <= 1 + events

    tell(story)


def test_init_containers_run_one_after_the_other_before_the_rest(tell):
    async def story(world):
        await world.create("web", initContainers=[{"name": "one", "image": "a:1"}, {"name": "two", "image": "a:1"}])
        await world.until_pod("web", ready)
        starts = [call for call in world.runtime.calls if call.startswith("start_container")]
        assert starts == ["start_container one", "start_container two", "start_container main"]

    tell(story, {"one": Behaviour(runs_seconds=3), "two": Behaviour(runs_seconds=2)})


def test_a_failing_init_container_of_a_pod_that_never_restarts_fails_the_pod(tell):
    async def story(world):
        await world.create("web", restartPolicy="Never", initContainers=[{"name": "one", "image": "a:1"}])
        pod = await world.until_pod("web", lambda pod: pod["status"].get("phase") == "Failed")
        assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
        assert main_status(pod)["state"]["waiting"]["reason"] == "PodInitializing"

    tell(story, {"one": Behaviour(runs_seconds=1, exit_code=3)})


def test_a_sidecar_starts_first_and_ends_last(tell):
    async def story(world):
        sidecar = {"name": "side", "image": "a:1", "restartPolicy": "Always"}
        await world.create("job", restartPolicy="Never", initContainers=[sidecar])
        await world.until_pod("job", lambda pod: pod["status"].get("phase") == "Succeeded")
        calls = [call for call in world.runtime.calls if "container" in call and "create" not in call]
        assert calls[:2] == ["start_container side", "start_container main"]
        assert calls[2].startswith("stop_container side")

    tell(story, {"main": Behaviour(runs_seconds=5)})


def test_a_crashing_container_backs_off_ten_seconds_and_then_doubles(tell):
    async def story(world):
        await world.create("web")
        pod = await world.until_pod("web", lambda pod: main_status(pod)["restartCount"] == 4, 300)
        assert main_status(pod)["lastState"]["terminated"]["exitCode"] == 1
        starts = [when for call, when in marks if call == "start_container main"]
        pauses = [round(after - before) for before, after in pairwise(starts)]
        assert pauses == [1, 11, 21, 41]
        assert any(reason == "BackOff" for reason, _ in await world.events("web"))

    marks = []

    async def marked(world):
        original = world.runtime.start_container

        async def start(container_id):
            marks.append((f"start_container {world.runtime.spec_of(container_id).name}", world.clock.monotonic()))
            await original(container_id)

        world.runtime.start_container = start
        await story(world)

    tell(marked, {"main": Behaviour(runs_seconds=1, exit_code=1)})


def test_a_container_in_back_off_says_so_with_its_last_state(tell):
    async def story(world):
        await world.create("web")

        def resting(pod):
            return main_status(pod)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"

        pod = await world.until_pod("web", resting, 60)
        waiting = main_status(pod)["state"]["waiting"]
        uid = pod["metadata"]["uid"]
        assert waiting["message"] == f"back-off 10s restarting failed container=main pod=web_default({uid})"
        assert main_status(pod)["lastState"]["terminated"]["reason"] == "Error"
        assert pod["status"]["phase"] == "Running"

    tell(story, {"main": Behaviour(runs_seconds=1, exit_code=1)})


def test_a_finished_job_keeps_its_containers_until_it_is_deleted(tell):
    async def story(world):
        await world.create("job", restartPolicy="Never")
        pod = await world.until_pod("job", lambda pod: pod["status"].get("phase") == "Succeeded")
        assert main_status(pod)["state"]["terminated"]["reason"] == "Completed"
        await world.clock.sleep(30)
        assert await world.runtime.list_containers()
        await world.delete("job")
        await world.until_gone("job")
        await world.clock.sleep(1)
        assert not await world.runtime.list_containers()
        assert not await world.runtime.list_sandboxes()

    tell(story, {"main": Behaviour(runs_seconds=5)})


def test_deletion_gives_the_grace_period_and_then_removes_everything(tell):
    async def story(world):
        await world.create("web", terminationGracePeriodSeconds=20)
        pod = await world.until_pod("web", ready)
        began = world.clock.monotonic()
        await world.delete("web")
        await world.until_gone("web")
        assert 19 < world.clock.monotonic() - began < 22
        await world.clock.sleep(1)
        assert not await world.runtime.list_sandboxes()
        assert not (world.config.pods_dir / pod["metadata"]["uid"]).exists()
        assert ("Killing", "Stopping container main") in await world.events("web")

    tell(story, {"main": Behaviour(stops_seconds=None)})


def test_a_shorter_grace_period_given_later_counts(tell):
    async def story(world):
        await world.create("web", terminationGracePeriodSeconds=300)
        await world.until_pod("web", ready)
        began = world.clock.monotonic()
        await world.delete("web")
        await world.clock.sleep(5)
        await world.delete("web", grace=3)
        await world.until_gone("web")
        assert world.clock.monotonic() - began < 15

    tell(story, {"main": Behaviour(stops_seconds=None)})


def test_a_forced_deletion_ends_the_containers_too(tell):
    async def story(world):
        await world.create("web")
        await world.until_pod("web", ready)
        await world.delete("web", grace=0)
        await world.until_gone("web")

        async def nothing_left():
            return not await world.runtime.list_sandboxes()

        await world.until(nothing_left, 60)

    tell(story, {"main": Behaviour(stops_seconds=None)})


def test_a_restarted_kubelet_adopts_what_runs_and_touches_nothing(tell):
    async def story(world):
        await world.create("web")
        before = await world.until_pod("web", ready)
        await world.stop_kubelet()
        calls = list(world.runtime.calls)
        world.start_kubelet()
        await world.clock.sleep(120)
        assert world.runtime.calls == calls
        after = await world.pod("web")
        assert after["status"] == before["status"]

    tell(story)


def test_pods_deleted_while_no_kubelet_ran_are_ended_afterwards(tell):
    async def story(world):
        await world.create("web")
        await world.until_pod("web", ready)
        await world.stop_kubelet()
        await world.delete("web", grace=0)
        world.start_kubelet()

        async def nothing_left():
            return not await world.runtime.list_sandboxes()

        await world.until(nothing_left, 60)

    tell(story)


def test_restart_counts_survive_a_kubelet_restart(tell):
    async def story(world):
        await world.create("web")
        await world.until_pod("web", lambda pod: main_status(pod)["restartCount"] == 2, 120)
        await world.stop_kubelet()
        world.start_kubelet()
        pod = await world.until_pod("web", lambda pod: main_status(pod)["restartCount"] == 3, 120)
        assert main_status(pod)["restartCount"] == 3

    tell(story, {"main": Behaviour(runs_seconds=1, exit_code=1)})


def test_an_image_that_cannot_be_pulled_is_tried_ever_more_slowly(tell):
    async def story(world):
        world.runtime._registry = {}
        await world.create("web")

        def waits(reason):
            def look(pod):
                return main_status(pod)["state"].get("waiting", {}).get("reason") == reason

            return look

        await world.until_pod("web", waits("ErrImagePull"), 30)
        pod = await world.until_pod("web", waits("ImagePullBackOff"), 30)
        message = main_status(pod)["state"]["waiting"]["message"]
        assert message.startswith('Back-off pulling image "app:1": ErrImagePull: ')
        assert pod["status"]["phase"] == "Pending"
        world.runtime._registry = None
        await world.until_pod("web", ready, 60)

    tell(story)


def test_never_pulling_says_that_the_image_is_not_there(tell):
    async def story(world):
        await world.create("web", main={"imagePullPolicy": "Never"})

        def look(pod):
            return main_status(pod)["state"].get("waiting", {}).get("reason") == "ErrImageNeverPull"

        pod = await world.until_pod("web", look, 30)
        words = 'Container image "app:1" is not present with pull policy of Never'
        assert main_status(pod)["state"]["waiting"]["message"] == words

    tell(story)


def test_a_pod_older_than_its_deadline_fails(tell):
    async def story(world):
        await world.create("job", activeDeadlineSeconds=30, terminationGracePeriodSeconds=1)
        await world.until_pod("job", running)
        pod = await world.until_pod("job", lambda pod: pod["status"].get("phase") == "Failed", 60)
        assert pod["status"]["reason"] == "DeadlineExceeded"
        assert pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"

    tell(story)


def test_a_failed_liveness_probe_restarts_the_container(tell):
    async def story(world):
        probe = {"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 2}
        await world.create("web", main={"livenessProbe": probe}, terminationGracePeriodSeconds=1)
        await world.until_pod("web", ready)
        pod = await world.until_pod("web", lambda pod: main_status(pod)["restartCount"] == 1, 60)
        assert main_status(pod)["lastState"]["terminated"]["exitCode"] == 143
        events = await world.events("web")
        assert ("Killing", "Container main failed liveness probe, will be restarted") in events
        assert ("Unhealthy", "Liveness probe failed: sick") in events

    tell(story, {"main": Behaviour(commands={("check",): Result(1, b"sick")})})


def test_a_readiness_probe_decides_on_readiness_alone(tell):
    async def story(world):
        probe = {"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 1}
        await world.create("web", main={"readinessProbe": probe})
        await world.until_pod("web", running)
        await world.clock.sleep(20)
        pod = await world.pod("web")
        assert not ready(pod)
        words = next(it["message"] for it in pod["status"]["conditions"] if it["type"] == "Ready")
        assert words == "containers with unready status: [main]"
        world.runtime.behaviours["main"] = Behaviour(commands={("check",): Result(0)})
        pod = await world.until_pod("web", ready, 30)
        assert main_status(pod)["restartCount"] == 0

    tell(story, {"main": Behaviour(commands={("check",): Result(1, b"not yet")})})


def test_a_startup_probe_holds_back_readiness_and_the_other_probes(tell):
    async def story(world):
        probe = {"exec": {"command": ["up"]}, "periodSeconds": 2, "failureThreshold": 100}
        alive = {"exec": {"command": ["alive"]}, "periodSeconds": 1, "failureThreshold": 1}
        await world.create("web", main={"startupProbe": probe, "livenessProbe": alive})
        await world.until_pod("web", running)
        await world.clock.sleep(30)
        pod = await world.pod("web")
        assert main_status(pod)["started"] is False
        assert main_status(pod)["restartCount"] == 0
        commands = {("up",): Result(0), ("alive",): Result(0)}
        world.runtime.behaviours["main"] = Behaviour(commands=commands)
        pod = await world.until_pod("web", ready, 30)
        assert main_status(pod)["started"] is True

    tell(story, {"main": Behaviour(commands={("up",): Result(1), ("alive",): Result(1)})})


def test_a_broken_sandbox_is_replaced_and_the_pod_goes_on(tell):
    async def story(world):
        await world.create("web")
        await world.until_pod("web", ready)
        sandbox = (await world.runtime.list_sandboxes())[0]
        world.runtime.break_sandbox(sandbox.id)
        await world.until_pod("web", lambda pod: main_status(pod)["restartCount"] == 1 and ready(pod), 60)
        assert any(reason == "SandboxChanged" for reason, _ in await world.events("web"))

    tell(story)


def test_a_sandbox_that_cannot_be_made_is_tried_again(tell):
    async def story(world):
        world.runtime.sandbox_failures += ["no network", "no network"]
        await world.create("web")
        await world.until_pod("web", ready, 30)
        events = await world.events("web")
        assert ("FailedCreatePodSandBox", "Failed to create pod sandbox: no network") in events

    tell(story)


def test_the_hook_before_the_end_takes_part_of_the_grace_period(tell):
    async def story(world):
        hook = {"preStop": {"exec": {"command": ["bye"]}}}
        await world.create("web", main={"lifecycle": hook}, terminationGracePeriodSeconds=30)
        await world.until_pod("web", ready)
        began = world.clock.monotonic()
        await world.delete("web")
        await world.until_gone("web")
        assert 7 <= world.clock.monotonic() - began < 9

    tell(story, {"main": Behaviour(commands={("bye",): Result(takes_seconds=7)})})


def test_a_failing_hook_after_the_start_kills_the_container(tell):
    async def story(world):
        hook = {"postStart": {"exec": {"command": ["hello"]}}}
        await world.create("web", main={"lifecycle": hook}, terminationGracePeriodSeconds=1)
        await world.until(lambda: _has(world, "FailedPostStartHook"), 60)
        pod = await world.until_pod("web", lambda pod: main_status(pod)["restartCount"] >= 1, 60)
        assert not ready(pod) or main_status(pod)["restartCount"] >= 1

    tell(story, {"main": Behaviour(commands={("hello",): Result(1)})})


async def _has(world, reason):
    return any(each == reason for each, _ in await world.events("web"))


def test_a_changed_image_restarts_the_container(tell):
    async def story(world):
        await world.create("web", terminationGracePeriodSeconds=1)
        await world.until_pod("web", ready)
        patch = {"spec": {"containers": [{"name": "main", "image": "app:2"}]}}
        path = "/api/v1/namespaces/default/pods/web"
        await world.call("PATCH", path, patch, "application/strategic-merge-patch+json")
        pod = await world.until_pod("web", lambda pod: main_status(pod)["restartCount"] == 1 and ready(pod), 60)
        assert main_status(pod)["image"] == "app:2"
        words = "Container main definition changed, will be restarted"
        assert ("Killing", words) in await world.events("web")

    tell(story)


def test_a_sandbox_that_keeps_dying_is_replaced_ever_more_slowly_and_leaves_no_trail(tell):
    async def story(world):
        original = world.runtime.run_sandbox

        async def short_lived(spec):
            sandbox = await original(spec)
            world.runtime.break_sandbox(sandbox)
            return sandbox

        world.runtime.run_sandbox = short_lived
        await world.create("web")
        await world.clock.sleep(60)
        assert world.runtime.calls.count("run_sandbox") < 12
        assert len(await world.runtime.list_sandboxes()) <= 3
        world.runtime.run_sandbox = original
        await world.until_pod("web", ready, 60)

    tell(story)
