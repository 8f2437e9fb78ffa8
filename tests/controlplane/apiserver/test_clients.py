"""Python clients, unmodified, over TLS."""

import asyncio
import ssl
from datetime import UTC, datetime

import kubernetes
import lightkube
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from lightkube.config.models import Cluster, User
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import PatchType

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


def lightkube_story(client):
    """Typed objects: create, list, watch, patch, apply, scale, a custom kind, delete."""
    meta = ObjectMeta(name="settings", labels={"app": "web"})
    made = client.create(ConfigMap(metadata=meta, data={"a": "1"}))
    assert made.metadata.managedFields[0].manager == "tests"
    assert [one.metadata.name for one in client.list(ConfigMap, labels={"app": "web"})] == ["settings"]
    patched = client.patch(ConfigMap, "settings", {"data": {"b": "2"}}, patch_type=PatchType.MERGE)
    assert patched.data == {"a": "1", "b": "2"}
    with pytest.raises(lightkube.ApiError) as stale:
        client.replace(ConfigMap(metadata=made.metadata, data={}))
    assert (stale.value.status.code, stale.value.status.reason) == (409, "Conflict")
    wanted = ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="settings"), data={"a": "9"})
    with pytest.raises(lightkube.ApiError, match=r'conflict with "tests" using v1: \.data\.a'):
        client.apply(wanted, field_manager="other")
    assert client.apply(wanted, field_manager="other", force=True).data == {"a": "9", "b": "2"}
    version = made.metadata.resourceVersion
    events = client.watch(ConfigMap, fields={"metadata.name": "settings"}, resource_version=version)
    assert [next(events)[1].data for _ in range(2)] == [{"a": "1", "b": "2"}, {"a": "9", "b": "2"}]
    client.delete(ConfigMap, "settings")
    assert next(events)[0] == "DELETED"
    events.close()

    template = PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "web"}), spec=PodSpec(containers=[Container(name="main", image="busybox")])
    )
    deployment = Deployment.from_dict(
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"selector": LabelSelector(matchLabels={"app": "web"}).to_dict(), "template": template.to_dict()},
        }
    )  # fmt: skip
    assert client.create(deployment).spec.replicas == 1
    scale = Deployment.Scale(metadata=ObjectMeta(name="web", namespace="default"), spec=ScaleSpec(replicas=4))
    assert client.replace(scale, name="web").spec.replicas == 4
    status = client.patch(Deployment.Status, "web", {"status": {"replicas": 2}}, patch_type=PatchType.MERGE)
    assert status.status.replicas == 2
    client.delete(Deployment, "web")

    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
    kept = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": kept}}
    spec = {"group": "sea.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    client.create(CustomResourceDefinition.from_dict({"metadata": {"name": "boats.sea.example.com"}, "spec": spec}))
    client.wait(CustomResourceDefinition, "boats.sea.example.com", for_conditions=["Established"])
    boat = create_namespaced_resource("sea.example.com", "v1", "Boat", "boats")
    client.create(boat(metadata=ObjectMeta(name="a"), spec={"masts": 2}))
    assert [one.spec for one in client.list(boat)] == [{"masts": 2}]


async def test_a_day_of_lightkube(api):
    configuration = api.configuration
    cluster = Cluster(server=configuration.host, certificate_auth=configuration.ssl_ca_cert)
    user = User(client_cert=configuration.cert_file, client_key=configuration.key_file)
    config = lightkube.KubeConfig.from_one(cluster=cluster, user=user, namespace="default")
    client = lightkube.Client(config=config.get(), field_manager="tests", trust_env=False)
    try:
        await asyncio.to_thread(lightkube_story, client)
    finally:
        client.close()
