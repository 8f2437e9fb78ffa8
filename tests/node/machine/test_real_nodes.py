"""Real nodes run real containers, reach each other, survive their agents and leave nothing behind."""

import asyncio
import base64
import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import orjson
import pytest

from kobune.node.machine.abandoned import find_abandoned, let_go
from kobune.node.machine.machine import BUSYBOX as BUSYBOX_PROGRAM
from kobune.node.machine.machine import NodeMachine
from kobune.node.machine.network import NAMESPACES
from kobune.node.machine.records import RECORD
from kobune.node.machine.sandboxes import CNI_RESULTS
from kobune.node.netns import connect_in
from kobune.node.runtime.cri import CriRuntime
from kobune.node.runtime.images import BUSYBOX, Archive, builtin_archive
from kobune.node.runtime.runtime import ContainerSpec, PortMapping, RuntimeFailure, SandboxSpec, State, TerminalSize

pytestmark = pytest.mark.real
# Sizes have no acknowledgement, so the command waits for this one.
SHOW_SIZE = "read line; until stty size | grep '33 77'; do sleep 0.05; done"


def sandbox_spec(node: NodeMachine, name: str = "pod") -> SandboxSpec:
    return SandboxSpec(
        name=name,
        namespace="default",
        uid=f"uid-{name}",
        hostname=name,
        log_directory=node.spec.state / "logs" / name,
        cgroup_parent=str(node.cgroup_parent / "kubepods" / name),
    )


async def run(node: NodeMachine, runtime: CriRuntime, *command: str, name: str = "pod") -> tuple[str, str]:
    """A sandbox with one running container; their ids."""
    spec = sandbox_spec(node, name)
    sandbox = await runtime.run_sandbox(spec)
    image = await runtime.find_image(BUSYBOX)
    assert image is not None
    container = ContainerSpec(name="main", image=image.id, command=command, log_path="main/0.log")
    container_id = await runtime.create_container(sandbox, container, spec)
    await runtime.start_container(container_id)
    return sandbox, container_id


@pytest.fixture
async def node(make_node) -> AsyncIterator[NodeMachine]:
    machine = make_node(1)
    await machine.start()
    return machine


@pytest.fixture
async def runtime(node: NodeMachine) -> AsyncIterator[CriRuntime]:
    connection = node.open_runtime()
    yield connection
    await connection.close()


async def test_a_container_runs_logs_and_tells_of_its_end(node: NodeMachine, runtime: CriRuntime):
    async with aclosing(runtime.events()) as events:
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.2)  # The subscription reaches the runtime.
        sandbox, container = await run(node, runtime, "sh", "-c", "echo hello; sleep 1; exit 3")
        assert (await runtime.find_container(container)).state == State.RUNNING
        async with asyncio.timeout(60):
            event = await first
            while event.container_id != container or (await runtime.find_container(container)).state != State.EXITED:
                event = await anext(events)
    ended = await runtime.find_container(container)
    assert (event.sandbox_id, ended.state, ended.exit_code, ended.reason) == (sandbox, State.EXITED, 3, "Error")
    log = node.spec.state / "logs" / "pod" / "main" / "0.log"
    assert log.read_text().endswith(" stdout F hello\n")
    await runtime.remove_container(container)
    assert await runtime.find_container(container) is None
    await runtime.stop_sandbox(sandbox)
    await runtime.stop_sandbox(sandbox)
    await runtime.remove_sandbox(sandbox)
    assert await runtime.list_sandboxes() == []


async def test_commands_in_a_container(node: NodeMachine, runtime: CriRuntime):
    sandbox, container = await run(node, runtime, "httpd", "-f", "-p", "127.0.0.1:8080")

    assert await runtime.exec_sync(container, ["sh", "-c", "echo a; echo b >&2; exit 4"], timeout_seconds=30) == (
        4,
        b"a\n",
        b"b\n",
    )
    with pytest.raises(TimeoutError):
        await runtime.exec_sync(container, ["sleep", "30"], timeout_seconds=1)

    stream = await runtime.exec(container, ["sh", "-c", "cat; echo over >&2; exit 7"], stdin=True, tty=False)
    sent = b"x" * 300_000
    await stream.send_stdin(sent)
    await stream.close_stdin()
    outputs = {1: b"", 2: b""}
    async for where, data in stream.output():
        outputs[where] += data
    assert outputs == {1: sent, 2: b"over\n"}
    assert await stream.exit_code() == 7
    await stream.close()

    terminal = await runtime.exec(container, ["sh", "-c", SHOW_SIZE], stdin=True, tty=True)
    await terminal.resize(TerminalSize(width=77, height=33))
    await terminal.send_stdin(b"\n")
    screen = b"".join([data async for _, data in terminal.output()])
    assert b"33 77" in screen
    assert await terminal.exit_code() == 0
    await terminal.close()

    missing = await runtime.exec(container, ["no-such-program"], stdin=False, tty=False)
    with pytest.raises(RuntimeFailure, match="executable file not found"):
        await missing.exit_code()
    await missing.close()

    reader, writer = await runtime.port_forward(sandbox, 8080)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await reader.read(12)) == b"HTTP/1.1 404"
    writer.close()
    with pytest.raises(RuntimeFailure, match="localhost:8081"):
        await runtime.port_forward(sandbox, 8081)

    stats = {stat.container_id: stat for stat in await runtime.stats()}
    assert stats[container].memory_working_set_bytes > 0


