"""Controllers of kinds that only newer clusters serve: trust bundles and requests for pod certificates."""

import hashlib

import pytest

from kobune.controlplane.controllers.all import CONTROLLERS
from kobune.controlplane.controllers.controller import Owns, Settings

PUBLISHER = "kube-apiserver-serving-clustertrustbundle-publisher-controller"
SIGNER = "kubernetes.io/kube-apiserver-serving"


@pytest.fixture(scope="module")
def ca():
    from datetime import UTC, datetime

    from kobune.host.pki import Authority

    return Authority.create("ca", datetime(2026, 1, 1, tzinfo=UTC)).credential.certificate


def test_the_api_servers_ca_is_published_in_one_bundle_and_former_ones_go(tell, ca):
    name = f"kubernetes.io:kube-apiserver-serving:{hashlib.sha256(ca).hexdigest()[:24]}"

    async def story(world):
        old = f"{SIGNER.replace('/', ':')}:old"
        spec = {"signerName": SIGNER, "trustBundle": ca.decode()}
        await world.create("clustertrustbundles", {"metadata": {"name": old}, "spec": spec}, "")
        await world.create(
            "clustertrustbundles", {"metadata": {"name": "other"}, "spec": {"trustBundle": ca.decode()}}, ""
        )
        await world.sleep(2)
        found = {each["metadata"]["name"]: each["spec"] for each in await world.list("clustertrustbundles", "")}
        await world.delete("clustertrustbundles", name, "")
        await world.sleep(2)
        return found, await world.find("clustertrustbundles", name, "")

    found, again = tell(story, PUBLISHER, settings=Settings(root_ca=ca), version="1.37", nodes=False)
    assert set(found) == {name, "other"}
    assert found[name] == {"signerName": SIGNER, "trustBundle": ca.decode()}
    assert again is not None


def test_kinds_that_are_optional_are_not_asked_for_where_they_are_not_served(tell, ca):
    async def story(world):
        await world.sleep(5)
        return [path for _, path in world.transport.log]

    asked = tell(story, "*", settings=Settings(root_ca=ca), nodes=False)
    optional = {
        watch.view.gvk.kind
        for each in CONTROLLERS
        for watch in each.watches
        if not isinstance(watch, Owns) and watch.optional
    }
    assert optional >= {"ClusterTrustBundle", "DeviceTaintRule", "PodCertificateRequest", "StorageVersionMigration"}
    assert not [path for path in asked if any(f"{kind.lower()}s" in path for kind in optional)]
