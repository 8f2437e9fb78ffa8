"""No namespace takes more than its quotas allow."""

import asyncio
import random

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.admission.configuration import read_admission
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from tests.controlplane.apiserver.conftest import Asker

QUOTAS = "/api/v1/namespaces/default/resourcequotas"
PODS = "/api/v1/namespaces/default/pods"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def pod(name, requests=None, limits=None, **spec):
    resources = {field: amounts for field, amounts in (("requests", requests), ("limits", limits)) if amounts}
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "busybox", "resources": resources}], **spec},
    }


@pytest.fixture
def quota(ask):
    """Makes a quota that has been counted."""

    async def make(name="q", used=None, scopes=(), selector=None, **hard):
        hard = {one.replace("__", "."): amount for one, amount in hard.items()}
        spec = {"hard": hard, **({"scopes": list(scopes)} if scopes else {})}
        if selector:
            spec["scopeSelector"] = {"matchExpressions": selector}
        await ask.create(QUOTAS, {"metadata": {"name": name}, "spec": spec})
        status = {"hard": hard, "used": dict.fromkeys(hard, "0") if used is None else used}
        await ask("PATCH", f"{QUOTAS}/{name}/status", {"status": status}, content_type="application/merge-patch+json")

    return make


@pytest.fixture
def used(ask):
    async def read(name="q"):
        return (await ask("GET", f"{QUOTAS}/{name}"))["status"]["used"]

    return read


async def test_what_is_created_is_charged(ask, quota, used):
    await quota(pods="3", cpu="1", requests__memory="1Gi", limits__cpu="4")
    for name in ("a", "b"):
        await ask.create(PODS, pod(name, {"cpu": "250m", "memory": "256Mi"}, {"cpu": "1", "memory": "256Mi"}))
    assert await used() == {"pods": "2", "cpu": "500m", "requests.memory": "512Mi", "limits.cpu": "2"}


async def test_what_exceeds_a_quota_is_refused_in_upstreams_words(ask, quota, used):
    await quota(cpu="1", memory="1Gi")
    await ask.create(PODS, pod("a", {"cpu": "750m", "memory": "512Mi"}))
    answer = await ask("POST", PODS, pod("b", {"cpu": "500m", "memory": "768Mi"}), status=403)
    assert answer["message"] == (
        'pods "b" is forbidden: exceeded quota: q, requested: cpu=500m,memory=768Mi, '
        "used: cpu=750m,memory=512Mi, limited: cpu=1,memory=1Gi"
    )
    assert await used() == {"cpu": "750m", "memory": "512Mi"}


async def test_where_compute_is_limited_every_container_says_what_it_needs(ask, quota):
    await quota(cpu="1", limits__memory="1Gi")
    answer = await ask("POST", PODS, pod("a"), status=403)
    assert answer["message"] == (
        'pods "a" is forbidden: failed quota: q: must specify cpu for: main; limits.memory for: main'
    )


async def test_a_quota_that_was_never_counted_is_not_charged(ask, quota):
    await quota(used={}, configmaps="3")
    answer = await ask("POST", CONFIG_MAPS, {"metadata": {"name": "a"}}, status=403)
    assert answer["message"] == 'configmaps "a" is forbidden: status unknown for quota: q, resources: configmaps'


async def test_objects_of_any_kind_are_counted(ask, quota, used):
    await quota(**{"count/configmaps": "1", "configmaps": "1", "count/leases.coordination.k8s.io": "1"})
    await ask.create(CONFIG_MAPS, {"metadata": {"name": "a"}})
    answer = await ask("POST", CONFIG_MAPS, {"metadata": {"name": "b"}}, status=403)
    assert "requested: configmaps=1,count/configmaps=1, used: configmaps=1,count/configmaps=1" in answer["message"]
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    await ask.create(leases, {"metadata": {"name": "a"}})
    await ask("POST", leases, {"metadata": {"name": "b"}}, status=403)
    assert await used() == {"configmaps": "1", "count/configmaps": "1", "count/leases.coordination.k8s.io": "1"}


