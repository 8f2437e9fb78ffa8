"""The cells of one object of each kind that has some judgement in them. Expectations follow upstream's printers."""

from datetime import UTC, datetime

import pytest

from kobune.api.catalogue import KINDS
from kobune.controlplane.apiserver.tables import find_printer

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR_AGO = "2026-01-02T11:00:00Z"
TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}]}}
BY_APP = {"matchLabels": {"app": "web"}}


def cells(kind, obj, *, group=None):
    row = next(row for row in KINDS if row.name == kind and group in (None, row.group))
    full = {"kind": kind, **obj, "metadata": {"name": "x", "creationTimestamp": HOUR_AGO, **obj.get("metadata", {})}}
    return find_printer(row).cells(full, NOW)


CASES = [
    pytest.param(
        "Deployment",
        {"spec": {"replicas": 3, "selector": BY_APP, "template": TEMPLATE},
         "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}},
        ["x", "1/3", 2, 1, "60m", "a,b", "x:1,y:2", "app=web"], id="deployment",
    ),
    pytest.param(
        "Deployment", {"spec": {"replicas": 0, "selector": {}, "template": TEMPLATE}},
        ["x", "0/0", 0, 0, "60m", "a,b", "x:1,y:2", ""], id="deployment-without-status",
    ),
    pytest.param(
        "ReplicaSet", {"spec": {"replicas": 2, "selector": BY_APP, "template": TEMPLATE}, "status": {"replicas": 1}},
        ["x", 2, 1, 0, "60m", "a,b", "x:1,y:2", "app=web"], id="replicaset",
    ),
    pytest.param(
        "ReplicationController", {"spec": {"replicas": 1, "selector": {"b": "2", "a": "1"}, "template": TEMPLATE}},
        ["x", 1, 0, 0, "60m", "a,b", "x:1,y:2", "a=1,b=2"], id="replicationcontroller",
    ),
    pytest.param(
        "StatefulSet", {"spec": {"replicas": 3, "template": TEMPLATE}, "status": {"readyReplicas": 2}},
        ["x", "2/3", "60m", "a,b", "x:1,y:2"], id="statefulset",
    ),
    pytest.param(
        "DaemonSet",
        {"spec": {"selector": BY_APP, "template": TEMPLATE},
         "status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1}},
        ["x", 3, 2, 1, 0, 0, "<none>", "60m", "a,b", "x:1,y:2", "app=web"], id="daemonset",
    ),
    pytest.param(
        "Job",
        {"spec": {"completions": 5, "parallelism": 2, "selector": BY_APP, "template": TEMPLATE},
         "status": {"succeeded": 2, "startTime": "2026-01-02T11:57:00Z"}},
        ["x", "Running", "2/5", "3m", "60m", "a,b", "x:1,y:2", "app=web"], id="job-running",
    ),
    pytest.param(
        "Job",
        {"spec": {"parallelism": 3, "template": TEMPLATE},
         "status": {"startTime": HOUR_AGO, "completionTime": "2026-01-02T11:00:09Z",
                    "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}},
        ["x", "Complete", "0/1 of 3", "9s", "60m", "a,b", "x:1,y:2", "<none>"], id="job-complete",
    ),
    pytest.param(
        "CronJob",
        {"spec": {"schedule": "* * * * *", "suspend": False, "jobTemplate": {"spec": {"template": TEMPLATE}}},
         "status": {"active": [{}], "lastScheduleTime": "2026-01-02T11:59:30Z"}},
        ["x", "* * * * *", "<none>", "False", 1, "30s", "60m", "a,b", "x:1,y:2", "<none>"], id="cronjob",
    ),
    pytest.param(
        "Service",
        {"spec": {"type": "NodePort", "clusterIPs": ["10.0.0.7"], "selector": {"a": "b"},
                  "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}},
        ["x", "NodePort", "10.0.0.7", "<none>", "80:30080/TCP,53/UDP", "60m", "a=b"], id="service",
    ),
    pytest.param(
        "Service", {"spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.7"], "ports": [{"port": 80, "protocol": "TCP"}]}},
        ["x", "LoadBalancer", "10.0.0.7", "<pending>", "80/TCP", "60m", "<none>"], id="load-balancer-pending",
    ),
    pytest.param(
        "Service",
        {"spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.7"], "externalIPs": ["1.1.1.1"]},
         "status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "a.example"}]}}},
        ["x", "LoadBalancer", "10.0.0.7", "9.9.9.9,a.example,1.1.1.1", "<none>", "60m", "<none>"], id="load-balancer",
    ),
    pytest.param(
        "Service", {"spec": {"type": "ExternalName", "externalName": "db.example"}},
        ["x", "ExternalName", "<none>", "db.example", "<none>", "60m", "<none>"], id="external-name",
    ),
    pytest.param(
        "Endpoints",
        {"subsets": [{"addresses": [{"ip": "10.1.0.1"}, {"ip": "10.1.0.2"}], "ports": [{"port": 80}, {"port": 443}]}]},
        ["x", "10.1.0.1:80,10.1.0.2:80,10.1.0.1:443 + 1 more...", "60m"], id="endpoints",
    ),
    pytest.param("Endpoints", {}, ["x", "<none>", "60m"], id="no-endpoints"),
    pytest.param(
        "EndpointSlice",
        {"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": [f"10.1.0.{i}"]} for i in range(4)]},
        ["x", "IPv4", "80", "10.1.0.0,10.1.0.1,10.1.0.2 + 1 more...", "60m"], id="endpointslice",
    ),
    pytest.param(
        "EndpointSlice", {"addressType": "IPv4", "ports": [], "endpoints": []},
        ["x", "IPv4", "<unset>", "<unset>", "60m"], id="empty-endpointslice",
    ),
    pytest.param(
        "Ingress",
        {"spec": {"ingressClassName": "web", "tls": [{}], "rules": [{"host": "a"}, {}, {"host": "b"}, {"host": "c"}, {}]}},
        ["x", "web", "a,b,c + 2 more...", "", "80, 443", "60m"], id="ingress",
    ),
    pytest.param("Ingress", {"spec": {"rules": [{}]}}, ["x", "<none>", "*", "", "80", "60m"], id="ingress-for-any-host"),
    pytest.param(
        "IngressClass",
        {"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
         "spec": {"controller": "c", "parameters": {"kind": "P", "apiGroup": "g.example", "name": "n"}}},
        ["x (default)", "c", "P.g.example/n", "60m"], id="ingressclass",
    ),
    pytest.param("NetworkPolicy", {"spec": {"podSelector": {}}}, ["x", "<none>", "60m"], id="policy-for-all-pods"),
    pytest.param(
        "Node",
        {"metadata": {"labels": {"node-role.kubernetes.io/agent": "", "kubernetes.io/role": "agent",
                                 "node-role.kubernetes.io/a": ""}},
         "spec": {"unschedulable": True},
         "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.224.0.4"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1", "architecture": "amd64",
                                 "containerRuntimeVersion": "containerd://2.0"}}},
        ["x", "Ready,SchedulingDisabled", "a,agent", "60m", "v1.36.0", "10.224.0.4", "<none>", "Debian", "6.1 (amd64)",
         "containerd://2.0"], id="node",
    ),
    pytest.param(
        "Node", {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
        ["x", "NotReady", "<none>", "60m", "", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"], id="lost-node",
    ),
    pytest.param("Namespace", {"status": {"phase": "Active"}}, ["x", "Active", "60m"], id="namespace"),
    pytest.param("ConfigMap", {"data": {"a": "1", "b": "2"}, "binaryData": {"c": ""}}, ["x", 3, "60m"], id="configmap"),
    pytest.param("Secret", {"type": "Opaque", "data": {"a": ""}}, ["x", "Opaque", 1, "60m"], id="secret"),
    pytest.param("ServiceAccount", {}, ["x", "60m"], id="serviceaccount"),
    pytest.param("Lease", {"spec": {"holderIdentity": "me"}}, ["x", "me", "60m"], id="lease"),
    pytest.param(
        "ResourceQuota",
        {"status": {"hard": {"pods": "5", "limits.cpu": "2", "cpu": "1"}, "used": {"pods": "1", "cpu": "500m"}}},
        ["x", "cpu: 500m/1, pods: 1/5", "limits.cpu: 0/2", "60m"], id="resourcequota",
    ),
    pytest.param(
        "PersistentVolumeClaim",
        {"spec": {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Filesystem"},
         "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}},
        ["x", "Bound", "v", "1Gi", "RWO,RWX", "fast", "<unset>", "60m", "Filesystem"], id="claim",
    ),
    pytest.param(
        "PersistentVolumeClaim", {"spec": {}, "status": {"phase": "Pending", "accessModes": ["ReadWriteOnce"]}},
        ["x", "Pending", "", "", "", "", "<unset>", "60m", "<unset>"], id="unbound-claim",
    ),
    pytest.param(
        "PersistentVolume",
        {"metadata": {"deletionTimestamp": HOUR_AGO},
         "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOncePod"], "storageClassName": "fast",
                  "persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "d", "name": "c"}},
         "status": {"phase": "Released"}},
        ["x", "1Gi", "RWOP", "Delete", "Terminating", "d/c", "fast", "<unset>", "", "60m", "<unset>"], id="volume",
    ),
    pytest.param(
        "StorageClass",
        {"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"},
        ["x (default)", "p", "Delete", "Immediate", False, "60m"], id="storageclass",
    ),
    pytest.param(
        "HorizontalPodAutoscaler",
        {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 5, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
            {"type": "Pods", "pods": {"target": {"averageValue": "10"}}},
            {"type": "Object", "object": {"target": {"value": "3"}}},
        ]}, "status": {"currentReplicas": 2, "currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 41}}}]}},
        ["x", "Deployment/web", "cpu: 41%/80%, <unknown>/10 + 1 more...", "1", 5, 2, "60m"], id="autoscaler",
    ),
    pytest.param(
        "HorizontalPodAutoscaler",
        {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5,
                  "targetCPUUtilizationPercentage": 60}},
        ["x", "Deployment/web", "cpu: <unknown>/60%", "<unset>", 5, 0, "60m"], id="autoscaler-v1",
    ),
    pytest.param(
        "PodDisruptionBudget", {"spec": {"maxUnavailable": "25%"}, "status": {"disruptionsAllowed": 1}},
        ["x", "N/A", "25%", 1, "60m"], id="budget",
    ),
    pytest.param(
        "ControllerRevision",
        {"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}]},
         "revision": 4},
        ["x", "statefulset.apps/db", 4, "60m"], id="revision",
    ),
    pytest.param(
        "RoleBinding",
        {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
            {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}, {"kind": "Group", "name": "g"}]},
        ["x", "Role/r", "60m", "u", "g", "n/s"], id="rolebinding",
    ),
    pytest.param(
        "CertificateSigningRequest",
        {"spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600},
         "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="}},
        ["x", "60m", "s", "u", "60m", "Approved,Issued"], id="signing-request",
    ),
    pytest.param(
        "PriorityClass", {"value": 10, "preemptionPolicy": "Never"}, ["x", 10, False, "60m", "Never"], id="priorityclass"
    ),
    pytest.param("Role", {}, ["x", HOUR_AGO], id="kinds-without-columns-of-their-own"),
    pytest.param(
        "APIService",
        {"spec": {"service": {"namespace": "n", "name": "m"}},
         "status": {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}},
        ["x", "n/m", "False (MissingEndpoints)", "60m"], id="apiservice",
    ),
    pytest.param(
        "IPAddress", {"spec": {"parentRef": {"resource": "services", "namespace": "d", "name": "s"}}},
        ["x", "services/d/s"], id="ipaddress",
    ),
    pytest.param(
        "ResourceClaim", {"status": {"allocation": {"a": 1}, "reservedFor": [{}]}},
        ["x", "allocated,reserved", "60m"], id="device-claim",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "obj", "expected"), CASES)
