"""`kobune kube-controller-manager`: names are checked before anything starts, and health and metrics are answered."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys

import aiohttp
import pytest

COMMAND = [sys.executable, "-m", "kobune", "kube-controller-manager"]


@pytest.fixture
def kubeconfig(tmp_path):
    """Of a server that is not there: the manager stays a candidate."""
    path = tmp_path / "config"
    parts = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x", **parts}))
    return path


def test_an_unknown_controller_is_refused_in_one_sentence(kubeconfig):
    command = [*COMMAND, "--kubeconfig", str(kubeconfig), "--controllers", "*,jobs", "--secure-port", "0"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert found.stderr.strip() == "kobune: 'jobs' is not in the list of known controllers"


async def test_health_is_answered_by_a_candidate_and_metrics_ask_who_is_there(kubeconfig):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*COMMAND, "--kubeconfig", str(kubeconfig), "--secure-port", str(port), "--bind-address", "127.0.0.1"]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    try:
        async with aiohttp.ClientSession() as session:

            async def ask(path):
                async with session.get(f"https://127.0.0.1:{port}{path}", ssl=tls) as answer:
                    return answer.status, await answer.text()

            async with asyncio.timeout(60):
                while True:
                    try:
                        health = await ask("/healthz?verbose")
                        break
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.1)
                ready, metrics = await ask("/readyz"), await ask("/metrics")
    finally:
        process.terminate()
        await process.wait()
    assert health == (200, "[+]ping ok\n[+]leaderElection ok\nhealthz check passed\n")
    assert ready == (200, "ok")
    assert metrics[0] == 403
