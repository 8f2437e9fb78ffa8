"""What AKS refuses, and with which code."""

import pytest

from kobune.aks.vm_sizes import VM_SIZES


@pytest.mark.parametrize(
    "fields, code",
    [
        pytest.param({"vmSize": "Standard_Nope"}, "BadRequest", id="unknown-size"),
        pytest.param({"vmSize": "Standard_DS1_v2"}, "SystemPoolSkuTooLow", id="size-too-small"),
        pytest.param({"mode": "User"}, "MustDefineAtLeastOneSystemPool", id="no-system-pool"),
        pytest.param({"name": "Upper"}, "InvalidParameter", id="pool-name"),
        pytest.param({"count": 1001}, "InvalidParameter", id="too-many-nodes"),
        pytest.param({"count": 0}, "InvalidParameter", id="empty-system-pool"),
        pytest.param({"maxPods": 9}, "InvalidParameter", id="max-pods"),
        pytest.param({"maxPods": 10, "count": 2}, "InsufficientMaxPods", id="pods-in-all"),
        pytest.param({"availabilityZones": ["5"]}, "AvailabilityZoneNotSupported", id="zone"),
        pytest.param({"orchestratorVersion": "1.30"}, "AgentPoolK8sVersionNotSupported", id="pool-version"),
        pytest.param({"orchestratorVersion": "1.37"}, "NodePoolMcVersionIncompatible", id="pool-newer-than-plane"),
        pytest.param({"enableAutoScaling": True, "minCount": 3, "maxCount": 2}, "InvalidParameter", id="bounds"),
        pytest.param({"scaleSetPriority": "Spot"}, "InvalidParameter", id="spot-system-pool"),
        pytest.param({"osType": "Windows", "name": "win"}, "InvalidParameter", id="windows-system-pool"),
        pytest.param({"nodeLabels": {"kubernetes.azure.com/x": "y"}}, "InvalidParameter", id="reserved-label"),
        pytest.param({"nodeTaints": ["nonsense"]}, "InvalidParameter", id="taint"),
        pytest.param({"upgradeSettings": {"maxSurge": "0"}}, "InvalidParameter", id="no-surge"),
        pytest.param({"gpuInstanceProfile": "MIG1g"}, "NotSupported", id="refused-feature"),
        pytest.param({"vmSize": "Standard_D64s_v5", "count": 4}, "ErrCode_InsufficientVCPUQuota", id="quota"),
    ],
)
def test_a_pool_is_refused_with_akss_code(arm, fields, code):
    arm.group()
    status, error = arm.create("c1", arm.pool(**fields))
    assert (status, error["code"]) == (400, code), error
    assert arm.call("GET", arm.path())[0] == 404


@pytest.mark.parametrize(
    "fields, status, code",
    [
        pytest.param({"kubernetesVersion": "1.30"}, 400, "K8sVersionNotSupported", id="version"),
        pytest.param({"dnsPrefix": "-"}, 400, "InvalidParameter", id="dns-prefix"),
        pytest.param({"location": "atlantis"}, 400, "LocationNotAvailableForResourceType", id="region"),
        pytest.param({"disableLocalAccounts": True}, 400, "BadRequest", id="local-accounts"),
        pytest.param({"sku": {"name": "Base", "tier": "Standard"}}, 400, "NotSupported", id="tier-without-etcd"),
        pytest.param({"sku": {"name": "Automatic", "tier": "Standard"}}, 400, "NotSupported", id="automatic"),
        pytest.param({"nodeProvisioningProfile": {"mode": "Auto"}}, 400, "NotSupported", id="node-provisioning"),
        pytest.param({"nodeResourceGroup": "x" * 81}, 400, "InvalidParameter", id="node-group-name"),
    ],
)
def test_a_cluster_is_refused_with_akss_code(arm, fields, status, code):
    arm.group()
    found, error = arm.create("c1", **fields)
    assert (found, error["code"]) == (status, code), error


@pytest.mark.parametrize(
    "name, code", [("-c", "InvalidParameter"), ("x" * 64, "InvalidParameter"), ("mywindows", "ReservedResourceName")]
)
def test_cluster_names_are_checked(arm, name, code):
    arm.group()
    assert arm.create(name)[1]["code"] == code


def test_a_cluster_needs_its_group(arm):
    assert arm.create()[1]["code"] == "ResourceGroupNotFound"


def test_upgrades_skip_no_minor_and_never_go_back(arm):
    arm.created(kubernetesVersion="1.35")
    shown = arm.show()
    for version in ("1.37", "1.34"):
        shown["properties"]["kubernetesVersion"] = version
        status, error = arm.call("PUT", arm.path(), shown)
        assert (status, error["code"]) == (400, "OperationNotAllowed")
        assert "Available upgrades: [1.36.0, 1.36.1]" in error["message"]


def test_a_pool_stays_within_three_minors_of_its_control_plane(arm):
    arm.created(kubernetesVersion="1.34")
    for version in ("1.35", "1.36", "1.37"):
        shown = arm.show()
        shown["properties"]["kubernetesVersion"] = version
        assert arm.call("PUT", arm.path(), shown)[0] == 200
        arm.settle()
    status, error = arm.call("PUT", arm.pool_path("np2"), {"properties": {"orchestratorVersion": "1.34.0"}})
    assert status == 201, error


def test_quota_counts_every_cluster_of_a_region(arm):
    arm.created("c1", arm.pool(vmSize="Standard_D16s_v3", count=10))
    _, error = arm.create("c2", arm.pool(vmSize="Standard_D16s_v3", count=3))
    assert error["code"] == "ErrCode_InsufficientVCPUQuota"
    assert "requested 48, remaining 40 for family standardDSv3Family for region westeurope" in error["message"]
    usages = arm.call("GET", "providers/Microsoft.Compute/locations/westeurope/usages")[1]["value"]
    family = next(usage for usage in usages if usage["name"]["value"] == "standardDSv3Family")
    assert (family["currentValue"], family["limit"]) == (160, 200)


def test_every_size_is_a_sku_in_every_region(arm):
    skus = arm.call("GET", "providers/Microsoft.Compute/skus", **{"$filter": "location eq 'eastus'"})[1]["value"]
    assert {sku["name"] for sku in skus} == set(VM_SIZES)
    assert all(sku["locations"] == ["eastus"] for sku in skus)


def test_location_and_dns_prefix_of_a_cluster_stay(arm):
    arm.created()
    shown = arm.show()
    assert arm.call("PUT", arm.path(), shown | {"location": "eastus"})[1]["code"] == "InvalidResourceLocation"
    shown["properties"]["dnsPrefix"] = "other"
    assert arm.call("PUT", arm.path(), shown)[1]["code"] == "PropertyChangeNotAllowed"
