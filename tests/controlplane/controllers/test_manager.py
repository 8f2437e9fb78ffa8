import asyncio
import contextlib
import random

import pytest

from kobune.api.errors import FieldError, Forbidden, NotFound
from kobune.client.client import Client
from kobune.client.leases import LeadershipLost
from kobune.controlplane.controllers.all import CONTROLLERS
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.controllers.manager import ControllerManager, selected
from kobune.host.pki import new_signing_key


def workload(kind, name, replicas):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template, "replicas": replicas}
    return {"metadata": {"name": name}, "spec": spec | ({"serviceName": name} if kind == "statefulsets" else {})}


async def up(world, kind, name, replicas, seconds=300):
    async def check():
        found = await world.get(kind, name)
        status = found.get("status", {})
        counts = [status.get(field, 0) for field in ("replicas", "readyReplicas", "updatedReplicas")]
        return counts == [replicas] * 3 and status.get("observedGeneration") == found["metadata"]["generation"]

    await world.until(check, seconds)


def test_names_are_upstreams_and_switch_controllers_on_and_off():
    names = [controller.name for controller in selected(CONTROLLERS, "*")]
    assert "deployment-controller" in names
    assert [each.name for each in selected(CONTROLLERS, "job-controller")] == ["job-controller"]
    assert [each.name for each in selected(CONTROLLERS, "podgc")] == ["pod-garbage-collector-controller"]
    assert "pod-garbage-collector-controller" not in {each.name for each in selected(CONTROLLERS, "*,-podgc")}
    assert "job-controller" not in {each.name for each in selected(CONTROLLERS, "*,-job-controller")}
    with pytest.raises(ValueError, match="'jobs' is not in the list of known controllers"):
        selected(CONTROLLERS, "*,jobs")


def test_all_controllers_together_bring_up_a_namespace_of_everything_and_take_it_down(tell):
    async def story(world):
        await world.create("namespaces", {"metadata": {"name": "all"}}, "")

        async def furnished():
            return await world.find("configmaps", "kube-root-ca.crt", "all")

        await world.until(furnished)
        await world.create("deployments", workload("deployments", "web", 3), "all")
        await world.create("statefulsets", workload("statefulsets", "db", 2), "all")
        ports = [{"port": 80}]
        await world.create(
            "services", {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}, "all"
        )
        await world.sleep(30)
        pods = len(await world.list("pods", "all"))
        endpoints = sum(len(each["endpoints"]) for each in await world.list("endpointslices", "all"))
        metrics = world.manager.metrics()
        await world.delete("namespaces", "all", "")

        async def gone():
            return await world.find("namespaces", "all", "") is None

        await world.until(gone)
        return pods, endpoints, metrics, len(await world.list("pods", ""))

    pods, endpoints, metrics, left = tell(story, "*", settings=Settings(root_ca=b"PEM"))
    assert (pods, endpoints, left) == (5, 3, 0)
    assert 'kobune_reconcile_total{controller="deployment-controller",outcome="success"}' in metrics
    for line in (
        'workqueue_depth{name="job-controller"} 0',
        'workqueue_adds_total{name="job-controller"} 0',
        'workqueue_unfinished_work_seconds{name="statefulset-controller"} 0',
        'workqueue_work_duration_seconds_bucket{name="deployment-controller",le="+Inf"}',
        "# TYPE workqueue_queue_duration_seconds histogram",
    ):
        assert line in metrics


def test_an_idle_cluster_asks_for_nothing_but_discovery(tell):
    async def story(world):
        await world.create("deployments", workload("deployments", "web", 3))
        await up(world, "deployments", "web", 3)
        await world.sleep(60)
        before = len(world.transport.log)
        await world.sleep(3600)
        return {path for _, path in world.transport.log[before:]}

    assert tell(story, "*") <= {"/api", "/apis"}


def test_an_object_that_went_while_it_was_looked_at_is_let_go_without_another_try(tell, caplog):
    def faults(_world):
        gone = NotFound('replicasets.apps "web" not found', group="apps", resource="replicasets", name="web")
        return lambda method, path: gone if path.endswith("/replicasets/web/status") else None

    async def story(world):
        await world.create("replicasets", workload("replicasets", "web", 0))
        await world.sleep(60)
        return sum(path.endswith("/web/status") for _, path in world.transport.log), world.manager.metrics()

    writes, metrics = tell(story, "replicaset-controller", faults=faults)
    assert writes == 1
    assert 'kobune_reconcile_total{controller="replicaset-controller",outcome="gone"} 1' in metrics
    assert not caplog.records


