"""What controllers plan, as files to read: `plans/CONTROLLER/CASE.input.yaml` is the world, `CASE.output.yaml` the plan.

A new case is an input file. `pytest tests/controlplane/controllers/test_golden_plans.py --rewrite-golden` writes the outputs
anew; whoever changes a plan reads the difference.
"""

from pathlib import Path

import msgspec
import orjson
import pytest
import yaml

from kobune.api.objects.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from kobune.api.objects.batch import CronJob, Job
from kobune.api.objects.core import Node, Service
from kobune.api.objects.discovery import EndpointSlice
from kobune.api.objects.lean import Pod
from kobune.api.objects.policy import PodDisruptionBudget
from kobune.api.objects.storage import PersistentVolume, VolumeAttachment
from kobune.api.timestamps import format_time
from kobune.controlplane.controllers import (
    cluster_role_aggregation,
    daemonset,
    disruption,
    endpoint_slice,
    endpoints,
    node_health,
    replicaset,
    resource_quota,
    statefulset,
)
from kobune.controlplane.controllers.cronjob import cronjob
from kobune.controlplane.controllers.deployment import deployment, revisions, rolling
from kobune.controlplane.controllers.job import job
from kobune.controlplane.controllers.job.tally import tally, verdict
from kobune.controlplane.controllers.storage import attach_detach

PLANS = Path(__file__).parent / "plans"
CASES = sorted(path.relative_to(PLANS).as_posix().removesuffix(".input.yaml") for path in PLANS.glob("*/*.input.yaml"))


class World:
    """The objects of an input file, as the controllers see them."""

    def __init__(self, text):
        document = yaml.safe_load(text)
        self.now = document["now"]
        self.objects = document["objects"]
        self.more = document.get("more", {})  # What the plan is told beside the objects.

    def all(self, view):
        manifests = [each for each in self.objects if each["kind"] == view.gvk.kind]
        return [msgspec.json.decode(orjson.dumps(self._whole(each)), type=view) for each in manifests]

    def one(self, view):
        [found] = self.all(view)
        return found

    def find(self, view):
        return next(iter(self.all(view)), None)

    def _whole(self, manifest):
        # The name is identity enough where the file says nothing else.
        name = manifest["metadata"]["name"]
        metadata = {"uid": name, "namespace": "default", "creationTimestamp": "2026-01-05T08:00:00Z"}
        return {**manifest, "metadata": {**metadata, **manifest["metadata"]}}


def names(items):
    return [each.name for each in items]


def plan_deployment(world):
    item, sets = world.one(Deployment), world.all(ReplicaSet)
    new, old = revisions.by_template(item, sets)
    scaled = item.spec.paused or rolling.was_scaled(item, sets)
    step = deployment.plan_scaling(item, new, old) if scaled else deployment.plan(item, new, old, bool(world.more))
    return {
        "new ReplicaSet of so many pods": step.create,
        "resize": dict(step.sizes),
        "delete": names(step.clean_up),
    }


def plan_replica_set(world):
    pods = world.all(Pod)
    change = replicaset.plan(world.one(ReplicaSet), pods, lambda: pods, world.now)
    return {"create": change.create or None, "delete": names(change.delete)}


def plan_stateful_set(world):
    item = world.one(StatefulSet)
    step = statefulset.plan(item, world.all(Pod), world.more["update revision"], world.now)
    return {
        "create": [f"{item.name}-{ordinal}" for ordinal in step.create],
        "delete": names(step.delete),
        "see to the claims of": [f"{item.name}-{ordinal}" for ordinal in step.claims_for],
    }


def plan_daemon_set(world):
    item = world.one(DaemonSet)
    fits = {node.name: daemonset.fit(item, node) for node in world.all(Node)}
    step = daemonset.plan(item, world.all(Pod), fits, world.more["update revision"], world.now)
    return {"create on": step.create, "delete": names(step.delete)}


def plan_job(world):
    item, pods = world.one(Job), world.all(Pod)
    now = tally(item, pods)
    end = verdict(item, pods, now, world.now)
    if end is not None:
        return {"over": {"condition": end.kind, "reason": end.reason, "message": end.message}}
    change = job.plan(item, now, world.more.get("back-off still takes seconds", 0.0), world.now)
    created = list(change.create)
    return {
        "create": created if None not in created else len(created),
        "delete": names(change.delete),
        "look again in seconds": change.later,
        "succeeded": now.succeeded,
        "failed": now.failed,
    }


