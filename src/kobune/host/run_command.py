"""A command with kubectl in a pod of a cluster, as `az aks command invoke` has it."""

import asyncio
import base64
import contextlib
import secrets
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import orjson

from kobune.aks.arm.fleet import CommandProblem, CommandResult
from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Forbidden, Json, NotFound
from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig, render_kubeconfig
from kobune.host.credentials import API_SERVICE_ADDRESS
from kobune.host.instances import real_shapes
from kobune.host.layout import ClusterLayout
from kobune.host.machines import machine_of
from kobune.host.pki import Authority
from kobune.host.spec import Spec, read_spec
from kobune.node.machine.machine import NodeMachine
from kobune.node.runtime.images import LOCAL_IMAGES, import_builtins, tool_archive
from kobune.node.runtime.runtime import RuntimeFailure

NAMESPACE = "aks-command"
IMAGE = f"{LOCAL_IMAGES}kubectl:latest"
BUSYBOX = Path("/bin/busybox")
RUN_SECONDS = 600.0
READY_SECONDS = 20.0  # For the namespace's ServiceAccount, without which pods are forbidden.
LOOK_SECONDS = 0.1
LOG_LIMIT = 512 * 1024  # Of what is answered, in bytes.
ELF, ELF_INTERPRETER = b"\x7fELF", b"/ld-linux"
SCRIPT = 'mkdir -p /tmp/files && cd /tmp/files && if [ -s /command/files.zip ]; then unzip -q /command/files.zip; fi; eval "$0"'


async def run(cluster: ClusterLayout, command: str, files: bytes, clock: Clock, *, token: str) -> CommandResult:
    """Run a shell command with kubectl in the cluster.

    Args:
        files: a zip archive for its directory; may be empty.
        token: as whom kubectl speaks with the API server; empty: as an administrator.
    Raises:
        CommandProblem: why there was no such pod.
    """
    spec = read_spec(cluster)
    if spec is None or not cluster.kubeconfig.exists():
        raise CommandProblem("The cluster is not there.")
    kubectl = find_kubectl()
    client = Client(load_kubeconfig(cluster.kubeconfig))
    try:
        async with asyncio.timeout(RUN_SECONDS):
            machine = await _choose_machine(cluster, spec, client, clock)
            await _bring_image(machine, kubectl)
            config = kubeconfig(cluster, clock, token)
            return await _run(
                client, machine.spec.node, command, {"kubeconfig": config.encode(), "files.zip": files}, clock
            )
    except TimeoutError as error:
        raise CommandProblem(f"The command did not end within {RUN_SECONDS:.0f} seconds.") from error
    except (ApiError, RuntimeFailure, OSError) as error:
        raise CommandProblem(str(error)) from error
    finally:
        await client.transport.close()


def find_kubectl() -> Path:
    """The machine's kubectl, provided it runs in an image with nothing but busybox. Raises CommandProblem."""
    found = shutil.which("kubectl")
    if found is None:
        raise CommandProblem("There is no kubectl on this machine's PATH to be put into the pod.")
    path = Path(found).resolve()
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(ELF) or ELF_INTERPRETER in head:
        raise CommandProblem(
            f"The kubectl of this machine, {path}, is not statically linked and would not run in the pod."
        )
    return path


def check(cluster: ClusterLayout, spec: Spec | None) -> None:
    """Raise CommandProblem when no command can be run in this cluster."""
    if spec is None or not cluster.kubeconfig.exists():
        raise CommandProblem("The cluster is not there.")
    if not real_shapes(cluster, spec, up=True):
        raise CommandProblem("The cluster has simulated nodes only: no container runs on them, so no command does.")
    find_kubectl()


