from typing import Any

import pytest
from judge import changed, faults, kind_of, made, subresource_faults, update_faults

SELECTED = {"selector": {"matchLabels": {"app": "web"}}}
POD = {"containers": [{"name": "c", "image": "i:1"}]}
TEMPLATE = {"template": {"metadata": {"labels": {"app": "web"}}, "spec": POD}}
DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET = (
    kind_of(name, "apps") for name in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
)
REVISION, CONTROLLER = kind_of("ControllerRevision", "apps"), kind_of("ReplicationController")
JOB, CRON_JOB = kind_of("Job", "batch"), kind_of("CronJob", "batch")
LABELS = {
    "controller-uid": "u",
    "job-name": "a",
    "batch.kubernetes.io/controller-uid": "u",
    "batch.kubernetes.io/job-name": "a",
}
JOB_TEMPLATE = {"template": {"metadata": {"labels": LABELS}, "spec": {**POD, "restartPolicy": "Never"}}}
FINE = {
    kind: made(kind, body)
    for kind, body in {
        DEPLOYMENT: {"spec": {**SELECTED, **TEMPLATE}},
        REPLICA_SET: {"spec": {**SELECTED, **TEMPLATE}},
        STATEFUL_SET: {"spec": {**SELECTED, **TEMPLATE, "serviceName": "s"}},
        DAEMON_SET: {"spec": {**SELECTED, **TEMPLATE}},
        REVISION: {"data": {"spec": {}}, "revision": 1},
        CONTROLLER: {"spec": {"selector": {"app": "web"}, **TEMPLATE}},
        JOB: {"spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}, **JOB_TEMPLATE}},
        CRON_JOB: {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}}},
    }.items()
}  # fmt: skip
MISMATCH = "`selector` does not match template `labels`"


@pytest.mark.parametrize("kind", FINE, ids=lambda kind: kind.name)
def test_sound_workloads_have_no_fault(kind: Any):
    assert faults(kind, FINE[kind]) == []
    assert update_faults(kind, FINE[kind], FINE[kind]) == []


