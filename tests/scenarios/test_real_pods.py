"""The first tour: a cluster with two real nodes, real containers and the real kubectl."""

import re
import subprocess

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def test_nodes_are_aks_nodes(real_cluster):
    nodes = real_cluster.get("nodes")["items"]
    assert len(nodes) == 2
    for node in nodes:
        assert re.fullmatch(r"aks-nodepool1-\d{8}-vmss00000[01]", node["metadata"]["name"])
        assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "Standard_D2s_v3"
        assert node["status"]["capacity"]["cpu"] == "2"
        assert node["status"]["allocatable"]["cpu"] == "1900m"
        assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
    described = real_cluster.kubectl("describe", "node", nodes[0]["metadata"]["name"])
    for text in ("Allocatable:", "1900m", "KubeletReady", "kubernetes.azure.com/agentpool=nodepool1"):
        assert text in described


def test_a_deployment_is_rolled_out_scaled_changed_and_undone(real_cluster):
    kubectl = real_cluster.kubectl
    kubectl(
        "create", "deployment", "web", "--image=kobune.local/busybox", "--replicas=3", "--", "httpd", "-f", "-p", "8080"
    )
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    pods = real_cluster.get("pods", "-l", "app=web")["items"]
    assert all(pod["status"]["podIP"].startswith("10.24") for pod in pods)
    assert len({pod["status"]["podIP"] for pod in pods}) == 3
    wide = kubectl("get", "pods", "-l", "app=web", "-o", "wide")
    assert wide.count("1/1     Running") == 3
    kubectl("scale", "deployment/web", "--replicas=5")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("set", "image", "deployment/web", "busybox=kobune.local/busybox:latest")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("rollout", "undo", "deployment/web")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert "REVISION" in kubectl("rollout", "history", "deployment/web")


def test_a_pod_is_reached_by_its_address_and_by_its_service(real_cluster):
    kubectl = real_cluster.kubectl
    kubectl("create", "deployment", "site", "--image=kobune.local/busybox", "--replicas=2", "--",
            "sh", "-c", "hostname > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")  # fmt: skip
    kubectl("rollout", "status", "deployment/site", "--timeout=60s")
    kubectl("expose", "deployment", "site", "--port=80", "--target-port=8080")
    kubectl("run", "client", "--image=kobune.local/busybox", "--restart=Never", "--", "sleep", "3600")
    kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    names = {pod["metadata"]["name"] for pod in real_cluster.get("pods", "-l", "app=site")["items"]}
    for pod in real_cluster.get("pods", "-l", "app=site")["items"]:
        direct = kubectl("exec", "client", "--", "wget", "-qO-", f"http://{pod['status']['podIP']}:8080/")
        assert direct.strip() == pod["metadata"]["name"]
    address = real_cluster.get("service", "site")["spec"]["clusterIP"]
    through_service = set()
    for _ in range(30):
        through_service.add(kubectl("exec", "client", "--", "wget", "-qO-", f"http://{address}/").strip())
    assert through_service == names
    from_host = subprocess.run(
        ["python3", "-c", f"import urllib.request as u; print(u.urlopen('http://{address}/', timeout=5).read().decode())"],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert from_host.stdout.strip() in names, from_host.stderr
    token = kubectl("exec", "client", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    assert token.count(".") == 2


def test_logs_and_exec(real_cluster):
    kubectl = real_cluster.kubectl
    kubectl("run", "talker", "--image=kobune.local/busybox", "--restart=Never", "--",
            "sh", "-c", "for i in 1 2 3; do echo line $i; done; sleep 3600")  # fmt: skip
    kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=60s")
    assert real_cluster.eventually(lambda: kubectl("logs", "talker").splitlines()) == ["line 1", "line 2", "line 3"]
    assert kubectl("logs", "talker", "--tail=1") == "line 3\n"
    assert kubectl("exec", "talker", "--", "echo", "hello") == "hello\n"
    assert kubectl("exec", "-i", "talker", "--", "cat", stdin="through stdin") == "through stdin"
    assert "exit code 7" in kubectl("exec", "talker", "--", "sh", "-c", "exit 7", check=False)


def test_init_containers_environment_volumes_and_limits(real_cluster):
    real_cluster.kubectl("create", "configmap", "settings", "--from-literal=colour=blue")
    real_cluster.kubectl("create", "secret", "generic", "keys", "--from-literal=password=hidden")
    real_cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "furnished"},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "initContainers": [
                    {"name": "first", "image": "kobune.local/busybox", "command": ["sh", "-c", "echo prepared > /work/state"],
                     "volumeMounts": [{"name": "work", "mountPath": "/work"}]}
                ],
                "containers": [
                    {"name": "main", "image": "kobune.local/busybox", "command": ["sleep", "3600"],
                     "env": [
                         {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
                         {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                         {"name": "BOTH", "value": "$(COLOUR)-$(NODE)"},
                     ],
                     "resources": {"limits": {"memory": "64Mi", "cpu": "100m"}},
                     "volumeMounts": [
                         {"name": "work", "mountPath": "/work"}, {"name": "settings", "mountPath": "/settings"},
                         {"name": "keys", "mountPath": "/keys"},
                     ]},
                    {"name": "helper", "image": "kobune.local/busybox", "command": ["sleep", "3600"]},
                ],
                "volumes": [
                    {"name": "work", "emptyDir": {}}, {"name": "settings", "configMap": {"name": "settings"}},
                    {"name": "keys", "secret": {"secretName": "keys"}},
                ],
            },
        }
    )  # fmt: skip
    real_cluster.kubectl("wait", "--for=condition=Ready", "pod/furnished", "--timeout=60s")
    pod = real_cluster.get("pod", "furnished")
    shell = ("exec", "furnished", "-c", "main", "--", "sh", "-c")
    found = real_cluster.kubectl(*shell, "cat /work/state /settings/colour /keys/password; echo; echo $BOTH")
    assert found.split() == ["prepared", "bluehidden", f"blue-{pod['spec']['nodeName']}"]
    limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"
    assert real_cluster.kubectl(*shell, limit).split() == [str(64 * 1024 * 1024)]
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert pod["status"]["qosClass"] == "Burstable"
    real_cluster.kubectl("delete", "pod", "furnished", "--timeout=30s")


