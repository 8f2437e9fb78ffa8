"""azure-mgmt-containerservice with azure-identity, as its documentation uses them."""

import base64

import pytest
import yaml
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.containerservice import models as aks

pytestmark = pytest.mark.timeout(300)
GROUP = "sdk"


@pytest.fixture
def client(service):
    endpoint = service.endpoint
    credential = ClientSecretCredential(
        endpoint.tenant,
        endpoint.client_id,
        endpoint.client_secret,
        authority=f"{endpoint.url}/adfs",
        connection_verify=endpoint.authority,
    )
    with (
        credential,
        ContainerServiceClient(
            credential,
            endpoint.subscription,
            base_url=endpoint.url,
            credential_scopes=["https://management.azure.com/.default"],
            connection_verify=endpoint.authority,
        ) as client,
    ):
        assert service.call("PUT", f"resourceGroups/{GROUP}", {"location": "westeurope"})[0] in (200, 201)
        yield client


def cluster(**pool: object) -> aks.ManagedCluster:
    return aks.ManagedCluster(
        location="westeurope",
        dns_prefix="sdk",
        kubernetes_version="1.35",
        identity=aks.ManagedClusterIdentity(type="SystemAssigned"),
        agent_pool_profiles=[aks.ManagedClusterAgentPoolProfile(name="np1", count=1, mode="System", **pool)],
    )


def test_a_clusters_life(client):
    clusters, pools = client.managed_clusters, client.agent_pools
    created = clusters.begin_create_or_update(GROUP, "c1", cluster()).result()
    assert (created.provisioning_state, created.current_kubernetes_version) == ("Succeeded", "1.35.1")
    assert [found.name for found in clusters.list()] == ["c1"]
    kubeconfig = yaml.safe_load(clusters.list_cluster_admin_credentials(GROUP, "c1").kubeconfigs[0].value)
    assert base64.b64decode(kubeconfig["users"][0]["user"]["client-certificate-data"])

    added = pools.begin_create_or_update(
        GROUP, "c1", "np2", aks.AgentPool(count=2, mode="User", vm_size="Standard_D4s_v5")
    ).result()
    assert added.provisioning_state == "Succeeded"
    assert [machine.name.partition("-")[0] for machine in client.machines.list(GROUP, "c1", "np2")] == ["aks", "aks"]
    name = next(iter(client.machines.list(GROUP, "c1", "np2"))).name
    pools.begin_delete_machines(GROUP, "c1", "np2", aks.AgentPoolDeleteMachinesParameter(machine_names=[name])).result()
    assert name not in [machine.name for machine in client.machines.list(GROUP, "c1", "np2")]

    known = clusters.get(GROUP, "c1")
    known.kubernetes_version = "1.36"
    assert clusters.begin_create_or_update(GROUP, "c1", known).result().current_kubernetes_version == "1.36.1"
    offered = pools.get_upgrade_profile(GROUP, "c1", "np2").upgrades
    assert "1.36.1" in [upgrade.kubernetes_version for upgrade in offered]
    assert clusters.begin_update_tags(GROUP, "c1", aks.TagsObject(tags={"a": "b"})).result().tags == {"a": "b"}
    pools.begin_delete(GROUP, "c1", "np2").result()
    clusters.begin_delete(GROUP, "c1").result()
    with pytest.raises(ResourceNotFoundError) as missing:
        clusters.get(GROUP, "c1")
    assert missing.value.error.code == "ResourceNotFound"


def test_refusals_are_errors_with_codes(client):
    with pytest.raises(HttpResponseError) as refused:
        client.managed_clusters.begin_create_or_update(GROUP, "c2", cluster(vm_size="Standard_DS1_v2"))
    assert refused.value.error.code == "SystemPoolSkuTooLow"


def test_versions_are_listed(client):
    versions = client.managed_clusters.list_kubernetes_versions("westeurope").values_property
    assert [version.version for version in versions] == ["1.34", "1.35", "1.36", "1.37"]
