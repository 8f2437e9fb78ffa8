"""What is done and said once no node will do. Source: upstream RunPostFilterPlugins, dynamicresources PostFilter."""

import random

import msgspec
import pytest

from kobune.controlplane.scheduler import views
from kobune.controlplane.scheduler.after_filters import after_filters
from kobune.controlplane.scheduler.configuration import ProfileConfiguration, default_points
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.profiles import build_profile

HERE = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}
HELPLESS = "0/2 nodes are available: 2 Preemption is not helpful for scheduling."


@pytest.fixture
def tried(build):
    """What comes of a pod that asks for more cpu than there is: (listers, profile fields, pod fields) to an outcome."""

    def attempt(listers=None, points=None, **pod):
        table = build.table(build.node("a"), build.node("b"))
        running = build_profile(ProfileConfiguration(points=points or default_points()), listers or Listers())
        info = build.info(requests={"cpu": "9"}, **pod)
        diagnosis = running.profile.diagnose(info, table, Nominations())
        return after_filters(info, table, Nominations(), running, diagnosis, [], random.Random(1))

    return attempt


def claim(users=(), selector=None):
    allocation = {"devices": {"results": []}, **({"nodeSelector": selector} if selector else {})}
    manifest = {
        "metadata": {"name": "claim", "namespace": "default", "uid": "claim"},
        "spec": {"devices": {"requests": []}},
        "status": {"allocation": allocation, "reservedFor": list(users)},
    }
    one = msgspec.convert(manifest, views.ResourceClaim)
    return Listers(resource_claims={one.key: one})


def test_both_plugins_say_that_they_cannot_help(tried):
    assert tried().diagnosis.afterwards == f"no new claims to deallocate, preemption: {HELPLESS}"


def test_a_plugin_that_is_off_says_nothing(tried):
    points = default_points()
    points["postFilter"] = tuple(use for use in points["postFilter"] if use.name != "DynamicResources")
    assert tried(points=points).diagnosis.afterwards == f"preemption: {HELPLESS}"


def test_a_pod_refused_before_nodes_are_looked_at_gets_upstreams_short_answer(tried):
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "missing"}}]
    outcome = tried(volumes=volumes)
    assert outcome.diagnosis.message() == (
        '0/2 nodes are available: persistentvolumeclaim "missing" not found. not found'
    )
    assert not outcome.tried_eviction


@pytest.mark.parametrize(
    ("listers", "text", "released"),
    [
        pytest.param(claim(selector=HERE), "deallocation of ResourceClaim completed", True, id="out-of-reach"),
        pytest.param(claim(), "still not schedulable", False, id="within-reach-of-all"),
        pytest.param(
            claim([{"uid": "another", "resource": "pods", "name": "x"}], HERE),
            "still not schedulable",
            False,
            id="used",
        ),
    ],
)
def test_a_claim_that_keeps_the_pod_on_some_nodes_is_given_back(tried, listers, text, released):
    outcome = tried(listers, resourceClaims=[{"name": "c", "resourceClaimName": "claim"}])
    assert outcome.diagnosis.afterwards.startswith(f"{text}, preemption: ")
    assert (outcome.released is not None) is released