async def test_pods_of_two_nodes_reach_each_other_and_the_host_reaches_both(make_node):
    nodes = [make_node(1), make_node(2)]
    await asyncio.gather(*(node.start() for node in nodes))
    routes = {node.spec.pod_range: node.spec.address for node in nodes}
    await asyncio.gather(*(node.set_routes(routes) for node in nodes))
    runtimes = [node.open_runtime() for node in nodes]
    try:
        containers = []
        for node, runtime in zip(nodes, runtimes, strict=True):
            sandbox, container = await run(node, runtime, "httpd", "-f", "-p", "80")
            containers.append((container, (await runtime.find_sandbox(sandbox)).ips[0]))
        for runtime, (container, _), (_, other) in zip(runtimes, containers, reversed(containers), strict=True):
            code, _, errors = await runtime.exec_sync(
                container, ["wget", "-q", "-O-", f"http://{other}/"], timeout_seconds=30
            )
            assert (code, b"404 Not Found" in errors) == (1, True)
        for _, address in containers:
            (await connect_in(None, address, 80)).close()
            (await connect_in(nodes[0].namespace, address, 80)).close()
    finally:
        for runtime in runtimes:
            await runtime.close()


async def test_containers_outlive_the_agent_and_containerd(node: NodeMachine, runtime: CriRuntime):
    _, container = await run(node, runtime, "sleep", "1000")
    again = NodeMachine(node.spec)
    await again.start()  # As a restarted agent does.
    assert (await runtime.find_container(container)).state == State.RUNNING

    os.kill(int(node.layout.pid_file.read_text().split()[0]), signal.SIGKILL)
    await again.start()
    fresh = again.open_runtime()
    assert (await fresh.find_container(container)).state == State.RUNNING
    await fresh.close()


def process_exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_nothing_is_left_of_a_destroyed_node(node: NodeMachine, runtime: CriRuntime):
    def traces() -> list[str]:
        places = ["/proc/self/mountinfo", "/proc/net/dev"]
        found = [line for place in places for line in Path(place).read_text().splitlines()]
        found += [str(path) for path in Path("/sys/fs/cgroup").rglob(f"*{node.spec.network.cluster}*")]
        found += [str(path) for path in Path("/var/run/netns").iterdir()]
        ours = (node.spec.network.bridge, node.spec.network.cluster, str(node.spec.state), str(node.layout.run))
        return [trace for trace in found if any(name in trace for name in ours)]

    await run(node, runtime, "sleep", "1000")
    assert traces()
    pid = int(node.layout.pid_file.read_text().split()[0])
    await node.destroy()
    assert traces() == []
    assert not process_exists(pid)
    assert not node.spec.state.exists()
    await node.destroy()  # A second time is no error.


def namespaces_of_pods(node: NodeMachine) -> list[Path]:
    found = []
    for result in CNI_RESULTS.glob("*"):
        with suppress(FileNotFoundError, ValueError):  # Others' pods come and go.
            told = json.loads(result.read_text())
            if str(node.spec.state) in base64.b64decode(told["config"]).decode():
                found += [Path(link["sandbox"]) for link in told["result"]["interfaces"] if "sandbox" in link]
    return found


async def test_what_is_left_of_a_node_whose_files_are_gone_does_not_hinder_the_next_of_its_name(
    node: NodeMachine, runtime: CriRuntime
):
    _, container = await run(node, runtime, "sleep", "1000")
    assert (await runtime.find_container(container)).state == State.RUNNING
    pid = int(node.layout.pid_file.read_text().split()[0])
    left = namespaces_of_pods(node)
    node.layout.configuration.unlink()
    third = str(node.spec.pod_range).split(".")[2]
    elsewhere = IPv4Network(str(node.spec.pod_range).replace(f".{third}.", f".{int(third) + 50}."))
    again = NodeMachine(replace(node.spec, pod_range=elsewhere, address=node.spec.address + 50))
    await again.start()
    assert not process_exists(pid)
    assert left
    assert not any(each.exists() for each in left)
    connection = again.open_runtime()
    try:
        sandbox, _ = await run(again, connection, "sleep", "1000")
        assert IPv4Address((await connection.find_sandbox(sandbox)).ips[0]) in elsewhere
        assert [each.id for each in await connection.list_sandboxes()] == [sandbox]
    finally:
        await connection.close()


