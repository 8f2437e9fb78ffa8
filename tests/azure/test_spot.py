"""A spot machine is taken back through its scale set, and another one comes."""

import time

import pytest

GROUP = "resourceGroups/spot"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c1"
SCALE_SETS = "resourceGroups/MC_spot_c1_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets"
WAIT_SECONDS = 120.0  # Generous: other work may keep the machine busy.


def until(question, expected):
    deadline = time.monotonic() + WAIT_SECONDS
    while (answer := question()) != expected:
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


@pytest.mark.timeout(300)
def test_a_machine_of_a_spot_pool_is_taken_back_and_replaced(service):
    assert service.call("PUT", GROUP, {"location": "westeurope"})[0] == 201
    pools = [
        {"name": "np1", "count": 1, "mode": "System"},
        {"name": "spot", "count": 2, "mode": "User", "scaleSetPriority": "Spot"},
    ]
    body = {"location": "westeurope", "properties": {"dnsPrefix": "spot", "agentPoolProfiles": pools}}
    status, answer, headers = service.call("PUT", CLUSTER, body)
    assert status == 201, answer
    until(lambda: service.call("GET", headers["Azure-AsyncOperation"])[1]["status"], "Succeeded")
    names = [each["name"] for each in service.call("GET", SCALE_SETS)[1]["value"]]
    [scale_set] = [name for name in names if name.startswith("aks-spot-")]
    machines = f"{SCALE_SETS}/{scale_set}/virtualMachines"

    def numbers():
        found = service.call("GET", machines)[1]["value"]
        return [each["instanceId"] for each in found if each["properties"]["provisioningState"] == "Succeeded"]

    assert numbers() == ["0", "1"]
    assert service.call("POST", f"{machines}/0/simulateEviction")[0] == 204
    until(numbers, ["1", "2"])
    assert service.call("GET", CLUSTER)[1]["properties"]["provisioningState"] == "Succeeded"
    service.call("DELETE", GROUP)
