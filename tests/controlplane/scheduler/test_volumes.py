"""The volume plugins, from Kubernetes documentation: Volume Binding Mode, Storage Capacity, Node-specific Volume Limits,
Access Modes; words from upstream volumebinding, volumezone, volumerestrictions and nodevolumelimits."""

import msgspec
import pytest

from kobune.api.objects import storage
from kobune.controlplane.scheduler import views
from kobune.controlplane.scheduler.csi_translation import csi_of, in_tree_of, translated_affinity
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from kobune.controlplane.scheduler.plugins.volume_binding import VolumeBinding
from kobune.controlplane.scheduler.plugins.volume_restrictions import VolumeRestrictions
from kobune.controlplane.scheduler.plugins.volume_zone import VolumeZone

ZONE = "topology.kubernetes.io/zone"
BOUND = {"pv.kubernetes.io/bind-completed": "yes"}


def keyed(view, *manifests):
    return {(one := msgspec.convert(manifest, view)).key: one for manifest in manifests}


def claim(name="data", volume="", storage_class="late", size="1Gi", **fields):
    return {
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "annotations": BOUND if volume else {}, **fields.pop("metadata", {}),
        },
        "spec": {
            "volumeName": volume, "storageClassName": storage_class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}}, **fields,
        },
    }  # fmt: skip


def volume(name, *, zone="", size="1Gi", labels=None, storage_class="late", phase="Available", **spec):
    terms = [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]
    affinity = {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}} if zone else {}
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": storage_class, **affinity, **spec,
        },
        "status": {"phase": phase},
    }  # fmt: skip


def storage_class(name="late", provisioner="disk.csi.azure.com", mode="WaitForFirstConsumer", **fields):
    return {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **fields}


def listers(*, claims=(), volumes=(), classes=None, **more):
    return Listers(
        claims=keyed(storage.PersistentVolumeClaim, *claims),
        volumes=keyed(storage.PersistentVolume, *volumes),
        storage_classes=keyed(storage.StorageClass, *(classes or [storage_class()])),
        **more,
    )


def user(build, *claims, on=""):
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    return build.info(on=on, volumes=volumes)


@pytest.fixture
def table(build):
    return build.table(build.node("a", labels={ZONE: "a"}), build.node("b", labels={ZONE: "b"}), build.node("bare"))


def accepted(plugin, pod, table):
    mask = plugin.filter(pod, table, table.rows)
    return {name for name, row in table.row_of.items() if mask[row]}


def reasons(plugin, pod, table, name):
    row = table.row_of[name]
    return [one.text for one in plugin.explain(pod, table) if one.rows[row]]


# VolumeBinding.


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        pytest.param([], 'persistentvolumeclaim "data" not found', id="no-such-claim"),
        pytest.param([claim(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})], 'persistentvolumeclaim "data" is being deleted', id="deleted"),
        pytest.param([claim(storage_class="now")], "pod has unbound immediate PersistentVolumeClaims", id="unbound-immediate"),
        pytest.param([claim(storage_class="none")], 'storageclass.storage.k8s.io "none" not found', id="no-such-class"),
        pytest.param([claim(volume="pv") | {"status": {"phase": "Lost"}}], 'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv"', id="lost"),
    ],
)  # fmt: skip
def test_some_claims_keep_a_pod_from_every_node(build, table, claims, problem):
    world = listers(claims=claims, classes=[storage_class(), storage_class("now", mode="Immediate")])
    assert VolumeBinding(world).refuse(user(build, "data"), table).text == problem


def test_an_ephemeral_volumes_claim_is_awaited(build, table):
    pod = build.info(name="web", volumes=[{"name": "tmp", "ephemeral": {"volumeClaimTemplate": {}}}])
    text = VolumeBinding(listers()).refuse(pod, table).text
    assert text == 'waiting for ephemeral volume controller to create the persistentvolumeclaim "web-tmp"'


def test_a_bound_volume_is_reached_by_its_node_affinity(build, table):
    plugin = VolumeBinding(listers(claims=[claim(volume="pv")], volumes=[volume("pv", zone="a", phase="Bound")]))
    pod = user(build, "data")
    assert accepted(plugin, pod, table) == {"a"}
    assert reasons(plugin, pod, table, "b") == ["node(s) didn't match PersistentVolume's node affinity"]