def plan_cron_job(world):
    item = world.one(CronJob)
    step = cronjob.plan(item, world.all(Job), item.status.active, world.now)
    return {
        "start the Job of": format_time(step.start) if step.start else None,
        "replace": names(step.replaces),
        "look again in seconds": step.wait,
        "say": [list(each) for each in step.says],
        "delete of the history": names(cronjob.to_tidy_up(item, world.all(Job))),
    }


def plan_disruption_budget(world):
    count = disruption.plan(world.one(PodDisruptionBudget), world.all(Pod), world.more.get("wanted", 0), world.now)
    return {
        "expected pods": count.expected,
        "desired healthy": count.desired,
        "current healthy": count.healthy,
        "disruptions allowed": count.allowed,
        "being disrupted": sorted(count.disrupted),
    }


def plan_endpoint_slices(world):
    nodes = {node.key: node for node in world.all(Node)}
    wanted = endpoint_slice.wanted_endpoints(world.one(Service), world.all(Pod), nodes)
    change = endpoint_slice.plan(wanted, world.all(EndpointSlice))
    return {
        "create": [
            {"addresses": group.address_type, "ports": to_json(group.ports), "endpoints": to_json(members)}
            for group, members in change.create
        ],
        "update": {each.name: to_json(members) for each, members in change.update},
        "delete": names(change.delete),
    }


def plan_endpoints(world):
    return {"subsets": endpoints.plan_subsets(world.one(Service), world.all(Pod))}


def plan_resource_quota(world):
    quota = world.one(resource_quota.ResourceQuota)
    items, charged = {Pod: world.all(Pod), Service: world.all(Service)}, resource_quota.Charged()
    return {"used": resource_quota.plan(quota, items, lambda view, item: charged.usage(view, item, world.now))}


def plan_cluster_role(world):
    roles = world.all(cluster_role_aggregation.ClusterRole)
    role = next(each for each in roles if each.aggregation_rule is not None)
    return {"rules": to_json(cluster_role_aggregation.plan(role, roles))}


def plan_node_taints(world):
    node = world.one(Node)
    taints = node_health.plan_taints(node, node_health.no_execute_taint(node), world.now)
    return {"taints": node_health.taints_json(taints) if taints is not None else "as they are"}


def plan_attachment(world):
    users = {}
    for pod in world.all(Pod):
        users.setdefault(pod.spec.node_name, []).append(pod)
    volume = world.find(PersistentVolume)
    step = attach_detach.plan(volume, users, world.all(VolumeAttachment))
    return {"attach to": step.attach, "detach": names(step.detach), "must wait": step.blocked}


PLANNERS = {
    "attach-detach": plan_attachment,
    "cluster-role-aggregation": plan_cluster_role,
    "cron-job": plan_cron_job,
    "daemon-set": plan_daemon_set,
    "deployment": plan_deployment,
    "disruption-budget": plan_disruption_budget,
    "endpoint-slices": plan_endpoint_slices,
    "endpoints": plan_endpoints,
    "job": plan_job,
    "node-taints": plan_node_taints,
    "replica-set": plan_replica_set,
    "resource-quota": plan_resource_quota,
    "stateful-set": plan_stateful_set,
}


def to_json(value):
    return orjson.loads(msgspec.json.encode(value))


def shown(plan):
    """Only what is to be done; a plan that does nothing says so."""
    return {name: value for name, value in plan.items() if value not in (None, [], {}, ())} or {"do": "nothing"}


def test_every_planner_has_cases_and_every_output_an_input():
    assert {case.partition("/")[0] for case in CASES} == set(PLANNERS)
    outputs = {
        path.relative_to(PLANS).as_posix().removesuffix(".output.yaml") for path in PLANS.glob("*/*.output.yaml")
    }
    assert outputs == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_as_written(case, request):
    source = PLANS / f"{case}.input.yaml"
    plan = shown(PLANNERS[case.partition("/")[0]](World(source.read_text())))
    written = yaml.safe_dump(plan, sort_keys=False, width=120, allow_unicode=True)
    golden = PLANS / f"{case}.output.yaml"
    if request.config.getoption("--rewrite-golden"):
        golden.write_text(written)
    assert golden.read_text() == written
