"""The Pod Security Standards, and the namespaces that ask for them."""

import pytest

from kobune.controlplane.apiserver.admission.pod_security_standards import violations

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
    assert [str(one) for one in violations(pod, level)] == expected


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
