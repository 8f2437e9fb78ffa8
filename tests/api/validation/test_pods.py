import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge import changed, faults, kind_of, made, subresource_faults, update_faults

from kobune.api.names import NOT_A_LABEL
from kobune.api.validation import validate_create

POD = kind_of("Pod")
FINE = made(POD, {"spec": {"containers": [{"name": "c", "image": "i:1"}]}})
RICH = made(POD, {
    "metadata": {"labels": {"app": "web"}},
    "spec": {
        "serviceAccountName": "default",
        "nodeName": "n",
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ],
        "containers": [{
            "name": "web",
            "image": "nginx:1.27",
            "ports": [{"name": "http", "containerPort": 80}],
            "env": [{"name": "A", "value": "b"}, {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "250m", "memory": "64Mi"}},
            "volumeMounts": [
                {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
                {"name": "data", "mountPath": "/data"},
            ],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
            "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": False},
        }],
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]}},
        ],
    },
})  # fmt: skip
PROBE = {
    "tcpSocket": {"port": 1},
    "timeoutSeconds": 1,
    "periodSeconds": 1,
    "successThreshold": 1,
    "failureThreshold": 1,
}


def test_sound_pods_have_no_fault():
    assert faults(POD, FINE) == []
    assert faults(POD, RICH) == []


def test_a_typical_pod_is_judged_quickly():
    """Tens of microseconds; the bound leaves room for a busy machine."""
    timer = timeit.Timer(lambda: validate_create(POD, RICH))
    assert min(timer.repeat(5, 200)) / 200 < 500e-6