def test_what_a_namespace_that_goes_takes_in_no_more_is_not_tried_again(tell, caplog):
    def faults(_world):
        terminating = FieldError("metadata.namespace", "NamespaceTerminating", "namespace default is being terminated")
        refusal = Forbidden("unable to create new content in namespace default", terminating)
        return lambda method, path: refusal if method == "POST" and path.endswith(("/replicasets", "/pods")) else None

    async def story(world):
        await world.create("deployments", workload("deployments", "web", 3))
        await world.create("jobs", {"metadata": {"name": "sum"}, "spec": {"completions": 8, "parallelism": 2, "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})  # fmt: skip
        await world.sleep(60)
        return sum(
            method == "POST" and path.endswith(("/replicasets", "/pods")) for method, path in world.transport.log
        )

    attempts = tell(story, "deployment-controller,job-controller", faults=faults)
    assert 2 <= attempts <= 6
    assert not caplog.records


def test_another_object_that_is_not_there_is_a_failure_and_tried_again(tell, caplog):
    def faults(_world):
        gone = NotFound('namespaces "default" not found', resource="namespaces", name="default")
        return lambda method, path: gone if path.endswith("/replicasets/web/status") else None

    async def story(world):
        await world.create("replicasets", workload("replicasets", "web", 0))
        await world.sleep(1)
        return sum(path.endswith("/web/status") for _, path in world.transport.log)

    assert tell(story, "replicaset-controller", faults=faults) > 3
    assert {record.getMessage() for record in caplog.records} == {"reconcile failed"}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_requests_fail_it_converges(tell, seed):
    """Before they took effect or after: no pod too many remains, and no two pods of one ordinal."""

    def faults(world):
        return world.unreliable(random.Random(seed), 0.2)

    async def story(world):
        rng = random.Random(seed)
        await world.create("deployments", workload("deployments", "web", 4))
        await world.create("statefulsets", workload("statefulsets", "db", 3))
        for _ in range(6):
            await world.sleep(rng.random() * 5)
            kind, name = rng.choice((("deployments", "web"), ("statefulsets", "db")))
            await world.patch(kind, name, {"spec": {"replicas": rng.randint(1, 6)}})
            container = {"name": "c", "image": rng.choice(("one", "two", "three"))}
            await world.patch(kind, name, {"spec": {"template": {"spec": {"containers": [container]}}}})
        for kind, name in (("deployments", "web"), ("statefulsets", "db")):
            await world.patch(kind, name, {"spec": {"replicas": 3}})
            await up(world, kind, name, 3, seconds=3000)
        await world.sleep(60)
        pods = await world.list("pods")
        return sorted(pod["metadata"]["labels"]["app"] for pod in pods)

    assert tell(story, "*", faults=faults) == ["db"] * 3 + ["web"] * 3


@pytest.mark.parametrize("seed", range(4))
def test_a_manager_killed_at_any_moment_leaves_what_its_successor_completes(tell, seed):
    async def story(world):
        rng = random.Random(seed)
        await world.create("deployments", workload("deployments", "web", 5))
        await world.create("jobs", {"metadata": {"name": "sum"}, "spec": {"completions": 8, "parallelism": 2, "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})  # fmt: skip
        world.finish_after = None
        most = 0
        for _ in range(12):
            manager = ControllerManager(
                Client(world.transport), clock=world.clock, rng=rng, controllers="*,-serviceaccount-controller"
            )
            running = asyncio.ensure_future(manager.run())
            await world.sleep(0.02 + rng.random() * 2)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            for pod in await world.list("pods"):
                if pod["metadata"]["labels"].get("job-name") and pod["status"].get("phase") == "Running":
                    await world.patch(
                        "pods", pod["metadata"]["name"], {"status": {"phase": "Succeeded"}}, subresource="status"
                    )
            web = [pod for pod in await world.list("pods") if pod["metadata"]["labels"].get("app") == "web"]
            most = max(most, len(web))
        manager = ControllerManager(Client(world.transport), clock=world.clock, rng=rng)
        running = asyncio.ensure_future(manager.run())
        world.finish_after = 1.0
        await up(world, "deployments", "web", 5)

        async def done():
            for pod in await world.list("pods"):
                if pod["metadata"]["labels"].get("job-name") and pod["status"].get("phase") == "Running":
                    await world.patch(
                        "pods", pod["metadata"]["name"], {"status": {"phase": "Succeeded"}}, subresource="status"
                    )
            return "completionTime" in (await world.get("jobs", "sum")).get("status", {})

        await world.until(done)
        status = (await world.get("jobs", "sum"))["status"]
        finished = [pod for pod in await world.list("pods") if pod["status"].get("phase") == "Succeeded"]
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return most, status["succeeded"], len(finished)

    most, succeeded, finished = tell(story, "serviceaccount-controller")
    assert most <= 5
    assert succeeded == finished
    assert succeeded >= 8


def test_of_two_managers_one_acts_and_the_other_takes_over(tell):
    async def story(world):
        managers = [
            ControllerManager(
                Client(world.transport), clock=world.clock, rng=random.Random(number), leader_elect=True,
                identity=f"m{number}", controllers="replicaset-controller",
            )
            for number in range(2)
        ]  # fmt: skip
        first = asyncio.ensure_future(managers[0].run())
        await world.sleep(1)
        second = asyncio.ensure_future(managers[1].run())
        await world.sleep(30)
        acting = [manager.started.is_set() for manager in managers]
        spec = {"holderIdentity": "thief"}
        await world.patch("leases", "kube-controller-manager", {"spec": spec}, "kube-system")
        with pytest.raises(LeadershipLost):
            await first
        await world.sleep(40)
        after = managers[1].started.is_set()
        second.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await second
        return acting, after

    assert tell(story, "serviceaccount-controller") == ([True, False], True)


def test_beside_all_others_the_garbage_collector_sees_every_kind_whole(tell):
    """Some controllers watch a part of a kind only, by name or namespace."""

    async def story(world):
        owner = await world.create("secrets", {"metadata": {"name": "owner"}})
        reference = {"apiVersion": "v1", "kind": "Secret", "name": "owner", "uid": owner["metadata"]["uid"]}
        for plural in ("configmaps", "serviceaccounts", "leases", "pods"):
            spec = {"spec": {"containers": [{"name": "c", "image": "i"}]}} if plural == "pods" else {}
            await world.create(plural, {"metadata": {"name": "child", "ownerReferences": [reference]}, **spec})
        await world.sleep(5)
        await world.delete("secrets", "owner")
        await world.sleep(10)
        return [
            plural
            for plural in ("configmaps", "serviceaccounts", "leases", "pods")
            if await world.find(plural, "child") is not None
        ]

    assert tell(story, "*", settings=Settings(root_ca=b"PEM")) == []


def everything():
    """One of each family that controllers keep, as (plural, manifest)."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    labels = {"matchLabels": {"app": "web"}}
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    yield "deployments", workload("deployments", "web", 3)
    yield "statefulsets", workload("statefulsets", "db", 2)
    yield "jobs", {"metadata": {"name": "sum"}, "spec": {"completions": 4, "parallelism": 2, "template": template}}
    yield (
        "cronjobs",
        {
            "metadata": {"name": "tick"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}},
        },
    )
    yield "services", {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
    yield "poddisruptionbudgets", {"metadata": {"name": "web"}, "spec": {"maxUnavailable": 1, "selector": labels}}
    yield (
        "resourcequotas",
        {"metadata": {"name": "q"}, "spec": {"hard": {"count/deployments.apps": "5", "services": "5"}}},
    )
    yield "persistentvolumeclaims", {"metadata": {"name": "data"}, "spec": claim}
    yield (
        "secrets",
        {
            "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "default"}},
            "type": "kubernetes.io/service-account-token",
        },
    )


@pytest.mark.parametrize("seed", range(2))
def test_every_family_of_controllers_gets_over_refusals_conflicts_and_lost_answers(tell, seed):
    """Of reads as of writes; and the namespace goes with all that is in it."""
    settings = Settings(root_ca=b"PEM", service_account_key=new_signing_key())

    async def story(world):
        world.finish_after = None
        volume = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
        await world.create("persistentvolumes", {"metadata": {"name": "v"}, "spec": volume}, "")
        await world.create("namespaces", {"metadata": {"name": "all"}}, "")
        for plural, manifest in everything():
            await world.create(plural, manifest, "all")

        async def jobs_pods_end():
            for pod in await world.list("pods", "all"):
                if "job-name" in pod["metadata"]["labels"] and pod["status"].get("phase") == "Running":
                    await world.finish(world.key("all", pod["metadata"]["name"]))

        async def settled():
            await jobs_pods_end()
            status = {
                plural: (await world.get(plural, manifest["metadata"]["name"], "all")).get("status", {})
                for plural, manifest in everything()
            }
            slices = [
                each
                for each in await world.list("endpointslices", "all")
                if each["metadata"]["labels"].get("kubernetes.io/service-name") == "web"
            ]
            token = await world.get("secrets", "token", "all")
            missing = {
                "deployment": status["deployments"].get("availableReplicas") != 3,
                "stateful set": status["statefulsets"].get("readyReplicas") != 2,
                "job": status["jobs"].get("succeeded") != 4 or "completionTime" not in status["jobs"],
                "cron job": "lastSuccessfulTime" not in status["cronjobs"],
                "budget": status["poddisruptionbudgets"].get("disruptionsAllowed") != 1,
                "quota": status["resourcequotas"].get("used") != {"count/deployments.apps": "1", "services": "1"},
                "claim": status["persistentvolumeclaims"].get("phase") != "Bound",
                "slices": [len(each.get("endpoints") or ()) for each in slices] != [3],
                "token": "token" not in (token.get("data") or {}),
                "account": await world.find("serviceaccounts", "default", "all") is None,
                "root CA": await world.find("configmaps", "kube-root-ca.crt", "all") is None,
            }
            left = [name for name, is_missing in missing.items() if is_missing]
            return not left

        await world.until(settled, 1200)
        await world.delete("namespaces", "all", "")

        async def gone():
            return await world.find("namespaces", "all", "") is None

        await world.until(gone, 1200)
        return [len(await world.list(plural, "")) for plural in ("pods", "jobs", "replicasets", "endpointslices")]

    def faults(world):
        return world.unreliable(random.Random(seed), 0.15, reads=0.1)

    left = tell(story, "*", settings=settings, faults=faults)
    assert left[:3] == [0, 0, 0]
