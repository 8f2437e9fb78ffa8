"""Would the shop of `online_shop.yaml` fit on three nodes of a size, and how many of which size would it take?"""

from pathlib import Path

import msgspec
import yaml

from kobune.aks.reservations import reservations
from kobune.aks.vm_sizes import get_vm_size
from kobune.api.objects.core import Node
from kobune.controlplane.scheduler.plan import Plan, make_plan, render_plan
from kobune.controlplane.scheduler.why import Pool
from kobune.controlplane.scheduler.workloads import workloads_of


def pool(name: str, vm_size: str, size: int = 0) -> Pool:
    """A pool of nodes with the capacity and the AKS reservations of a VM size."""
    kept = reservations(get_vm_size(vm_size), kubernetes_version="1.36", max_pods=30)
    node = {
        "metadata": {"name": name, "labels": {"agentpool": name}},
        "status": {
            "capacity": {"cpu": str(kept.vm_size.cores), "memory": f"{kept.memory_capacity_ki}Ki", "pods": "30"},
            "allocatable": {
                "cpu": f"{kept.cpu_allocatable_millicores}m",
                "memory": f"{kept.memory_allocatable_ki}Ki",
                "pods": "30",
            },
        },
    }
    return Pool(name, msgspec.convert(node, Node), size)


def main() -> Plan:
    manifests = yaml.safe_load_all((Path(__file__).parent / "online_shop.yaml").read_text())
    workloads = workloads_of(manifests)
    sizes = [pool(size, size) for size in ("Standard_D2s_v5", "Standard_D4s_v5", "Standard_D8s_v5")]
    return make_plan(workloads, [pool("user", "Standard_D4s_v5", size=3)], sizes=sizes)


if __name__ == "__main__":
    print(render_plan(main()), end="")
