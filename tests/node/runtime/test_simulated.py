"""A simulated container lives as its behaviour says, by the clock, and the runtime tells of every step."""

import asyncio

import pytest

from kobune.node.runtime.runtime import ContainerSpec, ImageNotFound, RuntimeFailure, SandboxSpec, State
from kobune.node.runtime.simulated import Behaviour, Result, SimulatedRuntime
from kobune.testing.virtual import VirtualClock, run_virtual

POD = SandboxSpec(name="pod", namespace="default", uid="uid")


async def start(runtime: SimulatedRuntime, name: str = "main") -> tuple[str, str]:
    sandbox = await runtime.run_sandbox(POD)
    container = await runtime.create_container(sandbox, ContainerSpec(name=name, image="web"), POD)
    await runtime.start_container(container)
    return sandbox, container


def simulate(story, **behaviours: Behaviour):
    async def run():
        return await story(SimulatedRuntime(VirtualClock(), behaviours=behaviours))

    return run_virtual(run())


def test_a_container_exits_when_its_time_is_over_and_an_event_says_so():
    async def story(runtime: SimulatedRuntime):
        sandbox, container = await start(runtime)
        events = runtime.events()
        event = await anext(events)
        await events.aclose()
        ended = await runtime.find_container(container)
        assert event == (sandbox, container)
        assert (ended.state, ended.exit_code, ended.reason) == (State.EXITED, 3, "Error")
        assert (ended.finished - ended.started).total_seconds() == 300

    simulate(story, main=Behaviour(runs_seconds=300, exit_code=3))


@pytest.mark.parametrize(
    "stops_seconds, grace, lasted, exit_code",
    [
        pytest.param(2, 30, 2, 143, id="heeds-term"),
        pytest.param(None, 30, 30, 137, id="killed-after-the-grace-period"),
        pytest.param(2, 0, 0, 137, id="killed-at-once-without-grace"),
    ],
)
def test_stopping_takes_as_long_as_the_container_does_but_not_longer_than_the_grace(
    stops_seconds: float | None, grace: int, lasted: float, exit_code: int
):
    async def story(runtime: SimulatedRuntime):
        _, container = await start(runtime)
        await runtime.stop_container(container, grace_seconds=grace)
        ended = await runtime.find_container(container)
        assert ended.exit_code == exit_code
        assert (ended.finished - ended.started).total_seconds() == lasted

    simulate(story, main=Behaviour(stops_seconds=stops_seconds))


def test_a_container_that_cannot_start_says_why():
    async def story(runtime: SimulatedRuntime):
        with pytest.raises(RuntimeFailure, match="no such file"):
            await start(runtime)
        (container,) = await runtime.list_containers()
        assert (container.state, container.exit_code, container.reason) == (State.EXITED, 128, "StartError")

    simulate(story, main=Behaviour(start_failure="exec: no such file"))


def test_commands_answer_as_told_or_time_out():
    async def story(runtime: SimulatedRuntime):
        _, container = await start(runtime)
        assert await runtime.exec_sync(container, ["check"], timeout_seconds=1) == (1, b"", b"ill")
        with pytest.raises(TimeoutError):
            await runtime.exec_sync(container, ["slow"], timeout_seconds=1)
        with pytest.raises(RuntimeFailure, match="not found in"):
            await runtime.exec_sync(container, ["other"], timeout_seconds=1)
        stream = await runtime.exec(container, ["check"], stdin=False, tty=False)
        assert [piece async for piece in stream.output()] == [(2, b"ill")]
        assert await stream.exit_code() == 1

    commands = {("check",): Result(1, stderr=b"ill"), ("slow",): Result(takes_seconds=5)}
    simulate(story, main=Behaviour(commands=commands))


def test_stopping_a_sandbox_ends_its_containers_and_frees_its_address():
    async def story(runtime: SimulatedRuntime):
        sandbox, container = await start(runtime)
        assert (await runtime.find_sandbox(sandbox)).ips == ["10.244.0.1"]
        await runtime.stop_sandbox(sandbox)
        assert (await runtime.find_container(container)).state == State.EXITED
        again = await runtime.run_sandbox(POD)
        assert (await runtime.find_sandbox(again)).ips == ["10.244.0.1"]
        await runtime.remove_sandbox(sandbox)
        assert await runtime.find_container(container) is None

    simulate(story)


def test_an_image_that_no_registry_has_is_not_found():
    async def story():
        runtime = SimulatedRuntime(VirtualClock(), images={"web:1": 2.0})
        before = asyncio.get_running_loop().time()
        image = await runtime.pull_image("web:1")
        assert asyncio.get_running_loop().time() - before == 2.0
        assert await runtime.find_image("web:1") == await runtime.find_image(image.id) == image
        with pytest.raises(ImageNotFound):
            await runtime.pull_image("other:1")

    run_virtual(story())


async def test_a_container_writes_its_log_where_the_kubelet_looks(tmp_path):
    runtime = SimulatedRuntime(VirtualClock(), behaviours={"main": Behaviour(log=["one", "two"])})
    pod = SandboxSpec(name="pod", namespace="default", uid="uid", log_directory=tmp_path)
    sandbox = await runtime.run_sandbox(pod)
    spec = ContainerSpec(name="main", image="web", log_path="main/0.log")
    await runtime.start_container(await runtime.create_container(sandbox, spec, pod))
    lines = (tmp_path / "main" / "0.log").read_text().splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["stdout F one", "stdout F two"]
