"""Reservations against the figures of real AKS nodes."""

import pytest

from kobune.aks.reservations import NodeOs, kernel_memory_ki, os_disk_ki, reservations
from kobune.aks.vm_sizes import VM_SIZES, VmSize, get_vm_size
from kobune.api.errors import Invalid

LINUX, WINDOWS = NodeOs.LINUX, NodeOs.WINDOWS


def plain(cores: int, memory_gib: float) -> VmSize:
    """A size of which only cores and memory are known."""
    return VmSize(f"{cores}c{memory_gib}g", "", cores, memory_gib, 0, 0)


# Each row was read off a real node: capacity and allocatable memory in Ki, kube-reserved and eviction in Mi.
REAL_NODES = [
    pytest.param("Standard_E4s_v3", "1.30.7", 250, LINUX, 32865016, 27591416, 5050, 100, 3860, id="e4s-v3-1.30"),
    pytest.param("Standard_D2as_v4", "1.32.7", 110, LINUX, 8129936, 5930384, 2048, 100, 1900, id="d2as-v4-1.32"),
    pytest.param("Standard_D2s_v3", "1.30.9", 250, LINUX, 8130044, 5930492, 2048, 100, 1900, id="d2s-v3-1.30"),
    pytest.param("Standard_B8ms", "1.32.7", 110, LINUX, 32859916, 30453516, 2250, 100, 7820, id="b8ms-1.32"),
    pytest.param("Standard_B8ms", "1.32.7", 110, LINUX, 32864156, 30457756, 2250, 100, 7820, id="b8ms-1.32-other"),
    pytest.param("Standard_DC4s_v3", "1.32", 250, LINUX, 32864252, 27590652, 5050, 100, 3860, id="dc4s-v3-2025"),
    pytest.param("Standard_F2s_v2", "1.24", 110, LINUX, 4025836, 2209260, 1024, 750, 1900, id="f2s-v2-1.24"),
    pytest.param("Standard_F2s_v2", "1.25", 110, LINUX, 4025836, 2209260, 1024, 750, 1900, id="f2s-v2-1.25"),
    pytest.param(plain(2, 4), "1.24", 100, LINUX, 4025836, 2209260, 1024, 750, 1900, id="2-cores-4-gib-1.24"),
    pytest.param("Standard_B2s", "1.14.6", 110, LINUX, 4017088, 2200512, 1024, 750, 1900, id="b2s-1.14"),
    pytest.param(plain(2, 4), "1.15.3", 110, LINUX, 4016988, 2200412, 1024, 750, 1900, id="2-cores-4-gib-1.15"),
    pytest.param(plain(4, 16), "1.14", 110, LINUX, 16403296, 12909408, 2662, 750, 3860, id="4-cores-16-gib-1.14"),
    pytest.param("Standard_DS2_v2", "1.16", 110, LINUX, 7113660, 4668348, 1638, 750, 1900, id="ds2-v2-2020"),
    pytest.param("Standard_DS1_v2", "1.13", 110, LINUX, 3500452, 1814948, 896, 750, 940, id="ds1-v2-2019"),
    pytest.param(plain(2, 8), "1.20", 110, LINUX, 8152800, 5497568, 1843, 750, 1900, id="2-cores-8-gib-2021"),
    pytest.param(plain(8, 32), "1.28", 110, LINUX, 32863116, 28362636, 3645, 750, 7820, id="8-cores-32-gib-docs"),
    pytest.param("Standard_NC6", "1.18", 110, LINUX, 57584828, 51573948, 5120, 750, 5840, id="nc6-1.18"),
    pytest.param("Standard_NC24ads_A100_v4", "1.25", 30, LINUX, 226783616, 214314368, 11427, 750, 23660, id="a100-2023"),
    pytest.param("Standard_DS2_v2", "1.16", 30, WINDOWS, 7339572, 3565108, 3686, 0, 1900, id="windows-ds2-v2-2020"),
    # Of these only allocatable was published; capacity is what it implies.
    pytest.param(plain(16, 64), "1.29", 60, LINUX, 65842956, 64460556, 1250, 100, 15740, id="16-cores-64-gib-1.29"),
    pytest.param(plain(16, 64), "1.28", 60, LINUX, 65843032, 59329368, 5611, 750, 15740, id="16-cores-64-gib-1.28"),
]  # fmt: skip


@pytest.mark.parametrize("size, version, max_pods, os, capacity, allocatable, reserved, eviction, cpu", REAL_NODES)
def test_figures_agree_with_real_nodes(size, version, max_pods, os, capacity, allocatable, reserved, eviction, cpu):
    vm_size = get_vm_size(size) if isinstance(size, str) else size
    found = reservations(vm_size, kubernetes_version=version, max_pods=max_pods, os=os, capacity_memory_ki=capacity)
    assert (found.memory_reserved_mi, found.memory_eviction_mi) == (reserved, eviction)
    assert found.memory_allocatable_ki == allocatable
    assert found.cpu_allocatable_millicores == cpu


@pytest.mark.parametrize(
    "cores, kept", [(1, 60), (2, 100), (4, 140), (8, 180), (16, 260), (32, 420), (64, 740), (6, 160)]
)
def test_cpu_reserved_follows_the_published_table(cores, kept):
    assert reservations(plain(cores, 16), kubernetes_version="1.36", max_pods=30).cpu_reserved_millicores == kept


@pytest.mark.parametrize("capacity_ki, allocatable_bytes", [
    (129886128, 119703055367), (129900528, 119716326407), (259966896, 239585490957), (101445900, 93492541286),
])  # fmt: skip
def test_storage_left_agrees_with_real_nodes(capacity_ki, allocatable_bytes):
    from kobune.aks.reservations import TENTH

    assert capacity_ki * 1024 - int(capacity_ki * 1024 * TENTH) == allocatable_bytes


def test_os_disk_capacity_goes_through_the_real_disks():
    assert (os_disk_ki(128), os_disk_ki(256)) == (129886128, 259966896)


def test_windows_storage_is_not_reduced():
    found = reservations(get_vm_size("Standard_DS2_v2"), kubernetes_version="1.30", max_pods=30, os=WINDOWS)
    assert found.storage_allocatable_bytes == found.storage_capacity_ki * 1024


@pytest.mark.parametrize("nominal_gib, seen_ki", [(4, 4025836), (8, 8129936), (32, 32865016), (7, 7113660)])
def test_estimated_kernel_memory_is_within_20_mib_of_real_nodes(nominal_gib, seen_ki):
    assert abs(kernel_memory_ki(plain(2, nominal_gib)) - seen_ki) <= 20 * 1024


def test_lines_sum_up_to_what_is_allocatable():
    for version in ("1.28", "1.36"):
        for size in VM_SIZES.values():
            found = reservations(size, kubernetes_version=version, max_pods=110)
            kept = sum(
                -float(line.amount[:-2]) for line in found.lines if line.resource == "memory" and line.amount[0] == "-"
            )
            assert int(kept) == found.memory_reserved_mi + found.memory_eviction_mi


def test_unknown_size_is_refused_and_near_names_are_offered():
    with pytest.raises(Invalid, match=r"Standard_DS9_v2.*Standard_DS2_v2"):
        get_vm_size("Standard_DS9_v2")


def test_sizes_are_found_in_any_casing():
    assert get_vm_size("standard_ds2_V2").name == "Standard_DS2_v2"