def test_a_bound_volume_that_is_gone_is_said_to_be(build, table):
    plugin = VolumeBinding(listers(claims=[claim(volume="pv")]))
    pod = user(build, "data")
    assert accepted(plugin, pod, table) == set()
    assert reasons(plugin, pod, table, "a") == [
        "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
    ]


NO_PROVISIONER = storage_class(provisioner="kubernetes.io/no-provisioner")


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        pytest.param([volume("pv", zone="a")], {"a"}, id="a-free-volume-within-reach"),
        pytest.param([volume("pv", size="500Mi")], set(), id="too-small"),
        pytest.param([volume("pv", phase="Released")], set(), id="not-available"),
        pytest.param([volume("pv", storage_class="other")], set(), id="of-another-class"),
        pytest.param([volume("pv", volumeMode="Block")], set(), id="of-another-mode"),
        pytest.param([volume("pv", claimRef={"namespace": "default", "name": "other"})], set(), id="somebody-elses"),
        pytest.param(
            [volume("pv", claimRef={"namespace": "default", "name": "data"})], {"a", "b", "bare"}, id="kept-for-it"
        ),
    ],
)
def test_an_unbound_claim_takes_an_existing_volume(build, table, volumes, expected):
    plugin = VolumeBinding(listers(claims=[claim()], volumes=volumes, classes=[NO_PROVISIONER]))
    pod = user(build, "data")
    assert accepted(plugin, pod, table) == expected
    if not expected:
        assert reasons(plugin, pod, table, "a") == ["node(s) didn't find available persistent volumes to bind"]


def test_two_claims_need_two_volumes(build, table):
    world = listers(
        claims=[claim("one"), claim("two")], volumes=[volume("x"), volume("y", zone="a")], classes=[NO_PROVISIONER]
    )
    assert accepted(VolumeBinding(world), user(build, "one", "two"), table) == {"a"}


def test_the_smallest_volume_that_will_do_is_taken_and_kept_from_others(build, table):
    world = listers(
        claims=[claim("one"), claim("two")],
        volumes=[volume("big", size="9Gi"), volume("small")],
        classes=[NO_PROVISIONER],
    )
    plugin, pod = VolumeBinding(world), user(build, "one")
    plugin.reserve(pod, table, table.row_of["a"])
    assert [bound.name for _, bound in plugin._decisions[pod.uid].bindings] == ["small"]
    other = user(build, "two")
    plugin.reserve(other, table, table.row_of["a"])
    assert [bound.name for _, bound in plugin._decisions[other.uid].bindings] == ["big"]
    plugin.unreserve(pod)
    assert not plugin.prepares(pod)


def test_a_class_makes_volumes_where_its_topologies_allow(build, table):
    zones = [{"matchLabelExpressions": [{"key": ZONE, "values": ["b"]}]}]
    plugin = VolumeBinding(listers(claims=[claim()], classes=[storage_class(allowedTopologies=zones)]))
    assert accepted(plugin, user(build, "data"), table) == {"b"}


def test_a_driver_that_publishes_capacity_is_asked(build, table):
    driver = {"metadata": {"name": "disk.csi.azure.com"}, "spec": {"storageCapacity": True}}
    capacity = {
        "metadata": {"name": "c", "namespace": "kube-system"}, "storageClassName": "late", "capacity": "5Gi",
        "nodeTopology": {"matchLabels": {ZONE: "a"}},
    }  # fmt: skip
    world = listers(
        claims=[claim()],
        csi_drivers=keyed(storage.CSIDriver, driver),
        capacities=keyed(views.CSIStorageCapacity, capacity),
    )
    pod = user(build, "data")
    assert accepted(VolumeBinding(world), pod, table) == {"a"}
    assert reasons(VolumeBinding(world), pod, table, "b") == ["node(s) did not have enough free storage"]


def test_a_claim_whose_volume_is_being_made_for_a_node_stays_there(build, table):
    selected = claim(metadata={"annotations": {"volume.kubernetes.io/selected-node": "b"}})
    assert accepted(VolumeBinding(listers(claims=[selected])), user(build, "data"), table) == {"b"}


