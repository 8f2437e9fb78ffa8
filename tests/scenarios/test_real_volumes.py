"""The data of a StatefulSet on real nodes: where it lies, what it survives, how it grows and when it goes."""

from pathlib import Path

import orjson
import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# Every start of a pod leaves a line in its volume.
LEAVE_A_LINE = "echo $HOSTNAME was here >> /data/log; exec sleep 3600"


def stateful_set(replicas, *, when_scaled, when_deleted):
    container = {
        "name": "main",
        "image": "kobune.local/busybox",
        "command": ["sh", "-c", LEAVE_A_LINE],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "replicas": replicas,
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": when_scaled, "whenDeleted": when_deleted},
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }


def volume_of(cluster, claim):
    return cluster.get("pv", cluster.get("pvc", claim)["spec"]["volumeName"])


def names(cluster, kind):
    return {each["metadata"]["name"] for each in cluster.get(kind)["items"]}


def lines(cluster, pod, *, count):
    """What its starts have left; the container runs before it has written."""

    def found():
        seen = cluster.kubectl("exec", pod, "--", "cat", "/data/log", check=False).splitlines()
        return seen if len(seen) >= count else None

    return cluster.eventually(found)


def started_anew(cluster, pod):
    """The pod that has taken this one's place, when it is ready."""

    def found():
        for each in cluster.get("pods", "-l", "app=db")["items"]:
            ready = any(
                one["type"] == "Ready" and one["status"] == "True" for one in each["status"].get("conditions", ())
            )
            if (
                each["metadata"]["name"] == pod["metadata"]["name"]
                and each["metadata"]["uid"] != pod["metadata"]["uid"]
            ):
                return each if ready else None
        return None

    return cluster.eventually(found)


def log_of(volume):
    return Path(volume["spec"]["local"]["path"]) / "log"


def patch(cluster, kind, name, change):
    cluster.kubectl("patch", kind, name, "--type=merge", "-p", orjson.dumps(change).decode())


def test_a_claim_without_a_consumer_waits(real_cluster):
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    real_cluster.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "idle"}, "spec": claim}
    )
    described = real_cluster.eventually(
        lambda: "WaitForFirstConsumer" in (seen := real_cluster.kubectl("describe", "pvc", "idle")) and seen
    )
    assert "waiting for first consumer to be created before binding" in described
    assert real_cluster.get("pvc", "idle")["status"]["phase"] == "Pending"
    real_cluster.kubectl("delete", "pvc", "idle", "--timeout=30s")


def test_each_pod_has_its_own_volume_on_its_node_and_finds_it_again(real_cluster):
    real_cluster.apply(stateful_set(2, when_scaled="Delete", when_deleted="Retain"))
    real_cluster.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    for pod in ("db-0", "db-1"):
        volume = volume_of(real_cluster, f"data-{pod}")
        [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert term["matchExpressions"][0]["values"] == [real_cluster.get("pod", pod)["spec"]["nodeName"]]
        assert lines(real_cluster, pod, count=1) == [f"{pod} was here"]
        assert log_of(volume).read_text() == f"{pod} was here\n"
    first = real_cluster.get("pod", "db-0")
    real_cluster.kubectl("delete", "pod", "db-0", "--timeout=60s")
    second = started_anew(real_cluster, first)
    assert second["spec"]["nodeName"] == first["spec"]["nodeName"]
    assert lines(real_cluster, "db-0", count=2) == ["db-0 was here"] * 2


def test_a_claim_in_use_grows_and_does_not_shrink(real_cluster):
    patch(real_cluster, "pvc", "data-db-0", {"spec": {"resources": {"requests": {"storage": "3Gi"}}}})
    real_cluster.eventually(lambda: real_cluster.get("pvc", "data-db-0")["status"]["capacity"] == {"storage": "3Gi"})
    assert volume_of(real_cluster, "data-db-0")["spec"]["capacity"] == {"storage": "3Gi"}
    smaller = orjson.dumps({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}).decode()
    answer = real_cluster.kubectl("patch", "pvc", "data-db-0", "--type=merge", "-p", smaller, check=False)
    assert "field can not be less than status.capacity" in answer
    assert lines(real_cluster, "db-0", count=2) == ["db-0 was here"] * 2


def test_a_claim_scaled_away_takes_its_volume_and_its_files(real_cluster):
    volume = volume_of(real_cluster, "data-db-1")
    assert log_of(volume).exists()
    real_cluster.kubectl("scale", "statefulset/db", "--replicas=1")
    real_cluster.eventually(lambda: volume["metadata"]["name"] not in names(real_cluster, "pv"))
    assert names(real_cluster, "pvc") == {"data-db-0"}
    assert not log_of(volume).parent.exists()


def test_claims_that_outlive_their_set_are_found_by_the_next(real_cluster):
    real_cluster.kubectl("delete", "statefulset", "db", "--cascade=foreground", "--timeout=60s")
    assert real_cluster.get("pods", "-l", "app=db")["items"] == []
    assert real_cluster.get("pvc", "data-db-0")["status"]["phase"] == "Bound"
    real_cluster.apply(stateful_set(1, when_scaled="Retain", when_deleted="Delete"))
    real_cluster.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    assert lines(real_cluster, "db-0", count=3) == ["db-0 was here"] * 3


def test_a_retained_volume_keeps_its_files_when_set_and_claim_are_gone(real_cluster):
    volume = volume_of(real_cluster, "data-db-0")
    name = volume["metadata"]["name"]
    patch(real_cluster, "pv", name, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
    real_cluster.kubectl("delete", "statefulset", "db", "--timeout=60s")
    real_cluster.eventually(lambda: real_cluster.get("pv", name)["status"]["phase"] == "Released")
    assert "data-db-0" not in names(real_cluster, "pvc")
    assert log_of(volume).read_text() == "db-0 was here\n" * 3
    real_cluster.kubectl("delete", "pv", name, "--timeout=30s")
    assert log_of(volume).exists()  # Deleting the object deletes no data.
