"""`az aks command invoke`: what is run, as whom, and how its result is found."""

import asyncio

import pytest

from kobune.aks.arm.run_command import work


async def run(arm, **body):
    """The properties of the result of a command."""
    status, answer = arm.call("POST", f"{arm.path()}/runCommand", {"context": "", **body})
    assert status == 202, answer
    result = arm.headers["Location"].removeprefix("https://localhost:8443").partition("?")[0]
    assert arm.call("GET", result)[0] == 202
    worker = asyncio.create_task(work(arm.service))
    while arm.call("GET", result)[0] == 202:
        await asyncio.sleep(0)
    worker.cancel()
    return arm.call("GET", result)[1]["properties"]


@pytest.mark.parametrize("sent", [{}, {"clusterToken": ""}, {"clusterToken": "ignored"}])
async def test_a_command_runs_and_its_result_is_found(arm, sent):
    arm.created()
    properties = await run(arm, command="kubectl get nodes", **sent)
    assert (properties["exitCode"], properties["logs"]) == (0, "ran kubectl get nodes as administrator")


async def test_in_a_cluster_with_entra_integration_it_runs_as_whom_the_token_names(arm):
    arm.created(aadProfile={"managed": True})
    assert (await run(arm, command="kubectl get nodes", clusterToken="ada"))["logs"] == "ran kubectl get nodes as ada"


def test_in_such_a_cluster_nobody_runs_a_command_without_a_token(arm):
    arm.created(aadProfile={"managed": True})
    status, error = arm.call("POST", f"{arm.path()}/runCommand", {"command": "kubectl get nodes"})
    assert (status, error["code"], error["target"]) == (400, "InvalidParameter", "clusterToken")


@pytest.mark.parametrize("body, target", [({}, "command"), ({"command": "id", "context": "no base64!"}, "context")])
def test_a_command_is_checked(arm, body, target):
    arm.created()
    status, error = arm.call("POST", f"{arm.path()}/runCommand", body)
    assert (status, error["code"], error["target"]) == (400, "InvalidParameter", target)
