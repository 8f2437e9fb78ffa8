"""What people are told about a pending pod: each `why/NAME.input.yaml` gives `why/NAME.output.txt`.

With KOBUNE_REWRITE_GOLDEN=1 in the environment the outputs are written anew, to be read in the diff.
"""

import os
from pathlib import Path

import msgspec
import pytest
import yaml

from kobune.api.objects import storage
from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.pod_info import PodParser
from kobune.controlplane.scheduler.profiles import build_profile
from kobune.controlplane.scheduler.why import (
    Gang,
    Outcome,
    Pool,
    Situation,
    explain,
    refused_at_admission,
    with_declared,
)
from kobune.controlplane.scheduler.why_text import render_json, render_text

SCENARIOS = sorted(Path(__file__).parent.glob("why/*.input.yaml"))


def keyed(manifests, view):
    return {(one := msgspec.convert(manifest, view)).key: one for manifest in manifests or ()}


def explain_scenario(path):
    """A scenario has the pod and its world: nodes, pods, pools, offers, volumes."""
    world = yaml.safe_load(path.read_text())
    if "refused" in world:
        return refused_at_admission(world["refused"]["pod"], world["refused"]["message"])
    listers = Listers(
        claims=keyed(world.get("claims"), storage.PersistentVolumeClaim),
        volumes=keyed(world.get("volumes"), storage.PersistentVolume),
        storage_classes=keyed(world.get("storageClasses"), storage.StorageClass),
    )
    running = build_profile(ProfileConfiguration(), listers)
    parser = PodParser()
    table = NodeTable()
    for manifest in world.get("nodes", ()):
        table.put_node(msgspec.convert(manifest, Node))
    for number, manifest in enumerate(world.get("pods", ())):
        manifest["metadata"].setdefault("uid", f"uid-{number}")
        pod = parser.parse(msgspec.convert(manifest, Pod))
        table.add_pod(pod, pod.node_name)
    pod = parser.parse(msgspec.convert(world["pod"], Pod))

    def pool(spec):
        return Pool(spec["name"], msgspec.convert(spec["node"], Node), spec.get("size", 0), spec.get("maxSize"))

    gang = world.get("gang")
    situation = Situation(
        gang=Gang(gang["name"], gang.get("needs"), gang.get("exist", 0), 0, (pod,)) if gang else None,
        gates=tuple(gate.name for gate in pod.pod.spec.scheduling_gates),
        backoff_seconds=world.get("backoffSeconds", 0),
        pools=[pool(spec) for spec in world["pools"]] if "pools" in world else None,
        offers=[pool(spec) for spec in world.get("offers", ())],
    )
    return explain(pod, table, running, situation)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name.removesuffix(".input.yaml"))
def test_explanation(path):
    text = render_text(explain_scenario(path))
    golden = path.with_name(path.name.replace(".input.yaml", ".output.txt"))
    if os.environ.get("KOBUNE_REWRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_outcome_has_a_scenario():
    assert {explain_scenario(path).outcome for path in SCENARIOS} >= set(Outcome) - {Outcome.FITS}


def test_json_has_the_same_facts():
    path = next(path for path in SCENARIOS if path.name.startswith("cpu-reserved"))
    answer = render_json(explain_scenario(path))
    assert answer["outcome"] == "after scale-up"
    lack = answer["closest"][0]["lacks"][0]
    assert (lack["resource"], lack["wanted"], lack["capacity"], lack["reserved"]) == ("cpu", 2000, 4000, 140)
    assert lack["free"] == lack["capacity"] - lack["reserved"] - lack["daemons"] - lack["system"] - lack["others"]


def test_explaining_leaves_the_table_as_it_was(build):
    table = build.table(build.node("a", labels={"agentpool": "user"}), pods=[build.info(on="a", requests={"cpu": "3"})])
    running = build_profile(ProfileConfiguration(), Listers())
    explain(build.info(requests={"cpu": "2"}, priority=5), table, running)
    assert (len(table), list(table.row_of), int(table.requested[0, 0])) == (1, ["a"], 3000)
    assert Key("", "a") == table.nodes[0].key


def test_what_the_owner_declares_bounds_the_pools_that_nodes_tell_of(build):
    node = build.node("a", labels={"agentpool": "user"})
    found = [Pool("user", node, 2), Pool("user", node, 1), Pool("other", node, 1)]
    declared = [Pool("user", node, 9, 3), Pool("idle", node, 0, 5)]
    pools = with_declared(found, declared)
    assert [(pool.name, pool.size, pool.max_size, pool.is_full) for pool in pools] == [
        ("user", 3, 3, True),
        ("user", 3, 3, True),
        ("other", 1, None, False),
        ("idle", 0, 5, False),
    ]
