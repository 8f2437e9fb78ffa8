"""Plans: what manifests come to, where it goes, what is left over, and how many nodes it takes."""

import runpy
from pathlib import Path

import msgspec
import pytest

from kobune.api.errors import Invalid
from kobune.api.objects import storage
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.observe import Observation
from kobune.controlplane.scheduler.plan import Left, make_plan, plan_json, render_plan
from kobune.controlplane.scheduler.quotas import ResourceQuota
from kobune.controlplane.scheduler.why import Pool
from kobune.controlplane.scheduler.workloads import workloads_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "plan_an_online_shop.py"


def template(cpu="1", **spec):
    container = {"name": "c", "image": "app", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container], **spec}}


def workload(kind, name="web", **spec):
    return {"kind": kind, "metadata": {"name": name}, "spec": {"template": template(), **spec}}


@pytest.mark.parametrize(
    ("manifest", "pods"),
    [
        pytest.param({**template(), "kind": "Pod", "metadata": {"name": "one"}}, 1, id="a-pod"),
        pytest.param(workload("Deployment", replicas=3), 3, id="deployment"),
        pytest.param(workload("StatefulSet"), 1, id="one-replica-is-the-default"),
        pytest.param(workload("ReplicaSet", replicas=0), 0, id="none"),
        pytest.param(workload("Job", parallelism=4, completions=2), 2, id="a-job-runs-no-more-than-it-completes"),
        pytest.param({"kind": "CronJob", "metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": {"template": template()}}}}, 1, id="cron"),
        pytest.param({"kind": "ConfigMap", "metadata": {"name": "c"}}, 0, id="what-makes-no-pods"),
        pytest.param({"kind": "List", "items": [workload("Deployment"), workload("Deployment", "b")]}, 2, id="lists"),
    ],
)  # fmt: skip
def test_pods_of_manifests(manifest, pods):
    assert len(workloads_of([manifest]).pods) == pods


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {}}, 'Deployment "web" has no template', id="part"),
        pytest.param({"kind": "Deployment", "spec": {"template": template()}}, 'Deployment "" has no metadata', id="name"),
        pytest.param(
            workload("Deployment", replicas="three"), 'Deployment "web" cannot be read: ', id="number",
        ),
        pytest.param(
            {**template(cpu="1x"), "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": {"name": "c"}}},
            'Pod "p" cannot be read: ', id="form",
        ),
    ],
)  # fmt: skip
def test_what_pods_cannot_be_made_from_is_named(manifest, message):
    with pytest.raises(Invalid) as refused:
        workloads_of([manifest])
    assert str(refused.value).startswith(message)


def test_requests_default_to_limits_and_priorities_come_from_their_class():
    pod = {
        "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"priorityClassName": "high", "containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]},
    }  # fmt: skip
    priority = {"kind": "PriorityClass", "metadata": {"name": "high"}, "value": 7}
    made = workloads_of([pod, priority]).pods[0]
    assert (made.spec.priority, made.spec.containers[0].resources.requests) == (7, {"cpu": "2"})


def pool(build, size=0, cpu="4", name="pool", **fields):
    return Pool(name, build.node(name, cpu=cpu, **fields), size)


def test_what_does_not_fit_is_left_over_with_the_reason(build):
    plan = make_plan(workloads_of([workload("Deployment", replicas=5)]), [pool(build, 1)])
    assert not plan.fits
    assert len(plan.placements) == 4
    assert [left.message for left in plan.left] == ["0/1 nodes are available: 1 Insufficient cpu."]


def test_the_most_important_pods_are_placed_first(build):
    low = {**template("4"), "kind": "Pod", "metadata": {"name": "low"}}
    high = {**template("4", priority=9), "kind": "Pod", "metadata": {"name": "high"}}
    plan = make_plan(workloads_of([low, high]), [pool(build, 1)])
    assert [placement.pod for placement in plan.placements] == ["default/high"]


def test_daemon_sets_take_their_share_of_every_node_that_they_may_run_on(build):
    taint = [{"key": "gpu", "effect": "NoSchedule"}]
    pools = [pool(build, 2), pool(build, 1, name="gpu", taints=taint)]
    plan = make_plan(workloads_of([workload("DaemonSet", "agent")]), pools)
    assert [(load.name, load.requested.get("cpu", 0), load.pods) for load in plan.nodes] == [
        ("pool-0", 1000, 1), ("pool-1", 1000, 1), ("gpu-0", 0, 0),
    ]  # fmt: skip