async def test_a_dry_run_is_judged_but_not_charged(ask, quota, used):
    await quota(configmaps="1")
    await ask("POST", f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": "a"}}, status=201)
    assert await used() == {"configmaps": "0"}
    await ask.create(CONFIG_MAPS, {"metadata": {"name": "a"}})
    await ask("POST", f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": "b"}}, status=403)


async def test_an_update_is_charged_with_what_it_adds(ask, quota, used):
    await quota(services__nodeports="2", services__loadbalancers="1")
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    service = await ask.create(SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": ports}})
    assert await used() == {"services.nodeports": "0", "services.loadbalancers": "0"}
    service["spec"]["type"] = "LoadBalancer"
    service = await ask("PUT", f"{SERVICES}/s", service)
    assert await used() == {"services.nodeports": "2", "services.loadbalancers": "1"}
    service["spec"]["ports"].append({"name": "c", "port": 82})
    answer = await ask("PUT", f"{SERVICES}/s", service, status=403)
    assert (
        "requested: services.nodeports=1, used: services.nodeports=2, limited: services.nodeports=2"
        in (answer["message"])
    )


async def test_claims_are_charged_by_storage_class_too(ask, quota, used):
    by_class = {"fast.storageclass.storage.k8s.io/requests.storage": "10Gi"}
    await quota(**{"requests.storage": "100Gi", "persistentvolumeclaims": "5", **by_class})

    def claim(name, sort, size):
        resources = {"requests": {"storage": size}}
        return {
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": sort, "resources": resources},
        }

    await ask.create(CLAIMS, claim("a", "fast", "8Gi"))
    await ask.create(CLAIMS, claim("b", "slow", "50Gi"))
    await ask("POST", CLAIMS, claim("c", "fast", "3Gi"), status=403)
    assert await used() == {
        "requests.storage": "58Gi", "persistentvolumeclaims": "2",
        "fast.storageclass.storage.k8s.io/requests.storage": "8Gi",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("BestEffort", pod("a"), pod("b", {"cpu": "1"})),
        ("NotBestEffort", pod("a", {"cpu": "1"}), pod("b")),
        ("Terminating", pod("a", activeDeadlineSeconds=5), pod("b")),
        ("NotTerminating", pod("a"), pod("b", activeDeadlineSeconds=5)),
    ],
)
async def test_a_scope_narrows_a_quota(ask, quota, used, scope, inside, outside):
    await quota(scopes=[scope], pods="5")
    await ask.create(PODS, inside)
    await ask.create(PODS, outside)
    assert await used() == {"pods": "1"}


async def test_a_quota_of_a_priority_class(ask, quota, used):
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await ask.create(path, {"metadata": {"name": "high"}, "value": 1000})
    await quota(selector=[{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}], pods="1")
    await ask.create(PODS, pod("a"))
    await ask.create(PODS, pod("b", priorityClassName="high"))
    await ask("POST", PODS, pod("c", priorityClassName="high"), status=403)
    assert await used() == {"pods": "1"}


async def test_many_at_once_never_take_more_than_there_is(ask, quota, used):
    await quota(configmaps="10")
    await quota(name="other", **{"count/configmaps": "12"})
    answers = await asyncio.gather(
        *(ask.raw("POST", CONFIG_MAPS, {"metadata": {"name": f"c{number}"}}) for number in range(40))
    )
    assert sorted(answer.status for answer in answers) == [201] * 10 + [403] * 30
    assert await used() == {"configmaps": "10"}
    assert await used("other") == {"count/configmaps": "10"}


async def test_a_writer_that_goes_away_does_not_hold_up_the_others(ask, quota, used):
    await quota(configmaps="10")
    tasks = [asyncio.create_task(ask.create(CONFIG_MAPS, {"metadata": {"name": f"c{number}"}})) for number in range(6)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
    assert sum(isinstance(one, dict) for one in outcomes) == 5


LIMITED = {
    "apiVersion": "apiserver.config.k8s.io/v1",
    "kind": "ResourceQuotaConfiguration",
    "limitedResources": [
        {"resource": "persistentvolumeclaims", "matchContains": [".storageclass.storage.k8s.io/requests.storage"]},
        {"resource": "pods",
         "matchScopes": [{"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}]},
    ],
}  # fmt: skip


async def test_what_is_limited_is_had_only_where_a_quota_covers_it():
    plugins = [{"name": "ResourceQuota", "configuration": LIMITED}]
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
    config = ApiServerConfig(
        admission=read_admission(document, dict.get),
        disabled_admission_plugins=("ServiceAccount",),
    )
    claim = {
        "metadata": {"name": "a"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }  # fmt: skip
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        ask = Asker(server)
        answer = await ask("POST", CLAIMS, claim, status=403)
        name = "gold.storageclass.storage.k8s.io/requests.storage"
        assert answer["message"].endswith(f"insufficient quota to consume: {name}")
        await ask.create(CLAIMS, {**claim, "spec": {**claim["spec"], "storageClassName": ""}})
        hard = {name: "2Gi"}
        await ask.create(QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        status = {"status": {"hard": hard, "used": {name: "0"}}}
        await ask("PATCH", f"{QUOTAS}/q/status", status, content_type="application/merge-patch+json")
        await ask.create(CLAIMS, {**claim, "metadata": {"name": "b"}})
        await ask.create(PODS, pod("plain"))
        answer = await ask("POST", PODS, pod("high", priorityClassName="system-node-critical"), status=500)
        assert answer["message"].endswith(
            "insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]"
        )
        selector = {"matchExpressions": LIMITED["limitedResources"][1]["matchScopes"]}
        await ask.create(
            QUOTAS, {"metadata": {"name": "p"}, "spec": {"hard": {"pods": "1"}, "scopeSelector": selector}}
        )
        status = {"status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}}
        await ask("PATCH", f"{QUOTAS}/p/status", status, content_type="application/merge-patch+json")
        await ask.create(PODS, pod("high", priorityClassName="system-node-critical"))
