"""The real az: a cluster's life from login to deletion, and what az says when something is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.az, pytest.mark.timeout(600)]

C1 = ("--resource-group", "rg1", "--name", "c1")
POOLS_OF_C1 = ("--resource-group", "rg1", "--cluster-name", "c1")


def test_a_clusters_life(az, kubectl, tmp_path):
    """Create with two pools, use, scale, upgrade, stop, start, rotate, delete."""
    assert az("account", "show")["environmentName"] == "Kobune"
    az("group", "create", "--name", "rg1", "--location", "West Europe", "--tags", "team=a")

    created = az("aks", "create", *C1, "--no-ssh-key", "--node-count", "1", "--kubernetes-version", "1.35")
    assert (created["provisioningState"], created["currentKubernetesVersion"]) == ("Succeeded", "1.35.1")
    added = az("aks", "nodepool", "add", *POOLS_OF_C1, "--name", "np2", "--node-count", "2", "--labels", "tier=web",
               "--node-vm-size", "Standard_D4s_v5", "--max-surge", "50%", "--zones", "1", "2")  # fmt: skip
    assert added["provisioningState"] == "Succeeded"
    kubeconfig = tmp_path / "kubeconfig"
    az("aks", "get-credentials", *C1, "--file", str(kubeconfig))
    nodes = kubectl(kubeconfig, "get", "nodes", "--selector", "tier=web", "--output", "name").split()
    assert len(nodes) == 2
    kubectl(kubeconfig, "create", "deployment", "web", "--image=example.com/web", "--replicas=3")
    kubectl(kubeconfig, "rollout", "status", "deployment/web", "--timeout=60s")

    scaled = az("aks", "nodepool", "scale", *POOLS_OF_C1, "--name", "np2", "--node-count", "3")
    assert scaled["count"] == 3
    updated = az("aks", "nodepool", "update", *POOLS_OF_C1, "--name", "np2", "--enable-cluster-autoscaler", "--min-count", "2",
                 "--max-count", "5")  # fmt: skip
    assert (updated["enableAutoScaling"], updated["minCount"], updated["maxCount"]) == (True, 2, 5)

    offers = az("aks", "get-upgrades", *C1)["controlPlaneProfile"]["upgrades"]
    assert [offer["kubernetesVersion"] for offer in offers] == ["1.36.0", "1.36.1"]
    upgraded = az("aks", "upgrade", *C1, "--kubernetes-version", "1.36", "--yes", "--control-plane-only")
    assert upgraded["currentKubernetesVersion"] == "1.36.1"
    assert {pool["currentOrchestratorVersion"] for pool in upgraded["agentPoolProfiles"]} == {"1.35.1"}
    newer = az("aks", "nodepool", "upgrade", *POOLS_OF_C1, "--name", "np2", "--kubernetes-version", "1.36", "--yes")
    assert newer["currentOrchestratorVersion"] == "1.36.1"
    versions = kubectl(kubeconfig, "get", "nodes", "--output", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}")
    assert sorted(set(versions.split())) == ["v1.35.1", "v1.36.1"]

    az("aks", "nodepool", "delete", *POOLS_OF_C1, "--name", "np2")
    assert [pool["name"] for pool in az("aks", "nodepool", "list", *POOLS_OF_C1)] == ["nodepool1"]
    az("aks", "stop", *C1)
    assert az("aks", "show", *C1)["powerState"]["code"] == "Stopped"
    assert "Power State(Stopped)" in az("aks", "stop", *C1, fails=1)
    az("aks", "start", *C1)
    assert "deployment.apps/web" in kubectl(kubeconfig, "get", "deployments", "--output", "name")
    az("aks", "rotate-certs", *C1, "--yes")
    az("aks", "get-credentials", *C1, "--admin", "--file", str(kubeconfig), "--overwrite-existing")
    assert kubectl(kubeconfig, "config", "current-context").strip() == "c1-admin"
    kubectl(kubeconfig, "get", "nodes")
    az(
        "aks",
        "maintenanceconfiguration",
        "add",
        *POOLS_OF_C1,
        "--name",
        "default",
        "--weekday",
        "Monday",
        "--start-hour",
        "1",
    )
    assert [found["name"] for found in az("aks", "maintenanceconfiguration", "list", *POOLS_OF_C1)] == ["default"]
    assert "simulated nodes only" in az("aks", "command", "invoke", *C1, "--command", "kubectl get nodes", fails=1)

    az("aks", "delete", *C1, "--yes")
    assert az("aks", "list") == []
    az("group", "delete", "--name", "rg1", "--yes")
    assert az("group", "exists", "--name", "rg1") is False


@pytest.mark.parametrize(
    "options, code",
    [
        pytest.param(("--node-vm-size", "Standard_Nope"), "BadRequest", id="size"),
        pytest.param(("--kubernetes-version", "1.30"), "K8sVersionNotSupported", id="version"),
        pytest.param(("--location", "atlantis"), "LocationNotAvailableForResourceType", id="region"),
        pytest.param(
            ("--node-count", "1000", "--node-vm-size", "Standard_D4s_v3"), "ErrCode_InsufficientVCPUQuota", id="quota"
        ),
    ],
)
def test_az_prints_akss_code(az, options, code):
    az("group", "create", "--name", "refused", "--location", "westeurope")
    complaint = az("aks", "create", "--resource-group", "refused", "--name", "c1", "--no-ssh-key", *options, fails=1)
    assert f"({code})" in complaint


def test_az_exits_with_3_for_what_is_not_there(az):
    assert "ResourceGroupNotFound" in az("group", "show", "--name", "none", fails=3)


def test_tables_have_their_columns(az):
    """Their transformers fail without the fields they expect."""
    for command in (("aks", "get-versions", "--location", "westeurope"), ("vm", "list-skus", "--location", "westeurope"),
                    ("aks", "list"), ("group", "list")):  # fmt: skip
        az(*command, "--output", "table")


def packet_tables() -> set[str]:
    """What clusters have put before this machine's packets."""
    return set(
        subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout.splitlines()
    )


