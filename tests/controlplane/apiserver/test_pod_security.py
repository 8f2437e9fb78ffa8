"""The Pod Security Standards, and the namespaces that ask for them."""

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.admission.configuration import read_admission
from kobune.controlplane.apiserver.admission.pod_security_policy import Policy, Standard, policy_of
from kobune.controlplane.apiserver.admission.pod_security_standards import violations
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from tests.controlplane.apiserver.conftest import Asker

GOOD = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def spec(security=None, **fields):
    container = {"name": "main", "image": "busybox"}
    if security is not None:
        container["securityContext"] = security
    return {"containers": [container], **fields}


@pytest.mark.parametrize(
    ("pod", "level", "expected"),
    [
        (spec({"privileged": True}, hostNetwork=True), "privileged", []),
        (spec(), "baseline", []),
        (spec(hostPID=True, hostIPC=True), "baseline", ["host namespaces (hostPID=true, hostIPC=true)"]),
        (
            spec({"privileged": True}), "baseline",
            ['privileged (container "main" must not set securityContext.privileged=true)'],
        ),
        (
            spec({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}), "baseline",
            ['non-default capabilities (container "main" must not include "NET_ADMIN" in securityContext.capabilities.add)'],
        ),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), "baseline", ['hostPath volumes (volume "v")']),
        (
            {"containers": [{"name": "main", "livenessProbe": {"httpGet": {"port": 80, "host": "8.8.8.8"}}}]}, "baseline",
            ['probe or lifecycle host (container "main" uses probe or lifecycle host "8.8.8.8")'],
        ),
        (
            spec(securityContext={"windowsOptions": {"hostProcess": True}}), "baseline",
            ["hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"],
        ),
        (spec(GOOD), "restricted", []),
        (
            spec(), "restricted",
            [
                'allowPrivilegeEscalation != false (container "main" must set securityContext.allowPrivilegeEscalation=false)',
                'unrestricted capabilities (container "main" must set securityContext.capabilities.drop=["ALL"])',
                'runAsNonRoot != true (pod or container "main" must set securityContext.runAsNonRoot=true)',
                'seccompProfile (pod or container "main" must set securityContext.seccompProfile.type to '
                '"RuntimeDefault" or "Localhost")',
            ],
        ),
        (
            spec(GOOD, volumes=[{"name": "v", "nfs": {}}]), "restricted",
            ['restricted volume types (volume "v" uses restricted volume type "nfs")'],
        ),
    ],
)  # fmt: skip
def test_violations(pod, level, expected):
    assert [str(one) for one in violations(pod, level, minor=36)] == expected


async def test_a_namespace_enforces_and_warns(ask):
    labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}
    await ask.create("/api/v1/namespaces", {"metadata": {"name": "safe", "labels": labels}})
    await ask.create("/api/v1/namespaces/safe/serviceaccounts", {"metadata": {"name": "default"}})
    pods = "/api/v1/namespaces/safe/pods"
    answer = await ask("POST", pods, {"metadata": {"name": "a"}, "spec": spec(hostNetwork=True)}, status=403)
    assert answer["message"] == (
        'pods "a" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
    )
    response = await ask.raw("POST", pods, {"metadata": {"name": "a"}, "spec": spec()})
    assert response.status == 201
    assert "would violate PodSecurity" in response.headers["Warning"]


@pytest.mark.parametrize(
    ("pod", "level", "first", "what"),
    [
        # A pod that a level lets in since a version of the standards.
        (spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}), "baseline", 32, "forbidden sysctls"),
        (spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_fin_timeout"}]}), "baseline", 29, "forbidden sysctls"),
        (spec({"seLinuxOptions": {"type": "container_engine_t"}}), "baseline", 31, "seLinuxOptions"),
        (spec({"procMount": "Unmasked"}, hostUsers=False), "baseline", 35, "procMount"),
        (spec({**GOOD, "runAsUser": 0}, hostUsers=False), "restricted", 35, "runAsUser=0"),
        (
            spec({"runAsNonRoot": True}, os={"name": "windows"}), "restricted", 25,
            "allowPrivilegeEscalation != false, unrestricted capabilities, seccompProfile",
        ),
    ],
)  # fmt: skip
def test_what_later_versions_allow(pod, level, first, what):
    assert not violations(pod, level, minor=first)
    assert ", ".join(one.what for one in violations(pod, level, minor=first - 1)) == what


@pytest.mark.parametrize(
    ("pod", "level", "first", "what"),
    [
        # And one that it no longer lets in.
        (spec({"seccompProfile": {"type": "Unconfined"}}), "baseline", 19, "seccompProfile"),
        ({"containers": [{"name": "a", "startupProbe": {"tcpSocket": {"host": "b"}}}]}, "baseline", 34,
         "probe or lifecycle host"),
        (spec({**GOOD, "capabilities": {}}), "restricted", 22, "unrestricted capabilities"),
        (spec({**GOOD, "runAsUser": 0}), "restricted", 23, "runAsUser=0"),
        (spec({key: value for key, value in GOOD.items() if key != "seccompProfile"}), "restricted", 19, "seccompProfile"),
    ],
)  # fmt: skip
def test_what_later_versions_forbid(pod, level, first, what):
    assert not violations(pod, level, minor=first - 1)
    assert [one.what for one in violations(pod, level, minor=first)] == [what]


