"""`az aks command invoke`: a command that runs in a pod of the cluster, and its result.

In a cluster with Entra integration it runs as whom the caller's token names, elsewhere as an administrator.
Source: REST reference of RunCommandRequest; az sends `clusterToken` to clusters with a managed aadProfile.
"""

import asyncio
import base64
import binascii
from dataclasses import replace

import orjson

from kobune.aks.arm.errors import ArmError, bad_request, invalid_parameter
from kobune.aks.arm.fleet import CommandProblem
from kobune.aks.arm.guarding import has_entra
from kobune.aks.arm.operations import RETRY_AFTER_SECONDS, RUN_COMMAND, check_running, end
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.service import ArmService, Command
from kobune.aks.arm.store import Operation
from kobune.aks.guard import SERVER_APPLICATION
from kobune.api.errors import Json

WORKERS = 4
CONTEXT_LIMIT = 512 * 1024  # Of the files that come along, in bytes. They travel in a Secret.


def start(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    check_running(service, cluster, "run command")
    body = request.json()
    text = str(body.get("command") or "").strip()
    if not text:
        raise invalid_parameter("Required parameter command is missing (null).", target="command")
    try:
        # az breaks the text into lines.
        files = base64.b64decode("".join(str(body.get("context") or "").split()), validate=True)
    except binascii.Error as error:
        raise invalid_parameter("The value of parameter context is not base64.", target="context") from error
    if len(files) > CONTEXT_LIMIT:
        raise invalid_parameter(f"The files of a command have {CONTEXT_LIMIT // 1024} KiB at most.", target="context")
    token = str(body.get("clusterToken") or "") if has_entra(cluster) else ""
    if has_entra(cluster) and not token:
        raise invalid_parameter(
            "Required parameter clusterToken is missing (null): the cluster has Microsoft Entra integration, and a command "
            f"runs as whom a token for the application {SERVER_APPLICATION} names.",
            target="clusterToken",
        )
    try:
        service.fleet.check_command(cluster.place)
    except CommandProblem as error:
        raise bad_request("RunCommandFailed", str(error)) from error
    operation = Operation(
        id=service.new_id().replace("-", ""),
        resource=cluster.key,
        kind=RUN_COMMAND,
        wish="",
        started=service.now(),
        caller=request.caller.name,
    )
    try:
        service.commands.put_nowait(Command(operation.id, cluster.place, text, files, token))
    except asyncio.QueueFull:
        raise ArmError(429, "Throttled", "Too many commands are waiting.", headers={"Retry-After": "5"}) from None
    service.store.put_operation(operation)
    return _waiting(request, f"{cluster.document['id']}/commandResults/{operation.id}")


def result(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    operation = service.store.find_operation(request.parameters["command"])
    if operation is None or operation.kind != RUN_COMMAND or operation.resource != cluster.key:
        raise ArmError(404, "NotFound", f"Could not find the command '{request.parameters['command']}'.")
    if not operation.ended:
        running = {"id": operation.id, "properties": {"provisioningState": "Running", "startedAt": operation.started}}
        waiting = _waiting(request, f"{cluster.document['id']}/commandResults/{operation.id}")
        return replace(waiting, body=running)  # az reads the state, not the status.
    shown: Json = {"provisioningState": operation.status, "startedAt": operation.started, "finishedAt": operation.ended}
    shown |= (
        orjson.loads(operation.result) if operation.result else {"exitCode": 1, "logs": "", "reason": operation.message}
    )
    return ArmAnswer(200, {"id": operation.id, "properties": shown})


async def work(service: ArmService) -> None:
    """Run what is waiting, until cancelled."""
    while True:
        command = await service.commands.get()
        operation = service.store.find_operation(command.operation)
        if operation is None:
            continue
        try:
            found = await service.fleet.run_command(command.place, command.text, command.files, token=command.token)
        except CommandProblem as error:
            end(service, operation, "Failed", "RunCommandFailed", str(error))
        else:
            end(service, operation, "Succeeded", result={"exitCode": found.exit_code, "logs": found.logs})


def end_interrupted(service: ArmService) -> None:
    """Commands that were running when the service ended: nobody can say how they went."""
    for operation in service.store.unfinished():
        if operation.kind == RUN_COMMAND:
            problem = "The service was restarted while the command ran; run it again."
            end(service, operation, "Failed", "RunCommandInterrupted", problem)


def _waiting(request: ArmRequest, path: str) -> ArmAnswer:
    version = request.query.get("api-version", "")
    headers = {"Location": f"{request.base}{path}?api-version={version}", "Retry-After": RETRY_AFTER_SECONDS}
    return ArmAnswer(202, None, headers)
