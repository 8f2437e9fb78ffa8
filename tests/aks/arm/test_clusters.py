"""Managed clusters through ARM: defaults, changes, conflicts, and operations that survive their front end."""

import base64
import json

import pytest

from kobune.aks.arm.fleet import Outcome
from kobune.aks.arm.operations import follow
from kobune.aks.arm.store import ArmStore


def test_a_cluster_of_which_little_is_said_gets_akss_defaults(arm):
    arm.created()
    cluster = arm.show()
    properties = cluster["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert properties["kubernetesVersion"] == "1.36"
    assert properties["currentKubernetesVersion"] == "1.36.1"
    assert properties["nodeResourceGroup"] == "MC_rg1_c1_westeurope"
    assert properties["maxAgentPools"] == 100
    assert properties["networkProfile"]["networkPluginMode"] == "overlay"
    assert cluster["identity"]["principalId"]
    (pool,) = properties["agentPoolProfiles"]
    assert pool["vmSize"] == "Standard_DS2_v2"
    assert pool["maxPods"] == 250
    assert pool["orchestratorVersion"] == "1.36"
    assert pool["upgradeSettings"]["maxSurge"] == "10%"
    assert pool["reservations"]["memory"]["allocatableKi"] > 0
    assert "_kept" not in json.dumps(cluster)


def test_creation_is_an_operation_with_urls_to_poll(arm):
    arm.group()
    arm.fleet.holds = True
    status, body = arm.create()
    assert status == 201
    assert body["properties"]["provisioningState"] == "Creating"
    assert arm.headers["Retry-After"] == "1"
    url = arm.headers["Azure-AsyncOperation"]
    assert url.startswith("https://localhost:8443/subscriptions/")
    path = url.removeprefix("https://localhost:8443").partition("?")[0]
    assert arm.call("GET", path)[1]["status"] == "InProgress"
    arm.fleet.finish("c1-0")
    arm.settle()
    done = arm.call("GET", path)[1]
    assert done["status"] == "Succeeded"
    assert done["percentComplete"] == 100.0
    assert arm.show()["properties"]["provisioningState"] == "Succeeded"


def test_while_an_operation_is_in_progress_others_are_refused(arm):
    arm.group()
    arm.fleet.holds = True
    arm.create()
    for method, path, body in (
        ("PUT", arm.path(), arm.body()),
        ("POST", f"{arm.path()}/stop", None),
        ("PUT", arm.pool_path("np2"), {"properties": {"count": 1}}),
        ("DELETE", arm.pool_path("nodepool1"), None),
    ):
        status, error = arm.call(method, path, body)
        assert (status, error["code"]) == (409, "OperationNotAllowed")
        assert "(nodepool1 - Creating) is in progress" in error["message"]


def test_deletion_takes_over_from_what_is_in_progress(arm):
    arm.group()
    arm.fleet.holds = True
    arm.create()
    creation = arm.headers["Azure-AsyncOperation"].removeprefix("https://localhost:8443").partition("?")[0]
    arm.fleet.holds = False
    assert arm.call("DELETE", arm.path())[0] == 202
    arm.settle()
    assert arm.call("GET", creation)[1]["error"]["code"] == "AKSOperationPreemptedByDelete"
    assert arm.call("GET", arm.path())[1]["code"] == "ResourceNotFound"
    assert arm.call("DELETE", arm.path())[0] == 204


def test_a_failed_operation_says_why_and_the_same_call_recovers(arm):
    arm.group()
    arm.fleet.outcome = Outcome("", "Failed", "PodDrainFailure", "Eviction of pod default/web failed.")
    arm.create()
    operation = arm.headers["Azure-AsyncOperation"].removeprefix("https://localhost:8443").partition("?")[0]
    arm.settle()
    assert arm.call("GET", operation)[1]["error"]["code"] == "PodDrainFailure"
    assert arm.show()["properties"]["provisioningState"] == "Failed"
    arm.fleet.outcome = None
    assert arm.create()[0] == 200
    arm.settle()
    assert arm.show()["properties"]["provisioningState"] == "Succeeded"


def test_a_wish_that_was_lost_is_written_again(arm):
    """Killed between remembering the operation and writing the wish: the next front end goes on."""
    arm.group()
    arm.fleet.holds = True
    arm.create()
    arm.fleet.views.clear()
    arm.fleet.holds = False
    follow(arm.service)
    arm.settle()
    assert [kind for _, kind, _ in arm.fleet.asked] == ["create", "create"]
    assert len({wish for _, _, wish in arm.fleet.asked}) == 1
    assert arm.show()["properties"]["provisioningState"] == "Succeeded"


def test_what_is_kept_outlives_the_front_end(arm, tmp_path):
    arm.created()
    again = ArmStore(tmp_path / "arm.db")
    assert [found.document["name"] for found in again.list("Microsoft.ContainerService/managedClusters")] == ["c1"]
    again.close()


def test_what_clients_read_they_may_write_back(arm):
    arm.created()
    before = len(arm.fleet.asked)
    shown = arm.show()
    assert arm.call("PUT", arm.path(), shown)[0] == 200
    arm.settle()
    again = arm.show()
    for cluster in (shown, again):
        del cluster["properties"]["eTag"], cluster["eTag"]
    assert again == shown
    assert len(arm.fleet.asked) == before + 1


@pytest.mark.parametrize(
    "changes, kind, wish",
    [
        pytest.param({"count": 4}, "Scaling", "scale", id="scale"),
        pytest.param({"nodeLabels": {"a": "b"}}, "Updating", "update", id="labels"),
    ],
)
def test_a_change_is_called_by_what_it_does(arm, changes, kind, wish):
    arm.created()
    shown = arm.show()
    shown["properties"]["agentPoolProfiles"][0] |= changes
    status, body = arm.call("PUT", arm.path(), shown)
    assert status == 200
    assert body["properties"]["provisioningState"] == kind
    assert arm.fleet.asked[-1][1] == wish


def test_an_upgrade_of_everything_is_one_write(arm):
    arm.created(kubernetesVersion="1.34")
    shown = arm.show()
    shown["properties"]["kubernetesVersion"] = "1.35"
    shown["properties"]["agentPoolProfiles"][0]["orchestratorVersion"] = "1.35"
    assert arm.call("PUT", arm.path(), shown)[1]["properties"]["provisioningState"] == "Upgrading"
    arm.settle()
    properties = arm.show()["properties"]
    assert properties["currentKubernetesVersion"] == "1.35.1"
    assert properties["agentPoolProfiles"][0]["currentOrchestratorVersion"] == "1.35.1"


def test_the_control_plane_alone_may_be_upgraded(arm):
    arm.created(kubernetesVersion="1.34")
    shown = arm.show()
    shown["properties"]["kubernetesVersion"] = "1.35"
    assert arm.call("PUT", arm.path(), shown)[0] == 200
    arm.settle()
    assert arm.show()["properties"]["agentPoolProfiles"][0]["currentOrchestratorVersion"] == "1.34.2"


def test_stop_and_start_keep_the_cluster_and_refuse_to_be_repeated(arm):
    arm.created()
    assert arm.call("POST", f"{arm.path()}/stop")[0] == 202
    arm.settle()
    assert arm.show()["properties"]["powerState"] == {"code": "Stopped"}
    status, error = arm.call("POST", f"{arm.path()}/stop")
    assert (status, error["code"]) == (400, "OperationNotAllowed")
    assert "Power State(Stopped)" in error["message"]
    assert arm.call("PUT", arm.path(), arm.show())[1]["code"] == "OperationNotAllowed"
    assert arm.call("POST", f"{arm.path()}/start")[0] == 202
    arm.settle()
    assert arm.show()["properties"]["powerState"] == {"code": "Running"}


def test_rotations_ask_for_one_more_generation(arm):
    arm.created()
    for path, field in (
        ("rotateClusterCertificates", "certificate_generation"),
        ("rotateServiceAccountSigningKeys", "service_account_key_generation"),
    ):
        assert arm.call("POST", f"{arm.path()}/{path}")[0] == 202
        arm.settle()
        assert getattr(arm.fleet.views["c1-0"].cluster, field) == 2


def test_abort_leaves_the_operation_canceled(arm):
    arm.group()
    arm.fleet.holds = True
    arm.create()
    operation = arm.headers["Azure-AsyncOperation"].removeprefix("https://localhost:8443").partition("?")[0]
    arm.fleet.holds = False
    assert arm.call("POST", f"{arm.path()}/abort")[0] == 202
    abort = arm.headers["Azure-AsyncOperation"].removeprefix("https://localhost:8443").partition("?")[0]
    assert arm.show()["properties"]["provisioningState"] == "Canceling"
    arm.settle()
    assert arm.call("GET", abort)[1]["status"] == "Succeeded"
    assert arm.call("GET", operation)[1]["status"] == "Canceled"
    assert arm.show()["properties"]["provisioningState"] == "Canceled"
    assert arm.call("POST", f"{arm.path()}/abort")[0] == 409


def test_etags_guard_a_write(arm):
    arm.created()
    etag = arm.show()["eTag"]
    stale = {"if-match": '"stale"'}
    assert arm.call("PUT", arm.path(), arm.show(), headers=stale)[1]["code"] == "PreconditionFailed"
    assert arm.call("PUT", arm.path(), arm.show(), headers={"if-none-match": "*"})[0] == 412
    assert arm.call("PUT", arm.path(), arm.show(), headers={"if-match": etag})[0] == 200


def test_credentials_are_a_kubeconfig_with_azs_names(arm):
    arm.created()
    for call, user in (("listClusterUserCredential", "clusterUser"), ("listClusterAdminCredential", "clusterAdmin")):
        status, body = arm.call("POST", f"{arm.path()}/{call}")
        assert status == 200
        (entry,) = body["kubeconfigs"]
        assert entry["name"] == user
        config = json.loads(base64.b64decode(entry["value"]))
        assert config["users"] == [{"name": f"{user}_rg1_c1"}]
        assert config["clusters"] == [{"name": "c1"}]


def test_without_local_accounts_there_are_no_static_credentials(arm):
    arm.created(disableLocalAccounts=True, aadProfile={"managed": True})
    status, error = arm.call("POST", f"{arm.path()}/listClusterAdminCredential")
    assert (status, error["code"]) == (400, "BadRequest")
    assert "disable local accounts" in error["message"]


def test_lists_show_what_is_in_their_scope(arm):
    arm.created()
    arm.group("rg2")
    clusters = "providers/Microsoft.ContainerService/managedClusters"
    assert [c["name"] for c in arm.call("GET", clusters)[1]["value"]] == ["c1"]
    assert arm.call("GET", f"resourcegroups/RG2/{clusters}")[1]["value"] == []
    assert arm.call("GET", f"resourcegroups/none/{clusters}")[1]["code"] == "ResourceGroupNotFound"


def test_tags_alone_are_patched(arm):
    arm.created()
    assert arm.call("PATCH", arm.path(), {"tags": {"a": "b"}})[1]["tags"] == {"a": "b"}
    assert arm.show()["tags"] == {"a": "b"}


def test_private_and_authorized_ranges_reach_the_engine(arm):
    arm.created(apiServerAccessProfile={"authorizedIPRanges": ["10.1.0.0/16"]})
    assert arm.fleet.views["c1-0"].cluster.authorized_ranges == ("10.1.0.0/16",)
    arm.created("c2", apiServerAccessProfile={"enablePrivateCluster": True})
    assert "127.0.0.0/8" in arm.fleet.views["c2-1"].cluster.authorized_ranges


def test_the_autoscalers_profile_reaches_the_engine(arm):
    arm.created(
        "c1",
        arm.pool(enableAutoScaling=True, minCount=1, maxCount=5),
        autoScalerProfile={"scan-interval": "5s", "expander": "least-waste"},
    )
    cluster = arm.fleet.views["c1-0"].cluster
    assert (cluster.autoscaler.scan_interval, cluster.autoscaler.expander) == ("5s", "least-waste")
    assert (cluster.pools[0].autoscaling, cluster.pools[0].min_count, cluster.pools[0].max_count) == (True, 1, 5)
    assert arm.show()["properties"]["autoScalerProfile"]["max-empty-bulk-delete"] == "10"


def test_every_upgrade_on_offer_is_taken(arm):
    arm.created(kubernetesVersion="1.34.0")
    profile = arm.call("GET", f"{arm.path()}/upgradeProfiles/default")[1]["properties"]["controlPlaneProfile"]
    offers = [upgrade["kubernetesVersion"] for upgrade in profile["upgrades"]]
    assert "1.35.1" in offers
    assert not [offer for offer in offers if offer.startswith("1.36")]
    versions = arm.call("GET", "providers/Microsoft.ContainerService/locations/westeurope/kubernetesVersions")[1][
        "values"
    ]
    assert [version["version"] for version in versions if version["isDefault"]] == ["1.36"]


def test_the_latest_operation_can_be_asked_for(arm):
    arm.created()
    shown = arm.call("GET", f"{arm.path()}/operations/latest")[1]
    assert shown["status"] == "Succeeded"
    assert shown["resourceId"].endswith("/managedClusters/c1")


@pytest.mark.parametrize("network, code", [
    ({"networkPolicy": "weave"}, "InvalidParameter"),
    ({"networkPolicy": "azure", "networkPlugin": "kubenet"}, "BadRequest"),
    ({"networkPolicy": "cilium"}, "BadRequest"),
    ({"networkPolicy": "calico", "networkDataplane": "cilium"}, "BadRequest"),
])  # fmt: skip
def test_network_policies_that_aks_refuses_are_refused(arm, network, code):
    arm.group()
    status, error = arm.create("c1", networkProfile={"networkPlugin": "azure", **network})
    assert (status, error["code"]) == (400, code)


def test_network_policies_can_be_enforced_from_some_day_on(arm):
    arm.created(networkProfile={"networkPlugin": "azure"})
    assert arm.fleet.views["c1-0"].cluster.network_policy == "none"
    shown = arm.show()
    shown["properties"]["networkProfile"]["networkPolicy"] = "calico"
    assert arm.call("PUT", arm.path(), shown)[0] == 200
    assert arm.fleet.views["c1-0"].cluster.network_policy == "calico"
