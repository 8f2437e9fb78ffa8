"""What the controllers of a managed cluster are told."""

import asyncio
import base64
import ipaddress
from datetime import UTC, datetime

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kobune.aks.clusters import Cluster as ManagedCluster
from kobune.aks.nodes import node_shapes
from kobune.api.objects.core import Service
from kobune.api.objects.meta import Key
from kobune.host.layout import ClusterLayout
from kobune.host.pki import Authority, new_signing_key
from kobune.host.settings import controller_settings
from kobune.host.spec import Spec
from kobune.testing import Cluster

NOW = datetime(2026, 1, 5, tzinfo=UTC)
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def test_the_clusters_own_authority_signs_for_its_controllers(tmp_path):
    cluster = ClusterLayout(tmp_path)
    authority = Authority.load_or_create(cluster.pki, "ca", NOW)
    (cluster.pki / "service-account.key").write_bytes(new_signing_key())
    settings = controller_settings(cluster, Spec(ManagedCluster("a", "1.36", ()), 6443))
    assert (settings.signing_certificate, settings.signing_key) == (
        authority.credential.certificate,
        authority.credential.key,
    )


def test_load_balancers_have_addresses_of_the_nodes_range_that_no_node_has():
    spec = Spec(ManagedCluster("a", "1.36", ()), 6443, slot=3)
    balancers, nodes = ipaddress.ip_network(spec.load_balancer_cidr), ipaddress.ip_network(spec.node_cidr)
    assert balancers.subnet_of(nodes)
    assert ipaddress.ip_address(spec.gateway) not in balancers
    # The highest address of a cluster of so many nodes: AKS allows 5,000.
    assert nodes[5_000 + 4] < balancers[0]
    assert node_shapes(spec.cluster, node_cidr=spec.node_cidr) == []


async def test_an_approved_request_is_signed_and_its_certificate_names_the_user():
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    pem = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    spec = {
        "request": base64.b64encode(pem.public_bytes(serialization.Encoding.PEM)).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "spec": spec}
    async with Cluster(nodes=0) as cluster:
        client = cluster.client
        await client.call("POST", REQUESTS, body=orjson.dumps({**body, "metadata": {"name": "jane"}}))
        item = orjson.loads(await client.call("GET", f"{REQUESTS}/jane"))
        item["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]}
        await client.call("PUT", f"{REQUESTS}/jane/approval", body=orjson.dumps(item))
        async with asyncio.timeout(20):
            while not (item := orjson.loads(await client.call("GET", f"{REQUESTS}/jane")))["status"].get("certificate"):
                await asyncio.sleep(0.05)
    certificate = x509.load_pem_x509_certificate(base64.b64decode(item["status"]["certificate"]))
    assert certificate.subject == subject
    assert certificate.public_key() == key.public_key()


async def test_a_service_of_type_load_balancer_gets_an_address():
    async with Cluster(nodes=0) as cluster:
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"a": "b"}}
        await cluster.client.create(Service, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
        async with asyncio.timeout(20):
            while not (
                service := await cluster.client.get(Service, Key("default", "web"))
            ).status.load_balancer.ingress:
                await asyncio.sleep(0.05)
    assert service.status.load_balancer.ingress[0].ip == "10.224.240.1"


async def test_what_the_controllers_count_is_among_the_metrics():
    async with Cluster(nodes=1) as cluster:
        text = (await cluster.client.call("GET", "/metrics")).decode()
    assert 'kobune_reconcile_total{controller="root-ca-certificate-publisher-controller",outcome="success"}' in text
