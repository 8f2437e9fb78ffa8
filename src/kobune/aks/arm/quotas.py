"""Cores: how many of each VM family a region's clusters use, and how many they may."""

from collections import Counter
from collections.abc import Iterable

from kobune.aks.arm.errors import bad_request
from kobune.aks.arm.fleet import View
from kobune.aks.arm.service import CLUSTERS, ArmService
from kobune.aks.vm_sizes import VM_SIZES, get_vm_size
from kobune.api.errors import Json

REGION_FACTOR = 5  # A region's total is this many times a family's.


def cores_in_use(service: ArmService, location: str) -> Counter[str]:
    """Cores by VM family."""
    used: Counter[str] = Counter()
    for cluster in service.store.list(CLUSTERS, service.scope):
        if cluster.document["location"] == location:
            used += cores_of(cluster.document["properties"]["agentPoolProfiles"], service.look(cluster))
    return used


def cores_of(pools: Iterable[Json], view: View | None = None) -> Counter[str]:
    """Cores by VM family of these pools; autoscaled ones count as they are."""
    cores: Counter[str] = Counter()
    for pool in pools:
        size = get_vm_size(pool["vmSize"])
        seen = view.pool(pool["name"]) if view and pool["enableAutoScaling"] else None
        cores[size.family] += size.cores * (seen.count if seen else pool["count"])
    return cores


def check_quota(
    service: ArmService, location: str, before: Iterable[Json], after: Iterable[Json], *, name: str
) -> None:
    """Raise ArmError when the cluster's pools, changed from `before` to `after`, need more cores than are left."""
    old, new = cores_of(before), cores_of(after)
    used = cores_in_use(service, location)
    for family, cores in sorted(new.items()):
        more, left = cores - old[family], service.cores_quota - used[family]
        if more > 0 and more > left:
            raise _exceeded(name, family, location, wanted=more, left=left)
    more = new.total() - old.total()
    left = service.cores_quota * REGION_FACTOR - used.total()
    if more > 0 and more > left:
        raise _exceeded(name, "Total Regional Cores", location, wanted=more, left=left)


def usages(service: ArmService, location: str) -> list[Json]:
    """`az vm list-usage`."""
    used = cores_in_use(service, location)
    families = sorted({size.family for size in VM_SIZES.values()}, key=str.lower)
    rows = [_usage("cores", "Total Regional vCPUs", used.total(), service.cores_quota * REGION_FACTOR)]
    rows += [_usage(family, f"{_readable(family)} vCPUs", used[family], service.cores_quota) for family in families]
    return rows


def _exceeded(name: str, family: str, location: str, *, wanted: int, left: int) -> Exception:
    return bad_request(
        "ErrCode_InsufficientVCPUQuota",
        f"Preflight validation check for resource(s) for container service {name} failed. Message: Insufficient vcpu quota "
        f"requested {wanted}, remaining {max(left, 0)} for family {family} for region {location}. Operations that need surge "
        "nodes, such as upgrades, count these too. See https://aka.ms/aks/quota-errors.",
    )


def _usage(name: str, shown: str, used: int, limit: int) -> Json:
    return {
        "unit": "Count",
        "currentValue": used,
        "limit": limit,
        "name": {"value": name, "localizedValue": shown},
        "localName": shown,
    }


def _readable(family: str) -> str:
    """`Standard DSv3 Family` for "standardDSv3Family"."""
    plain = family[8:] if family.lower().startswith("standard") else family
    return f"Standard {plain.strip().removesuffix('Family').strip()} Family"
