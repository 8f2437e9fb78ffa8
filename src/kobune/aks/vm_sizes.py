"""The VM sizes a node pool can have, as Azure sells them. One row each; SKU listings and node capacity read these rows."""

from dataclasses import dataclass

from kobune.api.errors import Invalid

DEFAULT_VM_SIZE = "Standard_DS2_v2"  # AKS's own choice when none is given, until it became a subscription's setting.


@dataclass(frozen=True, slots=True)
class VmSize:
    name: str
    family: str  # The quota that its cores count against.
    cores: int
    memory_gib: float
    data_disks: int
    temp_gib: int  # Size of the temporary disk; 0: none.
    gpus: int = 0
    arch: str = "amd64"

    @property
    def memory_mib(self) -> int:
        return int(self.memory_gib * 1024)


# Source: the Azure autoscaler provider's instance types, the disk driver's disk counts and the VM size pages.
VM_SIZES: dict[str, VmSize] = {
    size.name: size
    for size in (
        #      name                       family                     cores  GiB  disks  temp GiB
        VmSize("Standard_B2s",            "standardBSFamily",          2,     4,    4,     8),
        VmSize("Standard_B2ms",           "standardBSFamily",          2,     8,    4,    16),
        VmSize("Standard_B4ms",           "standardBSFamily",          4,    16,    8,    32),
        VmSize("Standard_B8ms",           "standardBSFamily",          8,    32,   16,    64),
        VmSize("Standard_B20ms",          "standardBSFamily",         20,    80,   32,   160),
        VmSize("Standard_B2s_v2",         "standardBsv2Family",        2,     8,    4,     0),
        VmSize("Standard_B2als_v2",       "standardBasv2Family",       2,     4,    4,     0),
        VmSize("Standard_B4s_v2",         "standardBsv2Family",        4,    16,    8,     0),
        VmSize("Standard_DS1_v2",         "standardDSv2Family",        1,   3.5,    4,     7),
        VmSize("Standard_DS2_v2",         "standardDSv2Family",        2,     7,    8,    14),
        VmSize("Standard_DS3_v2",         "standardDSv2Family",        4,    14,   16,    28),
        VmSize("Standard_DS4_v2",         "standardDSv2Family",        8,    28,   32,    56),
        VmSize("Standard_D2_v2",          "standardDv2Family",         2,     7,    8,   100),
        VmSize("Standard_D2_v3",          "standardDv3Family",         2,     8,    4,    50),
        VmSize("Standard_D2s_v3",         "standardDSv3Family",        2,     8,    4,    16),
        VmSize("Standard_D4s_v3",         "standardDSv3Family",        4,    16,    8,    32),
        VmSize("Standard_D8s_v3",         "standardDSv3Family",        8,    32,   16,    64),
        VmSize("Standard_D16s_v3",        "standardDSv3Family",       16,    64,   32,   128),
        VmSize("Standard_D32s_v3",        "standardDSv3Family",       32,   128,   32,   256),
        VmSize("Standard_D64s_v3",        "standardDSv3Family",       64,   256,   32,   512),
        VmSize("Standard_D2as_v4",        "standardDASv4Family",       2,     8,    4,    16),
        VmSize("Standard_D4as_v4",        "standardDASv4Family",       4,    16,    8,    32),
        VmSize("Standard_D2s_v5",         "standardDSv5Family",        2,     8,    4,     0),
        VmSize("Standard_D4s_v5",         "standardDSv5Family",        4,    16,    8,     0),
        VmSize("Standard_D8s_v5",         "standardDSv5Family",        8,    32,   16,     0),
        VmSize("Standard_D64s_v5",        "standardDSv5Family",       64,   256,   32,     0),
        VmSize("Standard_D2ds_v5",        "standardDDSv5Family",       2,     8,    4,    75),
        VmSize("Standard_D4ds_v5",        "standardDDSv5Family",       4,    16,    8,   150),
        VmSize("Standard_D8ds_v5",        "standardDDSv5Family",       8,    32,   16,   300),
        VmSize("Standard_D16ds_v5",       "standardDDSv5Family",      16,    64,   32,   600),
        VmSize("Standard_D32ds_v5",       "standardDDSv5Family",      32,   128,   32,  1200),
        VmSize("Standard_D2as_v5",        "standardDASv5Family",       2,     8,    4,     0),
        VmSize("Standard_D4as_v5",        "standardDASv5Family",       4,    16,    8,     0),
        VmSize("Standard_D8as_v5",        "standardDASv5Family",       8,    32,   16,     0),
        VmSize("Standard_D2ps_v5",        "standardDPSv5Family",       2,     8,    4,     0, arch="arm64"),
        VmSize("Standard_D16plds_v5",     "standardDPLDSv5Family",    16,    32,   32,   600, arch="arm64"),
        VmSize("Standard_D2as_v6",        "StandardDasv6Family",       2,     8,    4,     0),
        VmSize("Standard_D2s_v6",         "StandardDsv6Family",        2,     8,    8,     0),
        VmSize("Standard_E2s_v3",         "standardESv3Family",        2,    16,    4,    32),
        VmSize("Standard_E4s_v3",         "standardESv3Family",        4,    32,    8,    64),
        VmSize("Standard_E4s_v5",         "standardESv5Family",        4,    32,    8,     0),
        VmSize("Standard_E8s_v5",         "standardESv5Family",        8,    64,   16,     0),
        VmSize("Standard_E16s_v5",        "standardESv5Family",       16,   128,   32,     0),
        VmSize("Standard_E4ds_v5",        "standardEDSv5Family",       4,    32,    8,   150),
        VmSize("Standard_E8ds_v5",        "standardEDSv5Family",       8,    64,   16,   300),
        VmSize("Standard_F2s_v2",         "standardFSv2Family",        2,     4,    4,    16),
        VmSize("Standard_F4s_v2",         "standardFSv2Family",        4,     8,    8,    32),
        VmSize("Standard_F8s_v2",         "standardFSv2Family",        8,    16,   16,    64),
        VmSize("Standard_F16s_v2",        "standardFSv2Family",       16,    32,   32,   128),
        VmSize("Standard_F32s_v2",        "standardFSv2Family",       32,    64,   32,   256),
        VmSize("Standard_L8s_v3",         "standardLSv3Family",        8,    64,   16,    80),
        VmSize("Standard_DC4s_v3",        "standardDCSv3Family",       4,    32,   16,     0),
        VmSize("Standard_NC6",            "standardNCFamily",          6,    56,   24,   340, gpus=1),
        VmSize("Standard_NC4as_T4_v3",    "Standard NCASv3_T4 Family", 4,    28,    8,   176, gpus=1),
        VmSize("Standard_NC16as_T4_v3",   "Standard NCASv3_T4 Family", 16,  110,   32,   352, gpus=1),
        VmSize("Standard_NC6s_v3",        "standardNCSv3Family",       6,   112,   12,   736, gpus=1),
        VmSize("Standard_NC24ads_A100_v4", "StandardNCADSA100v4Family", 24, 220,    8,    64, gpus=1),
        VmSize("Standard_ND40rs_v2",      "standardNDSv2Family",      40,   672,    8,  2948, gpus=8),
    )
}  # fmt: skip
_BY_LOWER_NAME = {name.lower(): size for name, size in VM_SIZES.items()}


def get_vm_size(name: str) -> VmSize:
    """The size of this name, whatever its casing; Azure's names are compared so.

    Raises:
        Invalid: no such size; the message names the nearest ones.
    """
    size = _BY_LOWER_NAME.get(name.lower())
    if size is None:
        wanted = name.lower().removeprefix("standard_")
        near = [
            known for known in VM_SIZES if wanted[:2] and known.lower().removeprefix("standard_").startswith(wanted[:2])
        ]
        hint = f"; sizes of a like name: {', '.join(near)}" if near else ""
        raise Invalid(f"VM size {name!r} is not known{hint}. All sizes: kobune reservations --list")
    return size
