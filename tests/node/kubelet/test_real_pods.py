"""Pods as real containers: kubelet, containerd and the kernel together."""

import asyncio
import base64
import os
import random
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.kubelet import Kubelet
from kobune.node.machine.mounts import unmount_below

pytestmark = [pytest.mark.real]

IMAGE = "kobune.local/busybox"
# No controllers run here, so nothing makes service accounts or waits for the default namespaces.
API = ApiServerConfig(disabled_admission_plugins=("ServiceAccount",), serve_bootstrap=False)


@pytest.fixture
def closed_umask():
    """As the node agent has it: what containers must reach is opened on purpose."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
async def real(make_node, tmp_path, make_world, closed_umask):
    machine = make_node(1)
    await machine.start()
    runtime = machine.open_runtime()
    server = ApiServer(API, MemoryStore(), clock=SystemClock(), source=random.Random(1))
    async with server:
        config = KubeletConfig(
            "node-1",
            addresses=[("InternalIP", str(machine.spec.address)), ("Hostname", "node-1")],
            root_dir=tmp_path / "kubelet",
            cgroup_root=str(machine.cgroup_parent),
            sync_seconds=1.0,
        )

        def kubelet_of(world):
            return Kubelet(world.client, runtime, config, clock=SystemClock())

        world = make_world(server, runtime, config, kubelet_of)
        for name in ("default", "kube-node-lease"):
            await world.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        world.start_kubelet()
        try:
            yield world
        finally:
            await world.stop_kubelet()
            await runtime.close()
            unmount_below(tmp_path)


def shell(script, **more):
    return {"name": "main", "image": IMAGE, "command": ["sh", "-c", script]} | more


@asynccontextmanager
async def http_of(world):
    async with TestClient(TestServer(world.kubelet.server().application())) as client:
        yield client


async def logs_of(world, name, container="main", query=""):
    async with http_of(world) as http:
        answer = await http.get(f"/containerLogs/default/{name}/{container}?{query}")
        return await answer.text()


def phase(wanted):
    return lambda pod: pod["status"].get("phase") == wanted


async def test_a_pod_sees_its_environment_files_and_names(real):
    encoded = base64.b64encode(b"s3cret").decode()
    await real.call(
        "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "settings"}, "data": {"a": "1"}}
    )
    await real.call(
        "POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "keys"}, "data": {"k": encoded}}
    )
    script = (
        "echo $A $KEY $POD_IP $(NODE) $CPU; cat /config/a; echo; cat /secret/k; echo; cat /info/labels; echo;"
        "cat /etc/hosts | tail -1; cat /etc/resolv.conf; hostname; echo data > /scratch/f; cat /scratch/f; id -u;"
        "mount | grep /secret | cut -d' ' -f5; ls -l /config | grep -c data; echo bye > /dev/termination-log; exit 7"
    )
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "value": "node-1"},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]
    volumes = [
        {"name": "config", "configMap": {"name": "settings"}},
        {"name": "secret", "secret": {"secretName": "keys"}},
        {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "scratch", "emptyDir": {}},
    ]
    mounts = [{"name": each["name"], "mountPath": f"/{each['name']}"} for each in volumes]
    limits = {"limits": {"cpu": "250m", "memory": "64Mi"}}
    main = shell(script, env=env, volumeMounts=mounts, resources=limits, securityContext={"runAsUser": 1000})
    await real.create(
        "web", containers=[main], volumes=volumes, restartPolicy="Never", metadata={"labels": {"app": "web"}}
    )
    pod = await real.until_pod("web", phase("Failed"), 60)
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    text = await logs_of(real, "web")
    ip = pod["status"]["podIP"]
    assert text.splitlines()[:5] == [f"1 s3cret {ip} node-1 250", "1", "s3cret", 'app="web"', f"{ip}\tweb"], text
    assert "nameserver 10.0.0.10" in text
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in text
    assert text.splitlines()[-5:] == ["web", "data", "1000", "tmpfs", "1"], text
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (7, "Error", "bye\n")
    assert pod["status"]["qosClass"] == "Guaranteed"


async def test_a_changed_config_map_reaches_the_running_container(real):
    await real.call(
        "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "settings"}, "data": {"a": "old"}}
    )
    mounts = [{"name": "config", "mountPath": "/config"}]
    script = "while ! grep -q new /config/a; do sleep 0.1; done; echo seen"
    await real.create(
        "web",
        containers=[shell(script, volumeMounts=mounts)],
        volumes=[{"name": "config", "configMap": {"name": "settings"}}],
        restartPolicy="Never",
    )
    await real.until_pod("web", phase("Running"), 90)
    path = "/api/v1/namespaces/default/configmaps/settings"
    await real.call("PATCH", path, {"data": {"a": "new"}}, "application/merge-patch+json")
    real.kubelet.workers[(await real.pod("web"))["metadata"]["uid"]].wake()
    for _ in range(300):
        await asyncio.sleep(0.2)
        real.kubelet.workers[(await real.pod("web"))["metadata"]["uid"]].wake()
        if (await real.pod("web"))["status"]["phase"] == "Succeeded":
            break
    assert await logs_of(real, "web") == "seen\n"


async def test_a_container_that_takes_too_much_memory_is_killed_and_said_to_be(real):
    limits = {"limits": {"memory": "16Mi"}}
    await real.create("hog", containers=[shell("tail /dev/zero", resources=limits)], restartPolicy="Never")
    pod = await real.until_pod("hog", phase("Failed"), 60)
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_a_command_that_does_not_exist_is_reported(real):
    await real.create(
        "none", containers=[{"name": "main", "image": IMAGE, "command": ["/none"]}], restartPolicy="Never"
    )
    pod = await real.until_pod("none", phase("Failed"), 60)
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["reason"] == "StartError"
    assert ended["exitCode"] == 128


async def test_an_http_probe_makes_a_pod_ready(real):
    probe = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1}
    main = shell(
        "echo hello > /index.html; sleep 1; exec httpd -f -p 8080 -h /",
        readinessProbe=probe,
        ports=[{"containerPort": 8080, "name": "web"}],
    )
    await real.create("web", containers=[main], terminationGracePeriodSeconds=1)
    pod = await real.until_pod("web", lambda pod: (pod["status"].get("containerStatuses") or [{}])[0].get("ready"), 90)
    assert pod["status"]["phase"] == "Running"


async def test_commands_run_in_containers_with_input_and_exit_code(real):
    await real.create("web", containers=[shell("sleep 1000")], terminationGracePeriodSeconds=1)
    await real.until_pod("web", phase("Running"), 90)
    async with http_of(real) as http:
        query = "command=sh&command=-c&command=cat;echo%20no%20%3E%262;exit%205&input=1&output=1&error=1"
        async with http.ws_connect(f"/exec/default/web/main?{query}", protocols=["v5.channel.k8s.io"]) as socket:
            await socket.send_bytes(b"\x00hello")
            await socket.send_bytes(b"\xff\x00")
            frames = [message.data async for message in socket]
    assert b"".join(frame[1:] for frame in frames if frame[0] == 1) == b"hello"
    assert b"".join(frame[1:] for frame in frames if frame[0] == 2) == b"no\n"
    assert orjson.loads(frames[-1][1:])["details"]["causes"][0]["message"] == "5"


async def test_a_killed_kubelet_loses_no_container_and_the_next_one_goes_on(real):
    await real.create("web", containers=[shell("sleep 1000")], terminationGracePeriodSeconds=1)
    before = await real.until_pod("web", phase("Running"), 90)
    await real.create("other", containers=[shell("sleep 1000")], terminationGracePeriodSeconds=1)
    await real.until_pod("other", phase("Running"), 90)
    await real.stop_kubelet()
    await real.delete("other", grace=0)
    real.start_kubelet()

    async def other_is_gone():
        return len(await real.runtime.list_sandboxes()) == 1

    await real.until(other_is_gone, 90)
    after = await real.pod("web")
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    await real.delete("web")
    await real.until_gone("web", 90)


async def test_deletion_leaves_no_mount_and_no_cgroup(real):
    volumes = [{"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
    mounts = [{"name": "memory", "mountPath": "/memory"}, {"name": "memory", "mountPath": "/part", "subPath": "a/b"}]
    main = shell("echo x > /part/f; sleep 1000", volumeMounts=mounts)
    pod = await real.create("web", containers=[main], volumes=volumes, terminationGracePeriodSeconds=1)
    uid = pod["metadata"]["uid"]
    await real.until_pod("web", phase("Running"), 90)
    assert uid in Path("/proc/self/mountinfo").read_text()
    await real.delete("web")
    await real.until_gone("web", 90)

    async def groups() -> bytes:
        found = await asyncio.create_subprocess_shell(
            f"find /sys/fs/cgroup -name '*{uid}*' | head", stdout=asyncio.subprocess.PIPE
        )
        return (await found.communicate())[0]

    async with asyncio.timeout(60):
        while uid in Path("/proc/self/mountinfo").read_text() or await groups():
            await asyncio.sleep(0.1)


async def test_a_pod_that_is_not_root_reads_and_writes_what_it_should(real):
    encoded = base64.b64encode(b"v").decode()
    await real.call(
        "POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "keys"}, "data": {"k": encoded}}
    )
    volumes = [
        {"name": "e", "emptyDir": {}},
        {"name": "s", "secret": {"secretName": "keys", "defaultMode": 0o400, "items": [{"key": "k", "path": "a/b"}]}},
    ]
    main = shell(
        "id -u; id -G; cat /s/a/b; echo; echo x > /e/f && echo written; mkdir -p /sub/x && echo made;"
        "grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status; touch /x 2>/dev/null || echo read-only",
        volumeMounts=[
            {"name": "e", "mountPath": "/e"},
            {"name": "e", "mountPath": "/sub", "subPath": "deep/er"},
            {"name": "s", "mountPath": "/s"},
        ],
        securityContext={
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    )
    await real.create(
        "web",
        containers=[main],
        volumes=volumes,
        restartPolicy="Never",
        securityContext={"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000, "runAsNonRoot": True},
    )
    await real.until_pod("web", lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"), 90)
    lines = (await logs_of(real, "web")).splitlines()
    assert lines[:5] == ["1000", "2000 3000", "v", "written", "made"], lines
    assert lines[5].split() == ["NoNewPrivs:", "1"]
    assert lines[6].split() == ["CapEff:", "0000000000000000"]
    assert "read-only" in lines