def test_cells(kind, obj, expected):
    assert cells(kind, obj) == expected


EVENT = {
    "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{a}"},
    "type": "Normal", "reason": "Pulled", "message": "done\n", "count": 3,
    "firstTimestamp": "2026-01-02T11:50:00Z", "lastTimestamp": "2026-01-02T11:59:50Z",
    "source": {"component": "kubelet", "host": "n1"},
}  # fmt: skip
NEW_EVENT = {
    "regarding": {"kind": "Pod", "name": "web"}, "type": "Warning", "reason": "FailedScheduling", "note": "no room",
    "eventTime": "2026-01-02T11:50:00.000000Z", "reportingController": "default-scheduler", "reportingInstance": "s-1",
}  # fmt: skip


def test_an_event_says_what_happened_to_what():
    expected = ["10s", "Normal", "Pulled", "pod/web", "spec.containers{a}", "kubelet, n1", "done", "10m", 3, "x"]
    assert cells("Event", EVENT, group="") == expected


def test_an_event_of_the_new_api_has_the_same_columns():
    expected = ["10m", "Warning", "FailedScheduling", "pod/web", "", "default-scheduler, s-1", "no room", "10m", 1, "x"]
    assert cells("Event", NEW_EVENT, group="events.k8s.io") == expected


def test_an_event_series_says_when_it_was_last_seen():
    series = {**NEW_EVENT, "series": {"count": 7, "lastObservedTime": "2026-01-02T11:59:00.000000Z"}}
    row = cells("Event", series, group="events.k8s.io")
    assert (row[0], row[7], row[8]) == ("60s", "10m", 7)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.is_kept], ids=lambda kind: f"{kind.api_version}-{kind.name}"
)
def test_an_object_with_nothing_but_a_name_has_a_row(kind):
    printer = find_printer(kind)
    row = printer.cells({"kind": kind.name, "metadata": {"name": "x", "creationTimestamp": HOUR_AGO}}, NOW)
    assert len(row) == len(printer.columns)
