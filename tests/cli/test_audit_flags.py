"""kube-apiserver's audit flags, with the program itself."""

import json
import signal
import socket
import subprocess
import sys
import time

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  resources: [{group: "", resources: [configmaps]}]
"""


def server(tmp_path, port, *flags):
    return subprocess.Popen(
        [sys.executable, "-m", "kobune", "kube-apiserver", "--bind-address", "127.0.0.1", "--secure-port", str(port),
         "--cert-dir", str(tmp_path / "certs"), "--store", "memory", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_what_the_policy_names_is_logged(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "policy.yaml").write_text(POLICY)
    log = tmp_path / "audit" / "audit.log"
    with server(
        tmp_path, port, "--audit-policy-file", str(tmp_path / "policy.yaml"), "--audit-log-path", str(log)
    ) as running:
        kubeconfig = (
            next(line for line in running.stdout if line.startswith("export KUBECONFIG=")).strip().partition("=")[2]
        )
        command = ["kubectl", "--kubeconfig", kubeconfig, "create", "configmap", "seen", "-n", "default"]
        deadline = time.monotonic() + 20
        while subprocess.run(command, capture_output=True).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=20)
    [event] = [json.loads(line) for line in log.read_text().splitlines()]
    assert (event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"]) == (
        "create",
        "configmaps",
        201,
    )


def test_a_log_without_a_policy_and_a_policy_that_is_none_are_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text("kind: Nonsense")
    for flags, said in (
        (["--audit-log-path", str(tmp_path / "log")], "--audit-policy-file"),
        (["--audit-policy-file", str(tmp_path / "bad.yaml"), "--audit-log-path", str(tmp_path / "log")], "kind Policy"),
    ):
        with server(tmp_path, 1, *flags) as running:
            _, complaint = running.communicate(timeout=30)
            assert running.returncode == 1
            assert said in complaint