async def test_a_machine_is_abandoned_when_its_maker_and_all_that_ran_there_are_dead(node: NodeMachine):
    def abandoned() -> list[NodeMachine]:
        return [machine for machine in find_abandoned() if machine.spec.state == node.spec.state]

    connection = node.open_runtime()
    sandbox, _ = await run(node, connection, "sleep", "1000")
    await connection.close()
    record = node.layout.run / RECORD
    record.write_bytes(orjson.dumps({**orjson.loads(record.read_bytes()), "maker": [os.getpid(), "another"]}))
    assert abandoned() == []  # containerd and the pod live.
    before = set(NAMESPACES.iterdir())
    os.kill(int(node.layout.pid_file.read_text().split()[0]), signal.SIGKILL)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            in_group = str(node.cgroup_parent) in (process / "cgroup").read_text()
            if in_group or str(node.layout.socket) in (process / "cmdline").read_text():
                os.kill(int(process.name), signal.SIGKILL)
    async with asyncio.timeout(60):
        while not (found := abandoned()):
            await asyncio.sleep(0.05)
    await asyncio.to_thread(let_go, found[0])
    assert {path.name.partition("-")[0] for path in before - set(NAMESPACES.iterdir())} >= {"cni", "kobune"}
    assert not node.layout.run.exists()
    assert node.layout.configuration.exists()
    await node.start()  # As after a restart of the host.
    connection = node.open_runtime()
    assert [(each.id, each.ready) for each in await connection.list_sandboxes()] == [(sandbox, False)]
    await connection.close()


async def test_a_second_cluster_in_the_same_network_is_refused(node: NodeMachine, tmp_path: Path):
    network = replace(node.spec.network, cluster=f"{node.spec.network.cluster}-twin")
    twin = NodeMachine(replace(node.spec, network=network, state=tmp_path / "twin"))
    try:
        with pytest.raises(RuntimeFailure, match=f"is in use already, by {node.spec.network.bridge}"):
            await twin.start()
    finally:
        await twin.destroy()


async def test_the_route_to_services_stays_while_any_cluster_does(make_node, tmp_path: Path):
    def leads_to() -> str:
        done = subprocess.run(
            ["ip", "route", "show", str(one.spec.network.service_range)], capture_output=True, text=True
        )
        return done.stdout

    one, two = make_node(1), make_node(2)
    beside = IPv4Network(str(one.spec.network.subnet).replace(".0.0/", ".2.0/"))
    network = replace(two.spec.network, cluster=f"{two.spec.network.cluster}-beside", subnet=beside)
    other = NodeMachine(replace(two.spec, network=network, address=beside[5], state=tmp_path / "beside"))
    await one.start()
    try:
        await other.start()
        assert one.spec.network.bridge in leads_to()
        await one.destroy()
        assert network.bridge in leads_to()
    finally:
        await other.destroy()
    assert leads_to() == ""


def repacked(archive: Archive, form: str) -> bytes:
    """The busybox image as other tools would have saved it, under the name team/web:1."""
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        blobs = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.name.startswith("blobs/")}
        index = json.load(tar.extractfile("index.json"))
    (found,) = [each for each in index["manifests"] if each["annotations"]["io.containerd.image.name"] == BUSYBOX]
    manifest = json.loads(blobs[found["digest"].replace("sha256:", "blobs/sha256/")])
    if form == "docker":
        config, layer = (
            blobs[each["digest"].replace("sha256:", "blobs/sha256/")]
            for each in (manifest["config"], manifest["layers"][0])
        )
        image = {"Config": "config.json", "RepoTags": ["team/web:1"], "Layers": ["layer.tar"]}
        files = {"manifest.json": json.dumps([image]).encode(), "config.json": config, "layer.tar": layer}
    else:
        found["annotations"] = {"org.opencontainers.image.ref.name": "team/web:1"}
        new_index = {"schemaVersion": 2, "manifests": [found]}
        layout = {"imageLayoutVersion": "1.0.0"}
        files = {**blobs, "index.json": json.dumps(new_index).encode(), "oci-layout": json.dumps(layout).encode()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["docker", "oci"])
async def test_an_archive_of_another_tool_becomes_an_image(
    node: NodeMachine, runtime: CriRuntime, tmp_path: Path, form: str
):
    file = tmp_path / "image.tar.gz"
    file.write_bytes(repacked(builtin_archive(BUSYBOX_PROGRAM), form))
    assert await node.importer.load(file) == ["docker.io/team/web:1"]
    async with asyncio.timeout(60):
        while (image := await runtime.find_image("team/web:1")) is None:
            await asyncio.sleep(0.05)
    spec = sandbox_spec(node)
    sandbox = await runtime.run_sandbox(spec)
    container = await runtime.create_container(
        sandbox, ContainerSpec(name="main", image=image.id, command=["sleep", "100"]), spec
    )
    await runtime.start_container(container)
    assert (await runtime.find_container(container)).state == State.RUNNING


async def test_a_host_port_leads_to_its_pod(node: NodeMachine, runtime: CriRuntime):
    spec = replace(sandbox_spec(node), port_mappings=[PortMapping(container_port=80, host_port=8088)])
    sandbox = await runtime.run_sandbox(spec)
    image = await runtime.find_image(BUSYBOX)
    web = ContainerSpec(name="main", image=image.id, command=["httpd", "-f", "-p", "80"])
    await runtime.start_container(await runtime.create_container(sandbox, web, spec))
    (await connect_in(None, str(node.spec.address), 8088)).close()
    await runtime.stop_sandbox(sandbox)
    with pytest.raises(ConnectionRefusedError):
        await connect_in(None, str(node.spec.address), 8088)