def test_annotations_were_what_said_it_once():
    marks = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    (found,) = violations(spec(), "baseline", minor=18, annotations=marks)
    assert str(found) == 'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    marks = {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
    (found,) = violations(spec(), "baseline", minor=36, annotations=marks)
    assert str(found) == (
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to "
        '"container.apparmor.security.beta.kubernetes.io/main="unconfined"")'
    )


def test_selinux_options_are_told_one_by_one():
    pod = spec({"seLinuxOptions": {"type": "x", "user": "u", "role": "r"}})
    (found,) = violations(pod, "baseline", minor=36)
    assert str(found) == (
        'seLinuxOptions (container "main" set forbidden securityContext.seLinuxOptions: type "x"; '
        "user may not be set; role may not be set)"
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, Policy()),
        ({"enforce": "baseline", "enforce-version": "v1.25"},
         Policy(Standard("baseline", "v1.25"), warn=Standard("baseline", "v1.25"))),
        ({"enforce": "baseline", "warn": "privileged"}, Policy(Standard("baseline"))),
        ({"enforce": "baseline", "warn-version": "v1.30"}, Policy(Standard("baseline"), warn=Standard("baseline", "v1.30"))),
    ],
)  # fmt: skip
def test_labels_are_a_policy(labels, expected):
    policy, faults = policy_of({f"pod-security.kubernetes.io/{key}": value for key, value in labels.items()}, Policy())
    assert (policy, faults) == (expected, [])


NAMESPACE = "/api/v1/namespaces"
MERGE = "application/merge-patch+json"


def labelled(**labels):
    named = {f"pod-security.kubernetes.io/{key.replace('_', '-')}": value for key, value in labels.items()}
    return {"metadata": {"labels": named}}


async def test_labels_that_mean_nothing_are_refused(ask):
    answer = await ask("PATCH", f"{NAMESPACE}/default", labelled(enforce="strict"), status=422, content_type=MERGE)
    assert answer["message"] == (
        'Namespace "default" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": '
        "must be one of privileged, baseline, restricted"
    )
    await ask("PATCH", f"{NAMESPACE}/default", labelled(warn_version="v2"), status=422, content_type=MERGE)


async def test_pods_that_a_new_level_would_not_let_in_are_told(ask):
    pods = f"{NAMESPACE}/default/pods"
    for name in ("a", "b", "c"):
        await ask.create(pods, {"metadata": {"name": name}, "spec": spec(hostNetwork=name != "c")})
    response = await ask.raw("PATCH", f"{NAMESPACE}/default", labelled(enforce="baseline"), content_type=MERGE)
    assert response.status == 200
    assert (
        'existing pods in namespace \\"default\\" violate the new PodSecurity enforce level \\"baseline:latest\\"'
        in (response.headers["Warning"])
    )
    assert "a (and 1 other pod): host namespaces" in response.headers["Warning"]
    response = await ask.raw("PATCH", f"{NAMESPACE}/default", labelled(enforce="privileged"), content_type=MERGE)
    assert "Warning" not in response.headers


DEFAULTS = {
    "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
    "defaults": {"enforce": "baseline", "enforce-version": "v1.30"},
    "exemptions": {"namespaces": ["kube-system"], "usernames": ["ann"], "runtimeClasses": ["kata"]},
}  # fmt: skip


def configured(plugin):
    return {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [plugin]}


@pytest.mark.parametrize("plugin", [{"configuration": DEFAULTS}, {"path": "pod-security.yaml"}])
async def test_a_configuration_gives_defaults_and_exempts(plugin):
    settings = read_admission(
        configured({"name": "PodSecurity", **plugin}), {"pod-security.yaml": DEFAULTS}.__getitem__
    )
    config = ApiServerConfig(admission=settings, disabled_admission_plugins=("ServiceAccount",))
    async with ApiServer(config, MemoryStore(), clock=SystemClock()) as server:
        ask, ann = Asker(server), Asker(server, User("ann", groups=("system:masters",)))
        pod = {"metadata": {"name": "a"}, "spec": spec(hostNetwork=True)}
        answer = await ask("POST", f"{NAMESPACE}/default/pods", pod, status=403)
        assert 'violates PodSecurity "baseline:v1.30"' in answer["message"]
        await ask.create(f"{NAMESPACE}/kube-system/pods", pod)
        await ann.create(f"{NAMESPACE}/default/pods", pod)


@pytest.mark.parametrize("configuration", [
    {"kind": "X"}, configured({"name": "Priority"}),
    configured({"name": "PodSecurity", "configuration": {**DEFAULTS, "defaults": {"warn": "x"}}}),
    configured({"name": "PodSecurity", "configuration": {**DEFAULTS, "exemptions": {"usernames": [""]}}}),
])  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused(configuration):
    with pytest.raises(ValueError):
        read_admission(configuration, dict.get)


async def test_a_version_may_name_its_patch():
    async with ApiServer(ApiServerConfig(cluster_version="1.36.1"), MemoryStore(), clock=SystemClock()) as server:
        answer = await Asker(server)("PATCH", f"{NAMESPACE}/default", labelled(enforce="baseline"), content_type=MERGE)
        assert answer["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
