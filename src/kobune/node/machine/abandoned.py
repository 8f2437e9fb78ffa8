"""Machines of which nothing lives any more, but what they had of the kernel stays: links, addresses, namespaces, mounts.

That is so when everything of a cluster is killed at once, its service too. Whoever starts it again finds its things and keeps
them; for as long as nobody does, they take addresses away from others.
"""

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from kobune.node.machine.containerd import start_time
from kobune.node.machine.machine import MachineSpec, NodeMachine
from kobune.node.machine.network import Network
from kobune.node.machine.records import RECORD, find_records, hold


def find_abandoned() -> Iterator[NodeMachine]:
    """Machines whose maker is dead and where no process is left. Blocks."""
    for record in find_records():
        machine = _read(record)
        if machine is not None:
            yield machine


def let_go(machine: NodeMachine) -> bool:
    """Take back what an abandoned machine has of its host. Blocks; raises OSError.

    Returns:
        False where somebody has begun to use it again, and nothing is done.
    """
    with hold(alone=True):
        if _read(machine.layout.run / RECORD) is None:
            return False
        machine.let_go()
    return True


def _read(record: Path) -> NodeMachine | None:
    """The machine of a record if it is abandoned; None also where the record is not written to its end, or gone."""
    try:
        told = json.loads(record.read_text())
        pid, started = told["maker"]
        network = Network(told["cluster"], IPv4Network(told["subnet"]), service_range=IPv4Network(told["services"]))
        address, pods = IPv4Address(told["address"]), IPv4Network(told["pod_range"])
        machine = NodeMachine(MachineSpec(network, told["node"], Path(told["state"]), address, pods))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return machine if start_time(pid) != started and not machine.has_users else None