def test_a_plan_on_top_of_what_runs_already_changes_nothing_there(build):
    table = build.table(build.node("old"), pods=[build.info(on="old", requests={"cpu": "3"})])
    plan = make_plan(
        workloads_of([workload("Deployment", replicas=2)]),
        [pool(build, 1)],
        existing=Observation(table, Listers(), Nominations(), {}, []),
    )
    assert plan.fits
    assert {load.name for load in plan.nodes} == {"old", "pool-0"}
    assert (len(table), int(table.requested[0, table.row_of["old"]])) == (1, 3000)


@pytest.mark.parametrize(
    ("spec", "nodes"),
    [
        pytest.param({"replicas": 9}, 3, id="as-many-as-the-requests-need"),
        pytest.param({"replicas": 1, "template": template("5")}, None, id="none-when-a-pod-is-larger-than-a-node"),
        pytest.param(
            {"replicas": 3, "template": template("100m", affinity={"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}]}})},
            3, id="and-as-many-as-the-rules-need",
        ),
    ],
)  # fmt: skip
def test_how_many_nodes_of_a_size(build, spec, nodes):
    plan = make_plan(workloads_of([workload("Deployment", **spec)]), [], sizes=[pool(build, name="D4")])
    assert [answer.nodes for answer in plan.sizes] == [nodes]
    assert (plan.cheapest is None) is (nodes is None)


def test_the_online_shop_is_planned():
    """The example: a dozen workloads on three nodes, and the fewest nodes of three sizes."""
    plan = runpy.run_path(str(EXAMPLE))["main"]()
    answer = plan_json(plan)
    assert len(answer["placements"]) + len(answer["left"]) == 24
    assert {left["pod"] for left in answer["left"]} == {"default/nightly-report-0", "default/recommendations-0"}
    assert answer["cheapest"] == "Standard_D8s_v5"
    assert all(0 < node["utilization"]["cpu"] <= 1 for node in answer["nodes"])
    assert render_plan(plan).count("\n") == 1 + len(plan.nodes) + len(plan.left) + len(plan.sizes)


CLUSTER_QUOTA = {
    "kind": "ResourceQuota", "metadata": {"name": "team", "namespace": "default"},
    "spec": {"hard": {"requests.cpu": "5", "pods": "9"}}, "status": {"used": {"requests.cpu": "2", "pods": "2"}},
}  # fmt: skip


def observed(build, *, nodes=3, claims=(), quotas=()):
    """A running cluster."""
    table = build.table(*(build.node(f"node-{number}") for number in range(nodes)))
    return Observation(table, Listers(claims={one.key: one for one in claims}), Nominations(), {}, list(quotas))


def test_a_clusters_quota_keeps_pods_out_whatever_its_nodes(build):
    quota = msgspec.convert(CLUSTER_QUOTA, ResourceQuota)
    shop = workloads_of([workload("Deployment", replicas=4)])  # One cpu each.
    plan = make_plan(shop, [], existing=observed(build, quotas=[quota]), sizes=[pool(build, 0)])
    assert len(plan.placements) == 3
    refused = 'pods "web-3" is forbidden: exceeded quota: team, requested: requests.cpu=1, used: requests.cpu=5, limited: requests.cpu=5'
    assert plan.left == (Left("default/web-3", refused, created=False),)
    assert plan.sizes[0].nodes is not None


def test_a_quota_among_the_manifests_counts_too_and_one_with_scopes_does_not(build):
    scoped = {**CLUSTER_QUOTA, "spec": {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}}
    few = {**CLUSTER_QUOTA, "spec": {"hard": {"count/pods": "1"}}, "status": {}}
    assert make_plan(workloads_of([workload("Deployment", replicas=2), scoped]), [pool(build, 2)]).fits
    assert len(make_plan(workloads_of([workload("Deployment", replicas=2), few]), [pool(build, 2)]).left) == 1


def test_claims_that_the_cluster_has_are_found(build):
    bound = {
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"storageClassName": ""},
        "status": {"phase": "Pending"},
    }
    claim = msgspec.convert(bound, storage.PersistentVolumeClaim)
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    pod = {"kind": "Pod", "metadata": {"name": "db"}, "spec": {"containers": [{"name": "c"}], "volumes": volumes}}
    missing = make_plan(workloads_of([pod]), [], existing=observed(build)).left[0].message
    waiting = make_plan(workloads_of([pod]), [], existing=observed(build, claims=[claim])).left[0].message
    assert 'persistentvolumeclaim "data" not found' in missing
    assert "pod has unbound immediate PersistentVolumeClaims" in waiting
