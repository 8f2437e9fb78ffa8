"""What the kubelet may rely on, whichever runtime it has."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

import pytest

from kobune.api.clock import SystemClock
from kobune.node.machine.machine import MachineSpec, NodeMachine
from kobune.node.machine.network import Network
from kobune.node.machine.requirements import find_missing
from kobune.node.runtime.images import BUSYBOX
from kobune.node.runtime.runtime import ContainerSpec, Runtime, RuntimeFailure, SandboxSpec, State
from kobune.node.runtime.simulated import Behaviour, Result, SimulatedRuntime

COMMANDS = {
    "stays": ["sleep", "1000"],
    "fails": ["sh", "-c", "sleep 0.3; exit 3"],
    "heeds": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
    "ignores": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
}
SAYS = ["sh", "-c", "echo out; echo err >&2; exit 4"]
BEHAVIOURS = {
    "stays": Behaviour(
        commands={tuple(SAYS): Result(4, b"out\n", b"err\n"), ("sleep", "30"): Result(takes_seconds=30)}
    ),
    "fails": Behaviour(runs_seconds=0.3, exit_code=3),
    "heeds": Behaviour(stops_seconds=0.1),
    "ignores": Behaviour(stops_seconds=None),
}


class Subject(NamedTuple):
    runtime: Runtime
    cgroup_parent: str
    logs: Path

    async def sandbox(self) -> tuple[str, SandboxSpec]:
        spec = SandboxSpec(
            name="pod", namespace="default", uid="uid", hostname="pod", log_directory=self.logs,
            cgroup_parent=self.cgroup_parent, labels={"l": "1"}, annotations={"a": "2"},
        )  # fmt: skip
        return await self.runtime.run_sandbox(spec), spec

    async def create(self, sandbox: str, spec: SandboxSpec, name: str, attempt: int = 0) -> str:
        image = await self.runtime.find_image(BUSYBOX)
        container = ContainerSpec(
            name=name, attempt=attempt, image=image.id, user_image=BUSYBOX, command=COMMANDS[name],
            log_path=f"{name}/{attempt}.log", labels={"l": "1"}, annotations={"a": "2"},
        )  # fmt: skip
        return await self.runtime.create_container(sandbox, container, spec)

    async def start(self, name: str) -> tuple[str, str]:
        sandbox, spec = await self.sandbox()
        container = await self.create(sandbox, spec, name)
        await self.runtime.start_container(container)
        return sandbox, container


@pytest.fixture(params=["simulated", pytest.param("cri", marks=pytest.mark.real)])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    if request.param == "simulated":
        simulated = SimulatedRuntime(SystemClock(), behaviours=BEHAVIOURS)
        await simulated.pull_image(BUSYBOX)
        yield Subject(simulated, "", tmp_path / "logs")
        await simulated.close()
        return
    if missing := find_missing():
        if os.environ.get("CI") == "true":
            pytest.fail(" ".join(missing))
        pytest.skip(" ".join(missing))
    second = 100 + os.getpid() % 100
    network = Network(
        f"contract-{os.getpid()}",
        IPv4Network(f"10.{second}.2.0/24"),
        IPv4Network(f"10.{second}.64.0/24"),
        IPv4Network(f"10.{second}.3.0/24"),
    )
    node = NodeMachine(
        MachineSpec(network, "node", tmp_path / "node", IPv4Address(f"10.{second}.2.4"), network.pod_range)
    )
    try:
        await node.start()
        runtime = node.open_runtime()
        yield Subject(runtime, str(node.cgroup_parent / "kubepods"), tmp_path / "logs")
        await runtime.close()
    finally:
        await node.destroy()


async def test_a_sandbox_has_an_address_until_it_is_stopped(subject: Subject):
    sandbox, _ = await subject.sandbox()
    found = await subject.runtime.find_sandbox(sandbox)
    assert (found.name, found.namespace, found.uid, found.attempt) == ("pod", "default", "uid", 0)
    assert found.ready
    assert len(found.ips) == 1
    assert (found.labels, found.annotations) == ({"l": "1"}, {"a": "2"})
    assert [each.id for each in await subject.runtime.list_sandboxes()] == [sandbox]
    await subject.runtime.stop_sandbox(sandbox)
    assert not (await subject.runtime.find_sandbox(sandbox)).ready
    assert [each.ready for each in await subject.runtime.list_sandboxes()] == [False]
    await subject.runtime.remove_sandbox(sandbox)
    assert await subject.runtime.find_sandbox(sandbox) is None
    assert await subject.runtime.list_sandboxes() == []


async def test_a_container_goes_from_created_to_running_to_exited(subject: Subject):
    sandbox, spec = await subject.sandbox()
    container = await subject.create(sandbox, spec, "stays")
    created = await subject.runtime.find_container(container)
    assert (created.state, created.sandbox_id, created.name) == (State.CREATED, sandbox, "stays")
    assert created.started is created.finished is None
    await subject.runtime.start_container(container)
    running = await subject.runtime.find_container(container)
    assert running.state == State.RUNNING
    assert running.created <= running.started
    assert (running.labels, running.annotations) == ({"l": "1"}, {"a": "2"})
    assert [each.state for each in await subject.runtime.list_containers()] == [State.RUNNING]
    await subject.runtime.stop_container(container, grace_seconds=0)
    exited = await subject.runtime.find_container(container)
    assert (exited.state, exited.exit_code, exited.reason) == (State.EXITED, 137, "Error")
    assert exited.started <= exited.finished
    await subject.runtime.remove_container(container)
    assert await subject.runtime.find_container(container) is None


async def test_an_event_tells_of_an_exit_when_its_outcome_can_be_read(subject: Subject):
    async with aclosing(subject.runtime.events()) as events:
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.2)  # The subscription reaches the runtime.
        sandbox, container = await subject.start("fails")
        async with asyncio.timeout(10):
            event = await first
            while event.container_id != container or not (await subject.runtime.find_container(container)).finished:
                event = await anext(events)
    assert event == (sandbox, container)
    ended = await subject.runtime.find_container(container)
    assert (ended.state, ended.exit_code, ended.reason) == (State.EXITED, 3, "Error")


@pytest.mark.parametrize("name, grace, exit_codes", [("heeds", 10, {0, 143}), ("ignores", 1, {137})])
async def test_stopping_gives_the_grace_period_and_not_more(
    subject: Subject, name: str, grace: int, exit_codes: set[int]
):
    _, container = await subject.start(name)
    await asyncio.sleep(0.2)  # The shell sets its trap.
    loop = asyncio.get_running_loop()
    began = loop.time()
    await subject.runtime.stop_container(container, grace_seconds=grace)
    assert loop.time() - began < 5
    assert (await subject.runtime.find_container(container)).exit_code in exit_codes


async def test_what_is_gone_may_be_stopped_and_removed_again(subject: Subject):
    sandbox, container = await subject.start("stays")
    for _ in range(2):
        await subject.runtime.stop_container(container, grace_seconds=0)
        await subject.runtime.remove_container(container)
        await subject.runtime.stop_sandbox(sandbox)
        await subject.runtime.remove_sandbox(sandbox)


async def test_a_command_answers_or_times_out(subject: Subject):
    _, container = await subject.start("stays")
    exec_sync = subject.runtime.exec_sync
    assert await exec_sync(container, SAYS, timeout_seconds=5) == (4, b"out\n", b"err\n")
    with pytest.raises(TimeoutError):
        await exec_sync(container, ["sleep", "30"], timeout_seconds=1)
    with pytest.raises(RuntimeFailure, match="executable file not found"):
        await exec_sync(container, ["no-such-program"], timeout_seconds=5)


async def test_what_does_not_exist_cannot_be_used(subject: Subject):
    assert await subject.runtime.find_container("none") is None
    assert await subject.runtime.find_sandbox("none") is None
    with pytest.raises(RuntimeFailure):
        await subject.runtime.start_container("none")
    with pytest.raises(RuntimeFailure):
        await subject.runtime.exec_sync("none", ["true"], timeout_seconds=1)
    assert await subject.runtime.find_image("kobune.local/none") is None


async def test_images_are_found_by_reference_and_by_id(subject: Subject):
    image = await subject.runtime.find_image(BUSYBOX)
    assert BUSYBOX in image.tags
    assert await subject.runtime.find_image(image.id) == image
    assert image in await subject.runtime.list_images()


async def test_a_running_container_uses_memory(subject: Subject):
    _, container = await subject.start("stays")
    stats = {each.container_id: each for each in await subject.runtime.stats()}
    assert stats[container].memory_working_set_bytes > 0


async def test_a_runtime_that_is_well_has_no_problems(subject: Subject):
    assert await subject.runtime.problems() == []
    assert "://" in await subject.runtime.version()
