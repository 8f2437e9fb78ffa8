import random

import pytest

from kobune.api.errors import ServiceUnavailable

ONLY = "job-controller"


def job(name="sum", restart="Never", **spec):
    template = {"spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "i"}]}}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


async def ended(world, name="sum", seconds=3600):
    async def check():
        found = await world.get("jobs", name)
        conditions = {each["type"]: each for each in found.get("status", {}).get("conditions", ())}
        return found if {"Complete", "Failed"} & set(conditions) else None

    found = await world.until(check, seconds)
    return found["status"]


def conditions(status):
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in status["conditions"]}


def test_a_job_runs_its_completions_at_most_so_many_at_once_and_counts_each(tell):
    async def story(world):
        world.finish_after = 5.0
        await world.create("jobs", job(completions=7, parallelism=3))
        most = 0

        async def check():
            nonlocal most
            pods = await world.list("pods")
            most = max(most, sum(pod["status"].get("phase") not in ("Succeeded", "Failed") for pod in pods))
            return any(
                each["type"] == "Complete"
                for each in (await world.get("jobs", "sum")).get("status", {}).get("conditions", ())
            )

        await world.until(check, 600)
        return most, (await world.get("jobs", "sum"))["status"], await world.list("pods"), await world.list("events")

    most, status, pods, events = tell(story, ONLY)
    assert most == 3
    assert len(pods) == 7
    assert status["succeeded"] == 7
    assert "active" not in status
    assert status["uncountedTerminatedPods"] == {}
    assert conditions(status) == {
        "SuccessCriteriaMet": ("True", "CompletionsReached", "Reached expected number of succeeded pods"),
        "Complete": ("True", "CompletionsReached", "Reached expected number of succeeded pods"),
    }
    assert status["completionTime"]
    assert all("finalizers" not in pod["metadata"] for pod in pods)
    assert "Completed" in {event["reason"] for event in events}


def test_failures_are_retried_ever_more_slowly_up_to_the_limit(tell):
    async def story(world):
        world.finish_after = 1.0
        world.outcome = lambda pod: "Failed"
        await world.create("jobs", job(backoffLimit=3))
        status = await ended(world)
        return status, len(await world.list("pods")), world.clock.monotonic()

    status, pods, seconds = tell(story, ONLY)
    assert pods == status["failed"] == 4
    assert conditions(status)["Failed"] == (
        "True",
        "BackoffLimitExceeded",
        "Job has reached the specified backoff limit",
    )
    assert conditions(status)["FailureTarget"][1] == "BackoffLimitExceeded"
    assert 10 + 20 + 40 <= seconds <= 10 + 20 + 40 + 15


def test_an_indexed_job_gives_every_pod_its_index(tell):
    async def story(world):
        world.finish_after = 1.0
        await world.create("jobs", job(completions=4, parallelism=4, completionMode="Indexed"))
        return await ended(world), await world.list("pods")

    status, pods = tell(story, ONLY)
    assert status["completedIndexes"] == "0-3"
    by_index = {pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]: pod for pod in pods}
    assert sorted(by_index) == ["0", "1", "2", "3"]
    pod = by_index["2"]
    assert pod["spec"]["hostname"] == "sum-2"
    assert pod["metadata"]["name"].startswith("sum-2-")
    assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"


def test_each_index_has_its_own_limit(tell):
    async def story(world):
        world.finish_after = 1.0
        world.outcome = lambda pod: (
            "Failed" if pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "1" else "Succeeded"
        )
        spec = job(completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=1, backoffLimit=100)
        await world.create("jobs", spec)
        return await ended(world), await world.list("pods")

    status, pods = tell(story, ONLY)
    assert status["completedIndexes"] == "0,2"
    assert status["failedIndexes"] == "1"
    assert status["failed"] == 2
    assert len(pods) == 4
    assert conditions(status)["Failed"][1:] == ("FailedIndexes", "Job has failed indexes")


@pytest.mark.parametrize(
    ("action", "reason", "pods"), [("FailJob", "PodFailurePolicy", 1), ("Count", "BackoffLimitExceeded", 2)]
)
def test_the_pod_failure_policy_decides(tell, action, reason, pods):
    async def story(world):
        world.finish_after = 1.0
        world.outcome = lambda pod: ("Failed", 42)
        rules = [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]
        await world.create("jobs", job(backoffLimit=1, podFailurePolicy={"rules": rules}))
        return await ended(world), len(await world.list("pods"))

    status, count = tell(story, ONLY)
    assert count == pods
    assert conditions(status)["Failed"][1] == reason
    if action == "FailJob":
        message = conditions(status)["Failed"][2]
        assert message.startswith("Container c for pod default/sum-")
        assert message.endswith("failed with exit code 42 matching FailJob rule at index 0")


