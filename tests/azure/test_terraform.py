"""The requests that Terraform's azurerm provider sends, in its order and with its api-versions."""

import base64
import json
import time

import pytest
import yaml

pytestmark = pytest.mark.timeout(300)

CLUSTERS = "resourceGroups/tf/providers/Microsoft.ContainerService/managedClusters"
AKS, GROUPS = "2025-10-01", "2023-07-01"
MAINTENANCE = ("default", "aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule")


def test_start_up(service):
    """Metadata, then a token for Graph, then one for ARM, whose payload the provider reads."""
    metadata = service.request("GET", f"{service.endpoint.url}/metadata/endpoints?api-version=2022-09-01")[1]
    login, graph = metadata["authentication"]["loginEndpoint"], metadata["microsoftGraphResourceId"]
    for field in ("name", "resourceManager", "suffixes"):
        assert metadata[field]
    assert metadata["suffixes"]["keyVaultDns"]
    assert metadata["suffixes"]["storage"]
    for scope in (f"{graph}/.default", f"{metadata['authentication']['audiences'][0]}/.default"):
        form = {"grant_type": "client_credentials", "client_id": service.endpoint.client_id, "scope": scope,
                "client_secret": service.endpoint.client_secret}  # fmt: skip
        token = service.request("POST", f"{login}/{service.endpoint.tenant}/oauth2/v2.0/token", form=form)[1][
            "access_token"
        ]
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert {"oid", "tid", "appid"} <= set(claims)


def test_apply_and_destroy(service):
    group = "resourceGroups/tf"
    assert service.call("GET", group, version=GROUPS)[0] == 404
    assert service.call("PUT", group, {"location": "westeurope", "tags": {}}, version=GROUPS)[0] == 201
    for _ in range(3):
        assert service.call("GET", group, version=GROUPS)[0] == 200

    path = f"{CLUSTERS}/c1"
    assert service.call("GET", path, version=AKS)[0] == 404
    body = {
        "location": "westeurope", "identity": {"type": "SystemAssigned"}, "sku": {"name": "Base", "tier": "Free"}, "tags": {},
        "properties": {
            "dnsPrefix": "tf", "enableRBAC": True, "disableLocalAccounts": False, "servicePrincipalProfile": {"clientId": "msi"},
            "kubernetesVersion": "", "addonProfiles": {}, "nodeResourceGroup": "",
            "networkProfile": {"networkPlugin": "kubenet", "loadBalancerSku": "standard", "outboundType": "loadBalancer"},
            "agentPoolProfiles": [{"name": "default", "count": 1, "vmSize": "Standard_D2s_v3", "mode": "System", "osType": "Linux",
                                   "type": "VirtualMachineScaleSets", "enableAutoScaling": False, "maxPods": 0, "tags": {},
                                   "upgradeSettings": {"maxSurge": "10%"}}],
        },
    }  # fmt: skip
    operation(service, *service.call("PUT", path, body, version=AKS))
    cluster = service.call("GET", path, version=AKS)[1]
    (pool,) = cluster["properties"]["agentPoolProfiles"]
    assert (pool["mode"], pool["maxPods"]) == ("System", 110)
    assert cluster["properties"]["identityProfile"]["kubeletidentity"]["resourceId"].count("/") == 8
    credential = service.call("POST", f"{path}/listClusterUserCredential", version=AKS)[1]["kubeconfigs"][0]
    assert credential["name"] == "clusterUser"
    kubeconfig = yaml.safe_load(base64.b64decode(credential["value"]))
    assert kubeconfig["clusters"][0]["cluster"]["server"].startswith("https://")
    for name in MAINTENANCE:
        assert service.call("GET", f"{path}/maintenanceConfigurations/{name}", version=AKS)[0] == 404

    np = f"{path}/agentPools/np"
    assert service.call("GET", np, version=AKS)[0] == 404
    body = {
        "properties": {
            "count": 1,
            "vmSize": "Standard_D2s_v3",
            "mode": "User",
            "osType": "Linux",
            "type": "VirtualMachineScaleSets",
        }
    }
    operation(service, *service.call("PUT", np, body, version=AKS))
    known = service.call("GET", np, version=AKS)[1]
    known["properties"]["count"] = 2
    operation(service, *service.call("PUT", np, known, version=AKS))
    assert service.call("GET", np, version=AKS)[1]["properties"]["count"] == 2

    for gone in (np, path):
        assert service.call("DELETE", gone, version=AKS)[0] == 202
        until_missing(service, gone)
    assert service.call("GET", f"{group}/resources", version=GROUPS)[1]["value"] == []
    assert service.call("DELETE", group, version=GROUPS)[0] == 202
    until_missing(service, group)


def test_the_older_list_of_versions(service):
    path = "providers/Microsoft.ContainerService/locations/westeurope/orchestrators"
    shown = service.call("GET", path, version="2019-08-01")[1]["properties"]["orchestrators"]
    assert {row["orchestratorType"] for row in shown} == {"Kubernetes"}
    assert any(row["default"] for row in shown)


def operation(service, status, body, headers):
    """Poll the operation's URL, as absolute as it must be, to its end."""
    assert status in (200, 201), body
    url = headers["Azure-AsyncOperation"]
    assert url.startswith("https://")
    deadline = time.monotonic() + 120
    while (state := service.call("GET", url)[1])["status"] == "InProgress":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert state["status"] == "Succeeded", state


def until_missing(service, path):
    """The provider ignores the headers of a DELETE and asks for the resource until it is gone."""
    deadline = time.monotonic() + 120
    while service.call("GET", path, version=AKS)[0] != 404:
        assert time.monotonic() < deadline
        time.sleep(0.1)
