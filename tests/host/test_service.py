"""One cluster's trouble stays that cluster's own."""

import asyncio
from contextlib import asynccontextmanager

from kobune.aks.clusters import Cluster
from kobune.api.clock import SystemClock
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.service import last_words, serve
from kobune.host.spec import ProcessStatus, Spec, Status, read_status, write_spec


@asynccontextmanager
async def served(layout: Layout):
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(serve(layout, SystemClock(), until_idle=False))
        yield
        work.cancel()


async def until(cluster: ClusterLayout, check) -> Status:
    async with asyncio.timeout(20):
        while not check(status := read_status(cluster)):
            await asyncio.sleep(0.05)
        return status


def stopped(name: str) -> Spec:
    return Spec(Cluster(name, "1.36.1", ()), api_port=6443, running=False)


async def test_a_spec_that_cannot_be_read_hinders_no_other_cluster_and_can_be_mended(tmp_path):
    layout = Layout(tmp_path)
    broken, fine = layout.cluster("broken"), layout.cluster("fine")
    write_spec(broken, stopped("broken"))
    broken.spec.write_bytes(b"{")
    async with served(layout):
        status = await until(broken, lambda status: status.problem)
        assert "truncated" in status.problem
        write_spec(fine, stopped("fine"))
        await until(fine, lambda status: status.halted)
        write_spec(broken, stopped("broken"))
        assert (await until(broken, lambda status: status.halted)).problem == ""


def test_of_a_process_that_ended_the_error_is_told_and_not_the_frame_around_it(tmp_path):
    cluster = ClusterLayout(tmp_path)
    cluster.logs.mkdir(parents=True)
    (cluster.logs / "control-plane.out").write_text(
        "  + Exception Group Traceback (most recent call last):\n"
        "  +-+---------------- 1 ----------------\n"
        "    | Traceback (most recent call last):\n"
        "    | OSError: address already in use\n"
        "    +------------------------------------\n"
    )
    ended = ProcessStatus("control-plane", 0, 1, "exit status 1")
    assert last_words(cluster, [ended]) == "control-plane ended (exit status 1): OSError: address already in use"
