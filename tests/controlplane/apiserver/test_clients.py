"""The `kubernetes` client, unmodified, over TLS."""

import asyncio
import ssl
from datetime import UTC, datetime

import kubernetes
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig, ServiceAccountKeys
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.pki import Authority

SPEC = {"containers": [{"name": "main", "image": "busybox"}], "automountServiceAccountToken": False}


@pytest.fixture
async def api(tmp_path):
    """The client's configuration: a certificate of an administrator."""
    now = datetime.now(UTC)
    authority = Authority.create("test", now)
    certificate, key = authority.issue_server("kube-apiserver", ["127.0.0.1"], now).write(tmp_path, "server")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.credential.certificate)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.load_verify_locations(ca)
    tls.verify_mode = ssl.CERT_OPTIONAL
    config = ApiServerConfig(service_account_keys=ServiceAccountKeys(ec.generate_private_key(ec.SECP256R1())))
    async with (
        ApiServer(config, MemoryStore(), clock=SystemClock()) as server,
        serve(server, host="127.0.0.1", port=0, tls=tls) as (host, port),
    ):
        configuration = kubernetes.client.Configuration()
        configuration.host, configuration.ssl_ca_cert = f"https://{host}:{port}", str(ca)
        certificate, key = authority.issue_client("admin", ["system:masters"], now).write(tmp_path, "admin")
        configuration.cert_file, configuration.key_file = str(certificate), str(key)
        with kubernetes.client.ApiClient(configuration) as client:
            yield client


def story(client):
    """Create, read, watch, patch, conflict, delete."""
    core = kubernetes.client.CoreV1Api(client)
    core.create_namespaced_service_account("default", {"metadata": {"name": "default"}})
    created = core.create_namespaced_pod("default", {"metadata": {"name": "a", "labels": {"l": "1"}}, "spec": SPEC})
    assert created.status.phase == "Pending"
    listed = core.list_namespaced_pod("default", label_selector="l=1")
    assert [pod.metadata.name for pod in listed.items] == ["a"]
    core.patch_namespaced_pod("a", "default", {"metadata": {"labels": {"l": "2"}}})
    created.metadata.labels["l"] = "3"
    with pytest.raises(kubernetes.client.ApiException) as stale:
        core.replace_namespaced_pod("a", "default", created)
    assert stale.value.status == 409
    watch = kubernetes.watch.Watch()
    seen = []
    version = listed.metadata.resource_version
    for event in watch.stream(core.list_namespaced_pod, "default", resource_version=version, timeout_seconds=10):
        seen.append((event["type"], event["object"].metadata.labels["l"]))
        if len(seen) == 1:
            core.delete_namespaced_pod("a", "default")
        else:
            watch.stop()
    assert seen == [("MODIFIED", "2"), ("DELETED", "2")]
    apps = kubernetes.client.AppsV1Api(client)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": SPEC}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    apps.create_namespaced_deployment("default", {"metadata": {"name": "web"}, "spec": spec})
    scale = apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 3}})
    assert scale.spec.replicas == 3
    review = kubernetes.client.AuthenticationV1Api(client).create_self_subject_review({})
    assert review.status.user_info.username == "admin"


async def test_a_day_of_the_python_client(api):
    await asyncio.to_thread(story, api)
