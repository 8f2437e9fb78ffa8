"""kubelet's flags, as upstream writes them."""

import subprocess
import sys
from pathlib import Path

import pytest

from kobune.host.flag_values import BadFlag
from kobune.host.standalone_node import KubeletFlags, kubelet_config
from kobune.node.kubelet.config import Amounts, Taint


def config(tmp_path, **flags):
    return kubelet_config(KubeletFlags(kubeconfig=Path("unused"), root_dir=tmp_path / "kubelet", **flags))


def test_flags_of_a_real_aks_node_are_understood(tmp_path):
    found = config(
        tmp_path,
        kube_reserved="cpu=180m,memory=2250Mi,pid=1000",
        eviction_hard="memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%",
        node_labels="agentpool=np1,kubernetes.azure.com/mode=system",
        register_with_taints="CriticalAddonsOnly=true:NoSchedule",
        max_pods=250,
    )
    assert found.kube_reserved == Amounts(cpu_millicores=180, memory_bytes=2250 << 20, pids=1000)
    assert (found.eviction.memory_available_bytes, found.eviction.nodefs_available_share) == (100 << 20, 0.1)
    assert found.labels["agentpool"] == "np1"
    assert list(found.taints) == [Taint("CriticalAddonsOnly", "NoSchedule", "true")]


def test_capacity_is_the_machines(tmp_path):
    found = config(tmp_path)
    assert found.capacity.cpu_millicores % 1000 == 0
    assert found.capacity.memory_bytes > 0
    assert found.capacity.ephemeral_bytes > 0


@pytest.mark.parametrize("flags", [
    {"kube_reserved": "cpu=lots"}, {"kube_reserved": "gpu=1"}, {"eviction_hard": "memory.available"},
    {"eviction_hard": "nodefs.available<5Gi"}, {"node_labels": "bare"}, {"register_with_taints": "key=value"},
])  # fmt: skip
def test_bad_flags_are_refused(tmp_path, flags):
    with pytest.raises(BadFlag):
        config(tmp_path, **flags)


def test_no_kubeconfig_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "kobune", "kubelet", "--kubeconfig", str(tmp_path / "none"), "--root-dir", str(tmp_path)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("kobune: cannot read kubeconfig")