def test_a_failing_container_is_restarted_with_back_off(real_cluster):
    real_cluster.kubectl("run", "crasher", "--image=kobune.local/busybox", "--", "sh", "-c", "echo dying; exit 3")
    text = real_cluster.eventually(
        lambda: "CrashLoopBackOff" in (seen := real_cluster.kubectl("get", "pod", "crasher")) and seen
    )
    assert "crasher" in text
    assert real_cluster.kubectl("logs", "crasher", "--previous") == "dying\n"
    events = real_cluster.eventually(lambda: "BackOff" in (seen := real_cluster.kubectl("get", "events")) and seen)
    assert "Back-off restarting failed container" in events
    status = real_cluster.get("pod", "crasher")["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 3
    real_cluster.kubectl("delete", "pod", "crasher", "--timeout=60s")


def test_probes_decide_on_readiness_and_restarts(real_cluster):
    real_cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "probed"},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {"name": "main", "image": "kobune.local/busybox", "command": ["sh", "-c", "touch /tmp/live; sleep 3600"],
                     "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
                     "livenessProbe": {"exec": {"command": ["test", "-e", "/tmp/live"]}, "periodSeconds": 1,
                                       "failureThreshold": 1, "initialDelaySeconds": 1}},
                ],
            },
        }
    )  # fmt: skip
    real_cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/probed", "--timeout=60s")
    assert "0/1" in real_cluster.kubectl("get", "pod", "probed")
    real_cluster.kubectl("exec", "probed", "--", "touch", "/tmp/ready")
    real_cluster.kubectl("wait", "--for=condition=Ready", "pod/probed", "--timeout=20s")
    real_cluster.kubectl("exec", "probed", "--", "rm", "/tmp/live")
    real_cluster.eventually(
        lambda: real_cluster.get("pod", "probed")["status"]["containerStatuses"][0]["restartCount"] == 1
    )
    assert "Liveness probe failed" in real_cluster.kubectl("get", "events")


def test_what_newcomers_type_next(real_cluster):
    kubectl = real_cluster.kubectl
    assert "RESOURCE" in kubectl("explain", "deployment.spec") or "FIELDS" in kubectl("explain", "deployment.spec")
    assert "deployments" in kubectl("api-resources")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "twice"}, "data": {"a": "b"}}
    assert "created" in real_cluster.apply(manifest)
    assert "unchanged" in real_cluster.apply(manifest)
    assert "Scheduled" in kubectl("get", "events")
    refused = kubectl("create", "deployment", "UPPER", "--image=x", check=False)
    assert "Invalid value" in refused
    assert "NotFound" in kubectl("get", "pod", "nowhere", check=False)


def test_deleting_a_deployment_deletes_its_pods(real_cluster):
    real_cluster.kubectl(
        "create", "deployment", "passing", "--image=kobune.local/busybox", "--replicas=2", "--", "sleep", "3600"
    )
    real_cluster.kubectl("rollout", "status", "deployment/passing", "--timeout=60s")
    real_cluster.kubectl("delete", "deployment", "passing")
    real_cluster.eventually(lambda: not real_cluster.get("pods", "-l", "app=passing")["items"])


@pytest.mark.filterwarnings("ignore:Kubernetes version")  # kr8s warns of versions younger than itself.
def test_python_clients_exec_and_read_logs(real_cluster):
    import kr8s
    from kr8s._async_utils import Portal
    from kr8s.objects import Pod
    from kubernetes import client, config
    from kubernetes.stream import stream

    kubeconfig = str(real_cluster.kubeconfig)
    container = {"name": "main", "image": "kobune.local/busybox", "command": ["sh", "-c", "echo started; sleep 3600"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    kr8s_api = kr8s.api(kubeconfig=kubeconfig)
    pod = Pod({"metadata": {"name": "spoken-to"}, "spec": spec}, api=kr8s_api)
    pod.create()
    pod.wait("condition=Ready", timeout=60)
    pod.patch({"metadata": {"labels": {"seen": "yes"}}})
    assert list(pod.logs()) == ["started"]
    assert pod.exec(["echo", "hello"]).stdout == b"hello\n"
    with config.new_client_from_config(kubeconfig) as api:
        core = client.CoreV1Api(api)
        assert core.read_namespaced_pod("spoken-to", "default").metadata.labels["seen"] == "yes"
        assert core.read_namespaced_pod_log("spoken-to", "default") == "started\n"
        said = stream(core.connect_get_namespaced_pod_exec, "spoken-to", "default", command=["echo", "hello"],
                      stderr=True, stdin=False, stdout=True, tty=False, _preload_content=False)  # fmt: skip
        said.run_forever(timeout=60)
        assert said.read_all() == "hello\n"
        said.sock.shutdown()  # Its own close leaves the socket open when the server has closed first.
    pod.delete()
    # kr8s has no word for it: its connections would stay open, in the loop of its own thread.
    Portal().call(kr8s_api._session.aclose)