@pytest.mark.parametrize("kind, change, expected", [
    (DEPLOYMENT, {"spec__selector": None}, ["spec.selector: Required value", f'spec.template.metadata.labels: Invalid value: {{"app":"web"}}: {MISMATCH}']),
    (DEPLOYMENT, {"spec__selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
    (DEPLOYMENT, {"spec__template__metadata__labels__app": "db"}, [f'spec.template.metadata.labels: Invalid value: {{"app":"db"}}: {MISMATCH}']),
    (DEPLOYMENT, {"spec__replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
    (DEPLOYMENT, {"spec__template__spec__containers": []}, ["spec.template.spec.containers: Required value"]),
    (DEPLOYMENT, {"spec__template__spec__restartPolicy": "Never"},
     ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']),
    (DEPLOYMENT, {"spec__strategy": {"type": "Slow"}}, ['spec.strategy: Unsupported value: {"type":"Slow"}: supported values: "Recreate", "RollingUpdate"']),
    (DEPLOYMENT, {"spec__strategy__type": "Recreate"},
     ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]),
    (DEPLOYMENT, {"spec__strategy__rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
     ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]),
    (DEPLOYMENT, {"spec__minReadySeconds": 600},
     ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"]),
    (REPLICA_SET, {"spec__selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
    (STATEFUL_SET, {"spec__podManagementPolicy": "Fast"},
     ["spec.podManagementPolicy: Invalid value: \"Fast\": must be 'OrderedReady' or 'Parallel'"]),
    (STATEFUL_SET, {"spec__updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 0}}},
     ["spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":0}: only allowed for updateStrategy 'RollingUpdate'"]),
    (STATEFUL_SET, {"spec__updateStrategy__rollingUpdate__partition": -1},
     ["spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"]),
    (DAEMON_SET, {"spec__updateStrategy": {"type": "Never"}},
     ['spec.updateStrategy: Unsupported value: {"type":"Never"}: supported values: "RollingUpdate", "OnDelete"']),
    (DAEMON_SET, {"spec__template__spec__restartPolicy": "OnFailure"},
     ['spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always"']),
    (REVISION, {"revision": -1}, ["revision: Invalid value: -1: must be greater than or equal to 0"]),
    (CONTROLLER, {"spec__selector": {}}, ["spec.selector: Required value"]),
    (CONTROLLER, {"spec__template": None}, ["spec.template: Required value"]),
    (JOB, {"spec__completions": -1}, ["spec.completions: Invalid value: -1: must be greater than or equal to 0"]),
    (JOB, {"spec__template__spec__restartPolicy": "Always"}, ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
    (JOB, {"spec__completionMode": "Indexed", "spec__completions": None},
     ["spec.completions: Required value: when completion mode is Indexed"]),
    (JOB, {"spec__backoffLimitPerIndex": 1}, ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]),
    (JOB, {"spec__template__metadata__labels__job-name": "b"},
     ["spec.template.metadata.labels[job-name]: Invalid value: {\"controller-uid\":\"u\",\"job-name\":\"b\",\"batch.kubernetes.io/controller-uid\":\"u\","
      "\"batch.kubernetes.io/job-name\":\"a\"}: must be 'a'"]),
    (JOB, {"spec__podReplacementPolicy": "Soon"},
     ['spec.podReplacementPolicy: Unsupported value: "Soon": supported values: "Failed", "TerminatingOrFailed"']),
    (JOB, {"spec__managedBy": "me"}, ['spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")']),
    (JOB, {"spec__podReplacementPolicy": "Failed", "spec__podFailurePolicy": {"rules": [{"action": "Explode", "onExitCodes": {"operator": "In", "values": [1]}}]}},
     ['spec.podFailurePolicy.rules[0].action: Unsupported value: "Explode": supported values: "Count", "FailIndex", "FailJob", "Ignore"']),
    (CRON_JOB, {"spec__schedule": ""}, ["spec.schedule: Required value"]),
    (CRON_JOB, {"spec__schedule": "* * *"},
     ['spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]']),
    (CRON_JOB, {"spec__concurrencyPolicy": "Maybe"},
     ['spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"']),
    (CRON_JOB, {"spec__timeZone": "Mars/Olympus"}, ['spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus']),
    (CRON_JOB, {"spec__jobTemplate__spec__selector": {"matchLabels": {"a": "b"}}},
     ['spec.jobTemplate.spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: `selector` will be auto-generated']),
    (CRON_JOB, {"metadata__name": "a" * 53}, [f'metadata.name: Invalid value: "{"a" * 53}": must be no more than 52 characters']),
], ids=lambda value: value.name if hasattr(value, "plural") else None)  # fmt: skip
def test_faults_of_new_workloads(kind: Any, change: dict[str, Any], expected: list[str]):
    assert faults(kind, changed(FINE[kind], **change)) == expected


@pytest.mark.parametrize("kind, change, expected", [
    (DEPLOYMENT, {"spec__selector__matchLabels__x": "y", "spec__template__metadata__labels__x": "y"},
     ['spec.selector: Invalid value: {"matchLabels":{"app":"web","x":"y"}}: field is immutable']),
    (STATEFUL_SET, {"spec__serviceName": "other"},
     ["spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy',"
      " 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"]),
    (STATEFUL_SET, {"spec__replicas": 7}, []),
    (REVISION, {"data": {"spec": {"a": 1}}}, ['data: Invalid value: {"spec":{"a":1}}: field is immutable']),
    (JOB, {"spec__template__spec__containers__0__image": "other"}, None),
    (JOB, {"spec__parallelism": 0}, []),
    (JOB, {"spec__completions": 2}, ["spec.completions: Invalid value: 2: field is immutable"]),
    (CRON_JOB, {"spec__suspend": True}, []),
], ids=lambda value: value.name if hasattr(value, "plural") else None)  # fmt: skip
def test_faults_of_changes(kind: Any, change: dict[str, Any], expected: list[str] | None):
    found = update_faults(kind, changed(FINE[kind], **change), FINE[kind])
    if expected is None:
        assert [fault.partition(":")[0] for fault in found] == ["spec.template"]
    else:
        assert found == expected


def test_a_suspended_job_may_move_elsewhere():
    held = changed(FINE[JOB], spec__suspend=True)
    moved = changed(held, spec__template__spec__nodeSelector={"zone": "a"})
    assert update_faults(JOB, moved, held) == []
    running = changed(held, status={"startTime": "2026-01-01T00:00:00Z"})
    assert update_faults(JOB, changed(moved, status=running["status"]), running) != []


def test_statuses():
    counts = {"replicas": 1, "readyReplicas": 1, "availableReplicas": 2, "updatedReplicas": 1}
    over = changed(FINE[DEPLOYMENT], status=counts)
    assert subresource_faults(DEPLOYMENT, "status", over, FINE[DEPLOYMENT]) == [
        "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
    ]
    done = changed(FINE[JOB], status={"conditions": [{"type": "Complete", "status": "True"}], "active": 1})
    assert subresource_faults(JOB, "status", done, FINE[JOB]) != []