# VolumeZone.


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param({ZONE: "a"}, {"a", "bare"}, id="same-zone-or-a-node-without-zones"),
        pytest.param({ZONE: "a__b"}, {"a", "b", "bare"}, id="a-volume-in-several-zones"),
        pytest.param({"failure-domain.beta.kubernetes.io/zone": "b"}, {"b", "bare"}, id="old-labels-match-new-ones"),
        pytest.param({}, {"a", "b", "bare"}, id="no-labels"),
    ],
)
def test_volume_zone(build, table, labels, expected):
    world = listers(claims=[claim(volume="pv")], volumes=[volume("pv", labels=labels)])
    assert accepted(VolumeZone(world), user(build, "data"), table) == expected


def test_the_wrong_zone_is_named_as_upstream_does(build, table):
    world = listers(claims=[claim(volume="pv")], volumes=[volume("pv", labels={ZONE: "a"})])
    assert reasons(VolumeZone(world), user(build, "data"), table, "b") == ["node(s) had no available volume zone"]


# VolumeRestrictions.


@pytest.mark.parametrize(
    ("mine", "theirs", "fits"),
    [
        pytest.param({"gcePersistentDisk": {"pdName": "x"}}, {"gcePersistentDisk": {"pdName": "x"}}, False, id="one-disk-twice"),
        pytest.param(
            {"gcePersistentDisk": {"pdName": "x", "readOnly": True}}, {"gcePersistentDisk": {"pdName": "x", "readOnly": True}},
            True, id="unless-both-only-read",
        ),
        pytest.param({"awsElasticBlockStore": {"volumeID": "x"}}, {"awsElasticBlockStore": {"volumeID": "y"}}, True, id="another"),
        pytest.param(
            {"rbd": {"monitors": ["m", "n"], "image": "i"}}, {"rbd": {"monitors": ["n"], "image": "i"}}, False, id="rbd",
        ),
        pytest.param({"iscsi": {"iqn": "q"}}, {"iscsi": {"iqn": "q"}}, False, id="iscsi"),
    ],
)  # fmt: skip
def test_exclusive_disks(build, table, mine, theirs, fits):
    table.add_pod(build.info(on="a", volumes=[{"name": "v", **theirs}]), "a")
    plugin, pod = VolumeRestrictions(listers()), build.info(volumes=[{"name": "v", **mine}])
    assert ("a" in accepted(plugin, pod, table)) is fits
    assert "b" in accepted(plugin, pod, table)
    assert fits or reasons(plugin, pod, table, "a") == ["node(s) had no available disk"]


def test_a_read_write_once_pod_claim_serves_one_pod_in_the_cluster(build, table):
    world = listers(claims=[claim(accessModes=["ReadWriteOncePod"])])
    plugin, holder = VolumeRestrictions(world), user(build, "data", on="a")
    table.add_pod(holder, "a")
    pod = user(build, "data")
    assert accepted(plugin, pod, table) == set()
    assert reasons(plugin, pod, table, "b") == [
        "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
    ]
    table.remove_pod(holder.uid, "a")
    assert accepted(plugin, pod, table) == {"a", "b", "bare"}


# NodeVolumeLimits.


def csi_node(name, count):
    return {
        "metadata": {"name": name},
        "spec": {"drivers": [{"name": "disk.csi.azure.com", "allocatable": {"count": count}}]},
    }


def csi(handle):
    return {"csi": {"driver": "disk.csi.azure.com", "volumeHandle": handle}}


def test_a_node_attaches_so_many_volumes_of_a_driver(build, table):
    world = listers(
        claims=[claim("one", volume="x"), claim("two", volume="y"), claim("three")],
        volumes=[volume("x", **csi("x")), volume("y", **csi("y"))],
        csi_nodes=keyed(views.CSINode, csi_node("a", 1), csi_node("b", 2)),
    )
    plugin, holder = NodeVolumeLimits(world), user(build, "one", on="a")
    table.add_pod(holder, "a")
    assert accepted(plugin, user(build, "two"), table) == {"b", "bare"}
    assert reasons(plugin, user(build, "three"), table, "a") == ["node(s) exceed max volume count"]
    assert "a" in accepted(plugin, user(build, "one"), table), "a volume counts once, however many pods use it"
    table.remove_pod(holder.uid, "a")
    assert accepted(plugin, user(build, "two"), table) == {"a", "b", "bare"}