@pytest.mark.parametrize("change, fault", [
    ({"spec__containers": []}, "spec.containers: Required value"),
    ({"spec__containers__0__name": ""}, "spec.containers[0].name: Required value"),
    ({"spec__containers__0__name": "A"}, f'spec.containers[0].name: Invalid value: "A": {NOT_A_LABEL}'),
    ({"spec__containers__0__image": ""}, "spec.containers[0].image: Required value"),
    ({"spec__containers__0__image": " i"}, 'spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace'),
    ({"spec__containers__0__imagePullPolicy": "Often"},
     'spec.containers[0].imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"'),
    ({"spec__containers__0__ports": [{"containerPort": 70000, "protocol": "TCP"}]},
     "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
    ({"spec__containers__0__ports": [{"containerPort": 1, "protocol": "TCP", "name": "a"}, {"containerPort": 2, "protocol": "TCP", "name": "a"}]},
     'spec.containers[0].ports[1].name: Duplicate value: "a"'),
    ({"spec__containers__0__ports": [{"containerPort": 1, "hostPort": 9, "protocol": "TCP"}, {"containerPort": 2, "hostPort": 9, "protocol": "TCP"}]},
     'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//9"'),
    ({"spec__containers__0__env": [{"name": ""}]}, "spec.containers[0].env[0].name: Required value"),
    ({"spec__containers__0__env": [{"name": "a", "valueFrom": {}}]},
     'spec.containers[0].env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`,'
     " `secretKeyRef` or `fileKeyRef`"),
    ({"spec__containers__0__env": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}}]},
     "spec.containers[0].env[0].valueFrom.secretKeyRef.key: Required value"),
    ({"spec__containers__0__volumeMounts": [{"name": "x", "mountPath": "/x"}]}, 'spec.containers[0].volumeMounts[0].name: Not found: "x"'),
    ({"spec__containers__0__livenessProbe": {**PROBE, "successThreshold": 2}},
     "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
    ({"spec__containers__0__livenessProbe": {key: value for key, value in PROBE.items() if key != "tcpSocket"}},
     "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
    ({"spec__containers__0__resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
     'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
    ({"spec__containers__0__resources": {"limits": {"pods": "1"}}},
     'spec.containers[0].resources.limits[pods]: Invalid value: "pods": must be a standard resource for containers'),
    ({"spec__containers__0__resources": {"limits": {"example.com/gpu": "500m"}}},
     'spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer'),
    ({"spec__containers__0__resources": {"requests": {"memory": "-1"}}},
     'spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0'),
    ({"spec__restartPolicy": "Sometimes"},
     'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'),
    ({"spec__dnsPolicy": "None"}, "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
    ({"spec__volumes": [{"name": "v"}]}, "spec.volumes[0]: Required value: must specify a volume type"),
    ({"spec__volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]},
     "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"),
    ({"spec__volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]}, 'spec.volumes[1].name: Duplicate value: "v"'),
    ({"spec__volumes": [{"name": "v", "hostPath": {"path": "/a/../b", "type": ""}}]},
     "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
    ({"spec__volumes": [{"name": "v", "secret": {"defaultMode": 420}}]}, "spec.volumes[0].secret.secretName: Required value"),
    ({"spec__tolerations": [{"operator": "Equal", "value": "x"}]},
     'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"'),
    ({"spec__tolerations": [{"key": "a", "tolerationSeconds": 1}]},
     "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"),
    ({"spec__activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"),
    ({"spec__hostNetwork": True, "spec__containers__0__ports": [{"containerPort": 1, "protocol": "TCP"}]},
     "spec.containers[0].ports[0].hostPort: Invalid value: 0: must match `containerPort` when `hostNetwork` is true"),
    ({"spec__initContainers": [{"name": "c", "image": "i", "imagePullPolicy": "Never", "terminationMessagePolicy": "File"}]},
     'spec.initContainers[0].name: Duplicate value: "c"'),
    ({"spec__initContainers": [{"name": "d", "image": "i", "imagePullPolicy": "Never", "terminationMessagePolicy": "File", "readinessProbe": PROBE}]},
     "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"),
    ({"spec__affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
     "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value:"
     " must have at least one node selector term"),
    ({"spec__topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
     "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
    ({"spec__ephemeralContainers": [{"name": "e", "image": "i", "imagePullPolicy": "Never", "terminationMessagePolicy": "File"}]},
     "spec.ephemeralContainers: Forbidden: cannot be set on create"),
    ({"spec__securityContext": {"runAsUser": -1}},
     "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"),
    ({"spec__containers__0__securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
     'spec.containers[0].securityContext: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}:'
     " cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
    ({"spec__resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}, "spec__containers__0__resources": {"requests": {"cpu": "500m"}}},
     'spec.resources.requests[cpu]: Invalid value: "100m": must be greater than or equal to aggregate container requests of 500m'),
    ({"spec__os": {"name": "windows"}, "spec__hostPID": True}, "spec.hostPID: Forbidden: cannot be set for a windows pod"),
])  # fmt: skip
def test_a_fault_is_named_in_upstreams_words(change, fault):
    assert faults(POD, changed(FINE, **change)) == [fault]


def test_every_fault_is_reported_at_once():
    pod = changed(FINE, spec__containers__0__name="", spec__restartPolicy="X", metadata__name="")
    assert [fault.partition(":")[0] for fault in faults(POD, pod)] == [
        "metadata.name",
        "spec.containers[0].name",
        "spec.restartPolicy",
    ]


def test_a_pod_without_a_spec_says_what_is_required():
    found = faults(POD, {"metadata": {"name": "a", "namespace": "b"}})
    assert "spec.containers: Required value" in found


MAY_NOT = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"


@pytest.mark.parametrize("change", [
    {"spec__containers__0__image": "i:2"},
    {"metadata__labels": {"a": "b"}},
    {"spec__activeDeadlineSeconds": 5},
    {"spec__tolerations": [{"key": "a", "operator": "Exists"}]},
    {"spec__hostNetwork": False},
    {"status": {"phase": "Running"}},
])  # fmt: skip
def test_what_may_change_in_a_pod(change):
    assert update_faults(POD, changed(FINE, **change), FINE) == []


def test_what_may_not_change_in_a_pod_is_shown():
    (fault,) = update_faults(POD, changed(FINE, spec__nodeName="n", spec__containers__0__command=["x"]), FINE)
    assert fault.startswith(MAY_NOT)
    assert fault.endswith('\n+ containers[0].command: ["x"]\n+ nodeName: "n"')


@pytest.mark.parametrize("change, fault", [
    ({"spec__containers__1": {"name": "d", "image": "i", "imagePullPolicy": "Never", "terminationMessagePolicy": "File"}},
     "spec.containers: Forbidden: pod updates may not add or remove containers"),
    ({"spec__tolerations": []}, "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"),
])  # fmt: skip
def test_updates_that_are_refused(change, fault):
    old = changed(FINE, spec__tolerations=[{"key": "a", "operator": "Exists"}])
    assert update_faults(POD, changed(old, **change), old) == [fault]


def test_a_gated_pod_can_be_narrowed():
    old = changed(FINE, spec__schedulingGates=[{"name": "example.com/wait"}], spec__nodeSelector={"a": "b"})
    assert update_faults(POD, changed(old, spec__nodeSelector={"a": "b", "c": "d"}), old) == []
    assert update_faults(POD, changed(old, spec__schedulingGates=[]), old) == []
    (fault,) = update_faults(POD, changed(old, spec__nodeSelector={"c": "d"}), old)
    assert fault.endswith("only additions to spec.nodeSelector are allowed (no mutations or deletions)")


def test_status_updates_leave_what_has_ended():
    ended = {"name": "c", "state": {"terminated": {"exitCode": 0}}}
    old = changed(FINE, spec__restartPolicy="Never", status={"containerStatuses": [ended]})
    new = changed(old, status={"containerStatuses": [{"name": "c", "state": {"running": {}}}]})
    assert subresource_faults(POD, "status", new, old) == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]
    always = changed(old, spec__restartPolicy="Always")
    assert subresource_faults(POD, "status", changed(new, spec__restartPolicy="Always"), always) == []


def test_ephemeral_containers_are_only_added():
    one = {"name": "e", "image": "i", "imagePullPolicy": "Never", "terminationMessagePolicy": "File", "resources": {}}
    added = changed(FINE, spec__ephemeralContainers=[one])
    assert subresource_faults(POD, "ephemeralcontainers", added, FINE) == []
    (fault,) = subresource_faults(POD, "ephemeralcontainers", FINE, added)
    assert fault == 'spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed\n'


def test_resizing_changes_cpu_and_memory_alone():
    sized = changed(FINE, spec__containers__0__resources={"requests": {"cpu": "1"}})
    assert (
        subresource_faults(
            POD, "resize", changed(sized, spec__containers__0__resources={"requests": {"cpu": "2"}}), sized
        )
        == []
    )
    assert subresource_faults(POD, "resize", changed(sized, spec__containers__0__image="j"), sized) == [
        "spec: Forbidden: only cpu and memory resources are mutable"
    ]
    assert subresource_faults(POD, "resize", changed(sized, spec__containers__0__resources={}), sized) == [
        "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.sampled_from(["", "a", "A b", "1Gi", "-1", "/..", "$"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "key", "path", "cpu"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.sampled_from(sorted(RICH["spec"])), st.text("ab", max_size=2))
def test_a_pod_that_lacks_a_field_is_judged_without_a_crash(field, name):
    pod = changed(RICH, **{f"spec__{field}": None})
    pod["metadata"]["name"] = name
    assert isinstance(validate_create(POD, pod), list)