def test_ignored_failures_do_not_count(tell):
    async def story(world):
        world.finish_after = 1.0
        tries = []

        def outcome(pod):
            tries.append(pod["metadata"]["name"])
            return ("Failed", 7) if len(tries) < 4 else "Succeeded"

        world.outcome = outcome
        rules = [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}]
        await world.create("jobs", job(backoffLimit=0, podFailurePolicy={"rules": rules}))
        return await ended(world)

    status = tell(story, ONLY)
    assert status["succeeded"] == 1
    assert "failed" not in status


def test_a_success_policy_ends_the_job_early(tell):
    async def story(world):
        world.finish_after = 1.0
        world.outcome = lambda pod: (
            "Succeeded" if pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0" else "Failed"
        )
        rules = [{"succeededIndexes": "0"}]
        spec = job(completions=3, parallelism=3, completionMode="Indexed", successPolicy={"rules": rules})
        await world.create("jobs", spec)
        return await ended(world)

    status = tell(story, ONLY)
    assert conditions(status)["Complete"] == ("True", "SuccessPolicy", "Matched rules at index 0")


def test_a_deadline_ends_the_job_and_its_pods(tell):
    async def story(world):
        await world.create("jobs", job(activeDeadlineSeconds=60))
        status = await ended(world)
        await world.sleep(5)
        return status, await world.list("pods"), world.clock.monotonic()

    status, pods, seconds = tell(story, ONLY)
    assert conditions(status)["Failed"][1:] == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert pods == []
    assert 60 <= seconds <= 75


def test_suspending_removes_the_pods_and_resuming_begins_anew(tell):
    async def story(world):
        await world.create("jobs", job(parallelism=2, completions=2))
        await world.sleep(5)
        await world.patch("jobs", "sum", {"spec": {"suspend": True}})
        await world.sleep(10)
        suspended = (await world.get("jobs", "sum"))["status"], len(await world.list("pods"))
        world.finish_after = 1.0
        await world.patch("jobs", "sum", {"spec": {"suspend": False}})
        return suspended, await ended(world)

    (status, pods), after = tell(story, ONLY)
    assert pods == 0
    assert conditions(status)["Suspended"] == ("True", "JobSuspended", "Job suspended")
    assert "startTime" not in status
    assert conditions(after)["Suspended"] == ("False", "JobResumed", "Job resumed")
    assert after["succeeded"] == 2
    assert "failed" not in after


def test_pods_of_a_deleted_job_are_let_go(tell):
    async def story(world):
        await world.create("jobs", job(parallelism=3, completions=3))
        await world.sleep(5)
        await world.delete("jobs", "sum", propagationPolicy="Background")
        await world.sleep(10)
        return await world.list("pods")

    assert tell(story, "job-controller,garbage-collector-controller") == []


def test_a_job_managed_by_another_is_left_alone(tell):
    async def story(world):
        await world.create("jobs", job(managedBy="example.com/other"))
        await world.sleep(10)
        return await world.list("pods"), await world.get("jobs", "sum")

    pods, found = tell(story, ONLY)
    assert pods == []
    assert not found.get("status")


@pytest.mark.parametrize("seed", range(6))
def test_completions_are_counted_exactly_once_whatever_fails(tell, seed):
    """Requests fail at random, before or after they took effect."""

    def faults(world):
        rng = random.Random(seed)

        def fault(method, path):
            if method == "GET" or rng.random() > 0.15:
                return None
            error = ServiceUnavailable("lost")
            return error if rng.random() < 0.5 else (error,)

        return fault

    async def story(world):
        rng = random.Random(seed)
        world.finish_after = 2.0
        world.outcome = lambda pod: "Failed" if rng.random() < 0.2 else "Succeeded"
        await world.create("jobs", job(completions=12, parallelism=4, backoffLimit=100))
        status = await ended(world, seconds=36000)
        await world.sleep(30)
        pods = await world.list("pods")
        return status, pods

    status, pods = tell(story, ONLY, faults=faults)
    phases = [pod["status"]["phase"] for pod in pods]
    assert status["succeeded"] == phases.count("Succeeded")
    assert status["succeeded"] >= 12
    assert status.get("failed", 0) == phases.count("Failed")