@pytest.mark.real
def test_a_command_runs_in_a_pod_of_a_real_node(az, tmp_path: Path):
    before = packet_tables()
    az("group", "create", "--name", "real", "--location", "westeurope")
    where = ("--resource-group", "real", "--name", "r1")
    az("aks", "create", *where, "--no-ssh-key", "--node-count", "1", "--tags", "kobune.io/runtime=real")
    manifest = tmp_path / "greeting.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting}\n")
    result = az("aks", "command", "invoke", *where, "--command", "kubectl apply -f greeting.yaml && kubectl get nodes",
                "--file", str(manifest), "--output", "json")  # fmt: skip
    assert (result["provisioningState"], result["exitCode"]) == ("Succeeded", 0)
    assert "configmap/greeting created" in result["logs"]
    assert "vmss000000" in result["logs"]
    made = packet_tables() - before
    assert made
    az("group", "delete", "--name", "real", "--yes")
    assert not made & packet_tables()


def test_the_activity_log_is_listed(az):
    az("group", "create", "--name", "rg3", "--location", "westeurope")
    az("aks", "create", "--resource-group", "rg3", "--name", "c3", "--no-ssh-key", "--node-count", "1")
    found = az("monitor", "activity-log", "list", "--resource-group", "rg3", "--offset", "1h")
    assert [event["status"]["value"] for event in found] == ["Succeeded", "Started"]
    assert found[0]["operationName"]["value"] == "Microsoft.ContainerService/managedClusters/write"
    az("aks", "delete", "--resource-group", "rg3", "--name", "c3", "--yes", "--no-wait")


def test_entra_users_come_in_with_the_roles_they_are_given(az, kubectl, tmp_path):
    """A principal made and given a role by az reads its namespace in a cluster with Azure RBAC, and nothing else."""
    az("group", "create", "--name", "rg4", "--location", "westeurope")
    group = az("ad", "group", "create", "--display-name", "admins", "--mail-nickname", "admins")
    created = az("aks", "create", "--resource-group", "rg4", "--name", "c4", "--no-ssh-key", "--node-count", "1", "--enable-aad",
                 "--aad-admin-group-object-ids", group["id"], "--enable-azure-rbac", "--disable-local-accounts")  # fmt: skip
    assert created["aadProfile"]["enableAzureRbac"] is True
    where = ("--resource-group", "rg4", "--name", "c4")
    assert "Getting static credential is not allowed" in az("aks", "get-credentials", *where, "--admin", fails=1)
    principal = az("ad", "sp", "create-for-rbac", "--name", "ci", "--role", "Azure Kubernetes Service RBAC Reader",
                   "--scopes", f"{created['id']}/namespaces/default")  # fmt: skip
    found = az("role", "assignment", "list", "--assignee", principal["appId"], "--all")
    assert [one["roleDefinitionName"] for one in found] == ["Azure Kubernetes Service RBAC Reader"]
    kubeconfig = tmp_path / "kubeconfig"
    az("aks", "get-credentials", *where, "--file", str(kubeconfig))
    environment = {
        **az.environment,
        "AZURE_CLIENT_ID": principal["appId"],
        "AZURE_CLIENT_SECRET": principal["password"],
    }

    def ask(*arguments: str) -> str:
        command = ["kubectl", "--kubeconfig", str(kubeconfig), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        return done.stdout + done.stderr

    assert "User does not have access to the resource in Azure" in ask("get", "pods")  # The person has no role.
    convert = [
        sys.executable,
        "-m",
        "kobune",
        "kubelogin",
        "convert-kubeconfig",
        "-l",
        "spn",
        "--kubeconfig",
        str(kubeconfig),
    ]
    subprocess.run(convert, env=environment, check=True)
    assert "No resources found in default namespace" in ask("get", "pods")
    assert "is forbidden" in ask("get", "pods", "--namespace", "kube-system")
    az(
        "role",
        "assignment",
        "delete",
        "--assignee",
        principal["appId"],
        "--scope",
        f"{created['id']}/namespaces/default",
    )
    az("aks", "delete", *where, "--yes", "--no-wait")