def test_volumes_still_attached_count_too(build, table):
    attachment = {
        "metadata": {"name": "va"},
        "spec": {"attacher": "disk.csi.azure.com", "nodeName": "a", "source": {"persistentVolumeName": "x"}},
    }
    world = listers(
        claims=[claim("two", volume="y")], volumes=[volume("x", **csi("x")), volume("y", **csi("y"))],
        csi_nodes=keyed(views.CSINode, csi_node("a", 1)), attachments=keyed(storage.VolumeAttachment, attachment),
    )  # fmt: skip
    assert "a" not in accepted(NodeVolumeLimits(world), user(build, "two"), table)


DISK = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/x"


@pytest.mark.parametrize(
    ("source", "labels", "driver", "handle"),
    [
        pytest.param({"azureDisk": {"diskURI": DISK}}, {}, "disk.csi.azure.com", DISK, id="azure"),
        pytest.param({"awsElasticBlockStore": {"volumeID": "aws://eu-1a/vol-1"}}, {}, "ebs.csi.aws.com", "vol-1", id="aws"),
        pytest.param(
            {"gcePersistentDisk": {"pdName": "d"}}, {ZONE: "eu-1a"}, "pd.csi.storage.gke.io",
            "projects/UNSPECIFIED/zones/eu-1a/disks/d", id="gce",
        ),
        pytest.param(
            {"gcePersistentDisk": {"pdName": "d"}}, {ZONE: "eu-1-a__eu-1-b"}, "pd.csi.storage.gke.io",
            "projects/UNSPECIFIED/regions/eu-1/disks/d", id="gce-regional",
        ),
    ],
)  # fmt: skip
def test_volumes_of_plugins_of_old_count_as_their_drivers(source, labels, driver, handle):
    made = msgspec.convert(volume("x", labels=labels, **source), storage.PersistentVolume)
    assert csi_of(made) == storage.CSISource(driver, handle)
    assert csi_of(msgspec.convert(volume("x"), storage.PersistentVolume)) is None


def test_a_disk_counts_once_under_its_old_name_and_its_new_one(build, table):
    world = listers(
        claims=[claim("old", volume="x"), claim("new", volume="y"), claim("other", volume="z"), claim("late")],
        volumes=[volume("x", azureDisk={"diskURI": DISK}), volume("y", **csi(DISK)), volume("z", **csi("z"))],
        classes=[storage_class(provisioner="kubernetes.io/azure-disk")],
        csi_nodes=keyed(views.CSINode, csi_node("a", 1)),
    )
    plugin = NodeVolumeLimits(world)
    table.add_pod(user(build, "old", on="a"), "a")
    assert "a" in accepted(plugin, user(build, "new"), table)
    assert "a" not in accepted(plugin, user(build, "other"), table)
    assert "a" not in accepted(plugin, user(build, "late"), table)
    inline = build.info(volumes=[{"name": "v", "azureDisk": {"diskName": "x", "diskURI": DISK}}])
    assert "a" in accepted(plugin, inline, table)
    inline = build.info(volumes=[{"name": "v", "azureDisk": {"diskName": "y", "diskURI": "y"}}])
    assert "a" not in accepted(plugin, inline, table)


def test_where_a_plugin_has_moved_its_zones_are_the_drivers(build):
    driver_zone = "topology.ebs.csi.aws.com/zone"
    moved = {
        "metadata": {
            "name": "a",
            "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs"},
        }
    }
    world = listers(
        claims=[claim("data", volume="x")],
        volumes=[volume("x", zone="1", awsElasticBlockStore={"volumeID": "vol-1"})],
        csi_nodes=keyed(views.CSINode, moved),
    )
    table = build.table(
        build.node("a", labels={driver_zone: "1"}),
        build.node("b", labels={driver_zone: "1"}),
        build.node("c", labels={ZONE: "1"}),
    )
    assert accepted(VolumeBinding(world), user(build, "data"), table) == {"a", "c"}


def test_a_volumes_zone_label_becomes_the_drivers():
    old = "failure-domain.beta.kubernetes.io/zone"
    made = msgspec.convert(
        volume("x", labels={old: "1__2"}, awsElasticBlockStore={"volumeID": "vol-1"}), storage.PersistentVolume
    )
    affinity = translated_affinity(made, in_tree_of(made.spec))
    (rule,) = affinity.required.node_selector_terms[0].match_expressions
    assert (rule.key, rule.operator, rule.values) == ("topology.ebs.csi.aws.com/zone", "In", ["1", "2"])
