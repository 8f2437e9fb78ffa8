"""Workloads and PodGroups of scheduling.k8s.io/v1alpha2. Source: upstream's declared validation, admission and strategies."""

import random

import pytest

from kobune.api.clock import SystemClock
from kobune.api.features import GENERIC_WORKLOAD
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from tests.controlplane.apiserver.conftest import Asker

ROOT = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default"
GROUPS, WORKLOADS, PODS = f"{ROOT}/podgroups", f"{ROOT}/workloads", "/api/v1/namespaces/default/pods"
GANG = {"gang": {"minCount": 2}}


@pytest.fixture
async def ask():
    config = ApiServerConfig(
        disabled_admission_plugins=("ServiceAccount",),
        feature_gates=frozenset({GENERIC_WORKLOAD}),
        runtime_config={"scheduling.k8s.io/v1alpha2": True},
    )
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        yield Asker(server)


def group(name="g", **spec):
    return {"metadata": {"name": name}, "spec": spec}


def workload(*templates, **spec):
    return {"metadata": {"name": "w"}, "spec": {"podGroupTemplates": list(templates), **spec}}


async def test_a_group_is_held_by_a_finalizer_and_shown_in_upstreams_columns(ask):
    made = await ask.create(GROUPS, group(schedulingPolicy=GANG, priority=5, resourceClaims=[{"name": "gpu"}]))
    assert made["metadata"]["finalizers"] == ["scheduling.k8s.io/podgroup-protection"]
    assert made["spec"] == {"schedulingPolicy": GANG}  # The rest hangs on other gates.
    table = await ask.raw("GET", GROUPS, accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    assert b'["g","Gang","<none>","Pending"' in table.body


@pytest.mark.parametrize("spec, messages", [
    ({}, ["spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"]),
    ({"schedulingPolicy": {"basic": {}, **GANG}},
     ["spec.schedulingPolicy: Invalid value: \"{basic, gang}\": must specify exactly one of: `basic`, `gang`"]),
    ({"schedulingPolicy": {"gang": {"minCount": 0}}}, ["spec.schedulingPolicy.gang.minCount: Required value"]),
    ({"schedulingPolicy": {"gang": {"minCount": -1}}},
     ["spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1"]),
    ({"schedulingPolicy": GANG, "podGroupTemplateRef": {}},
     ["spec.podGroupTemplateRef: Invalid value: \"\": must specify one of: `workload`"]),
])  # fmt: skip
async def test_groups_that_cannot_be_are_refused(ask, spec, messages):
    answer = await ask("POST", GROUPS, group(**spec), status=422)
    for message in messages:
        assert message in answer["message"]


async def test_workloads_that_cannot_be_are_refused(ask):
    answer = await ask("POST", WORKLOADS, workload(), status=422)
    assert "spec.podGroupTemplates: Required value" in answer["message"]
    many = [{"name": f"t{number}", "schedulingPolicy": GANG} for number in range(9)]
    answer = await ask("POST", WORKLOADS, workload(*many), status=422)
    assert "spec.podGroupTemplates: Too many: 9: must have at most 8 items" in answer["message"]
    twice = {"name": "t", "schedulingPolicy": GANG}
    answer = await ask("POST", WORKLOADS, workload(twice, twice, controllerRef={"name": "j"}), status=422)
    fields = {cause["field"] for cause in answer["details"]["causes"]}
    assert fields == {"spec.podGroupTemplates[1]", "spec.controllerRef.kind"}


async def test_what_a_group_and_a_workload_say_stays(ask):
    await ask.create(WORKLOADS, workload({"name": "t", "schedulingPolicy": GANG}))
    await ask.create(GROUPS, group(schedulingPolicy=GANG))
    merge = "application/merge-patch+json"
    change = {"spec": {"schedulingPolicy": {"gang": {"minCount": 3}}}}
    answer = await ask("PATCH", f"{GROUPS}/g", change, status=422, content_type=merge)
    assert "spec.schedulingPolicy: Invalid value: null: field is immutable" in answer["message"]
    change = {"spec": {"podGroupTemplates": [{"name": "t", "schedulingPolicy": {"basic": {}}}]}}
    answer = await ask("PATCH", f"{WORKLOADS}/w", change, status=422, content_type=merge)
    assert "spec.podGroupTemplates: Invalid value: null: field is immutable" in answer["message"]


async def test_a_group_names_a_template_that_there_is(ask):
    reference = {"workload": {"workloadName": "w", "podGroupTemplateName": "x"}}
    made = group(schedulingPolicy=GANG, podGroupTemplateRef=reference)
    answer = await ask("POST", GROUPS, made, status=403)
    assert answer["message"] == (
        'podgroups.scheduling.k8s.io "g" is forbidden: PodGroup rejected: Workload "w" not found'
    )
    await ask.create(WORKLOADS, workload({"name": "t", "schedulingPolicy": GANG}))
    answer = await ask("POST", GROUPS, made, status=403)
    assert answer["message"].endswith('PodGroup rejected: PodGroupTemplate "x" not found in Workload "w"')
    reference["workload"]["podGroupTemplateName"] = "t"
    await ask.create(GROUPS, made)


async def test_pods_keep_their_group_while_the_gate_is_on(ask):
    spec = {"containers": [{"name": "c", "image": "app"}], "schedulingGroup": {"podGroupName": "g"}}
    made = await ask.create(PODS, {"metadata": {"name": "p"}, "spec": spec})
    assert made["spec"]["schedulingGroup"] == {"podGroupName": "g"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    deployment = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    path = "/apis/apps/v1/namespaces/default/deployments"
    made = await ask.create(path, deployment)
    assert made["spec"]["template"]["spec"]["schedulingGroup"] == {"podGroupName": "g"}
    async with ApiServer(ApiServerConfig(), MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        made = await Asker(server).create(path, deployment)
        assert "schedulingGroup" not in made["spec"]["template"]["spec"]


async def test_the_scheduler_may_write_the_groups_condition(ask):
    rules = (await ask("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:kube-scheduler"))["rules"]
    assert {
        "apiGroups": ["scheduling.k8s.io"],
        "resources": ["podgroups/status"],
        "verbs": ["patch", "update"],
    } in rules


@pytest.mark.parametrize("named", [True, False])
async def test_a_job_that_is_a_gang_keeps_its_parallelism(ask, named):
    path = "/apis/batch/v1/namespaces/default/jobs"
    pods = {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}
    if named:
        pods["schedulingGroup"] = {"podGroupName": "g"}
    job = await ask.create(path, {"metadata": {"name": "j"}, "spec": {"parallelism": 2, "template": {"spec": pods}}})
    more, merge = {"spec": {"parallelism": 3}}, "application/merge-patch+json"
    await ask("PATCH", f"{path}/j", more, content_type=merge)
    made = group(schedulingPolicy=GANG)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": job["metadata"]["uid"], "controller": True}
    made["metadata"]["ownerReferences"] = [] if named else [owner]
    await ask.create(GROUPS, made)
    await ask("PATCH", f"{path}/j", {"spec": {"suspend": True}}, content_type=merge)
    answer = await ask("PATCH", f"{path}/j", {"spec": {"parallelism": 4}}, content_type=merge, status=403)
    assert answer["message"] == (
        'jobs.batch "j" is forbidden: cannot change parallelism for a Job referencing gang-scheduled PodGroup "g"'
    )