async def _choose_machine(cluster: ClusterLayout, spec: Spec, client: Client, clock: Clock) -> NodeMachine:
    """A node with containers that is Ready."""
    shapes = {shape.name: shape for shape in real_shapes(cluster, spec, up=True)}
    nodes = orjson.loads(await client.call("GET", "/api/v1/nodes"))["items"]
    for node in nodes:
        conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", ())}
        name = node["metadata"]["name"]
        if name in shapes and conditions.get("Ready") == "True" and not node["spec"].get("unschedulable"):
            return machine_of(cluster, spec, shapes[name], clock)
    raise CommandProblem("No node that runs containers is Ready.")


async def _bring_image(machine: NodeMachine, kubectl: Path) -> None:
    runtime = machine.open_runtime()
    try:
        archive = await asyncio.to_thread(tool_archive, IMAGE, BUSYBOX, [kubectl])
        await import_builtins(runtime, machine.importer, archive)
    finally:
        await runtime.close()


async def _run(client: Client, node: str, command: str, data: Mapping[str, bytes], clock: Clock) -> CommandResult:
    name = f"command-{secrets.token_hex(8)}"
    await _make(client, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}, exists_is_fine=True)
    base = f"/api/v1/namespaces/{NAMESPACE}"
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    await _make(client, f"{base}/secrets", {"metadata": {"name": name}, "data": encoded})
    try:
        await _make_pod(client, f"{base}/pods", _pod(name, node, command), clock)
        pod = await _wait_for_end(client, f"{base}/pods/{name}", clock)
        logs = await client.call("GET", f"{base}/pods/{name}/log")
    finally:
        for kind in ("pods", "secrets"):
            with contextlib.suppress(NotFound):
                await client.call("DELETE", f"{base}/{kind}/{name}", query={"gracePeriodSeconds": "0"})
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return CommandResult(ended["exitCode"], logs[-LOG_LIMIT:].decode(errors="replace"))


def kubeconfig(cluster: ClusterLayout, clock: Clock, token: str) -> str:
    """For the pod, by way of the cluster's own Service: of whom the token names; without one, of an administrator."""
    now = clock.now()
    authority = Authority.load_or_create(cluster.pki, "kobune-ca", now)
    render = partial(
        render_kubeconfig,
        cluster=cluster.name,
        server=f"https://{API_SERVICE_ADDRESS}:443",
        authority=authority.credential.certificate,
    )
    if token:
        return render(user="clusterUser", token=token)
    credential = authority.issue_client("masterclient", ["system:masters"], now)
    return render(user="masterclient", certificate=credential.certificate, key=credential.key)


def _pod(name: str, node: str, command: str) -> Json:
    return {
        "metadata": {"name": name, "labels": {"app": "aks-command"}},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "command",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c", SCRIPT, command],
                    "env": [{"name": "KUBECONFIG", "value": "/command/kubeconfig"}, {"name": "HOME", "value": "/tmp"}],
                    "volumeMounts": [{"name": "command", "mountPath": "/command", "readOnly": True}],
                }
            ],
            "volumes": [{"name": "command", "secret": {"secretName": name}}],
        },
    }


async def _make(client: Client, path: str, body: Json, *, exists_is_fine: bool = False) -> None:
    try:
        await client.call("POST", path, body=orjson.dumps(body))
    except AlreadyExists:
        if not exists_is_fine:
            raise


async def _make_pod(client: Client, path: str, body: Json, clock: Clock) -> None:
    """The namespace may be so new that its ServiceAccount is not there yet."""
    deadline = clock.monotonic() + READY_SECONDS
    while True:
        try:
            return await _make(client, path, body)
        except Forbidden:
            if clock.monotonic() > deadline:
                raise
            await clock.sleep(LOOK_SECONDS)


async def _wait_for_end(client: Client, path: str, clock: Clock) -> Json:
    while True:
        pod: Json = orjson.loads(await client.call("GET", path))
        if pod["status"].get("phase") in ("Succeeded", "Failed") and pod["status"].get("containerStatuses"):
            return pod
        await clock.sleep(LOOK_SECONDS)
