"""The service is killed at random moments of every kind of operation; each one ends, and what it says is so."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import pytest

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.instances import MachineState
from kobune.host.layout import Layout
from kobune.host.placement import is_free
from kobune.host.spec import OperationState, Spec, new_wish, read_spec, read_status, write_spec

ENDS_WITHIN = 180.0  # Seconds, on a busy machine.


class Service:
    """`kobune serve`, killed and started again."""

    def __init__(self, state_dir):
        self.state_dir, self.kills = state_dir, 0
        self.start()

    def start(self):
        command = [sys.executable, "-m", "kobune", "serve", "--no-arm", "--state-dir", str(self.state_dir)]
        with (self.state_dir / "serve.out").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def restart(self):
        self.kill()
        self.start()


class Story:
    """One cluster of simulated nodes, asked for this and that."""

    def __init__(self, service, rng, longest):
        self.service, self.rng, self.longest = service, rng, longest
        self.layout = Layout(service.state_dir).cluster("story")
        pools = (NodePool("np1", 2, simulated=True), NodePool("np2", 1, simulated=True, mode="User"))
        # Not one that another service on this machine would take while ours is down.
        port = next(port for port in iter(lambda: rng.randrange(20_000, 30_000), 0) if is_free(port))
        self.spec = Spec(Cluster("story", "1.36.1", pools), api_port=port)

    def ask(self, kind, **changes):
        """Ask, kill the service some time later, and wait for the outcome."""
        self.spec = replace(self.spec, cluster=replace(self.spec.cluster, **changes), wish=new_wish(kind))
        write_spec(self.layout, self.spec)
        time.sleep(self.rng.random() * self.longest)
        self.service.restart()
        outcome = self.wait()
        assert outcome.state is OperationState.SUCCEEDED, outcome
        self.check()

    def wait(self):
        deadline = time.monotonic() + ENDS_WITHIN
        while True:
            operation = read_status(self.layout).operation
            is_ours = operation is not None and operation.id == self.spec.wish.id
            if is_ours and operation.state is not OperationState.IN_PROGRESS:
                return operation
            assert time.monotonic() < deadline, (self.spec.wish, operation, read_status(self.layout).nodes)
            time.sleep(0.05)

    def check(self):
        """The status says what was asked for, and so does the cluster's own list of nodes."""
        status, cluster = read_status(self.layout), self.spec.cluster
        assert read_spec(self.layout) == self.spec
        assert Counter(node.pool for node in status.nodes) == Counter({pool.name: pool.count for pool in cluster.pools})
        running = {pool.name for pool in cluster.pools if pool.running}
        states = {(node.pool in running, node.state) for node in status.nodes}
        assert states <= {(True, MachineState.RUNNING), (False, MachineState.STOPPED)}, states
        assert {node.kubernetes_version for node in status.nodes} == {cluster.kubernetes_version}
        kubeconfig = str(self.layout.kubeconfig)
        command = ["kubectl", "--kubeconfig", kubeconfig, "get", "nodes", "-o", "name"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
        assert sorted(listed) == sorted(f"node/{node.name}" for node in status.nodes if node.pool in running)

    def pools(self, *counts):
        return tuple(replace(pool, count=count) for pool, count in zip(self.spec.cluster.pools, counts, strict=True))

    def without_first(self):
        """The pools less the first one's first machine."""
        first, *others = self.spec.cluster.pools
        victim = next(node.name for node in read_status(self.layout).nodes if node.pool == first.name)
        return (replace(first, count=first.count - 1, removed=(victim,)), *others)

    def second(self, **changes):
        """The pools, the second one changed."""
        first, second = self.spec.cluster.pools
        return (first, replace(second, **changes))

    def delete(self):
        write_spec(self.layout, replace(self.spec, wish=new_wish("delete")))
        time.sleep(self.rng.random() * 0.5)
        self.service.restart()
        deadline = time.monotonic() + ENDS_WITHIN
        while self.layout.root.exists():
            assert time.monotonic() < deadline, "the cluster is still there"
            time.sleep(0.05)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [pytest.param(1, id="short"), pytest.param(6, id="long", marks=pytest.mark.slow)])
def test_operations_outlive_the_service_that_began_them(tmp_path, rounds):
    """Nine kills in a round: at a create, two scalings, the deletion of a machine, a pool's stop and start, a rotation of
    certificates, an upgrade and a delete."""
    rng = random.Random(int.from_bytes(os.urandom(4)))
    service = Service(tmp_path)
    story = None
    try:
        for _ in range(rounds):
            story = Story(service, rng, longest=3.0)
            story.ask("create")
            story.ask("scale", pools=story.pools(4, 0))
            story.ask("scale", pools=story.pools(2, 2))
            story.longest = 1.5
            story.ask("delete-machines", pools=story.without_first())
            story.ask("update", pools=story.second(running=False))
            story.ask("update", pools=story.second(running=True))
            story.ask("rotate-certificates", certificate_generation=2)
            story.longest = 12.0
            story.ask("upgrade", kubernetes_version="1.37.0")
            story.delete()
    finally:
        if story is not None and story.layout.root.exists():
            write_spec(story.layout, replace(story.spec, running=False, wish=new_wish("delete")))
            deadline = time.monotonic() + ENDS_WITHIN
            while story.layout.root.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
        os.kill(service.process.pid, signal.SIGTERM)
        service.process.wait()
    assert service.kills == 9 * rounds
