"""What the service upgrades by itself: clusters by their channel, node images by theirs, in their maintenance windows.

Source: AKS's pages on auto-upgrade of clusters and of node images.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kobune.aks.arm.documents import KEPT, newest_image, with_pools
from kobune.aks.arm.fleet import View
from kobune.aks.arm.maintenance import Opening, find_opening
from kobune.aks.arm.operations import RUN_COMMAND, begin
from kobune.aks.arm.service import CLUSTERS, ArmService
from kobune.aks.arm.store import Operation, Resource
from kobune.aks.versions import VERSIONS, get_version
from kobune.api.errors import Json

log = logging.getLogger(__name__)

CLUSTER_CHANNELS = ("none", "patch", "stable", "rapid", "node-image")
NODE_CHANNELS = ("None", "Unmanaged", "SecurityPatch", "NodeImage")
VERSION_CHANNELS = ("patch", "stable", "rapid")
CLUSTER_SCHEDULE, NODE_SCHEDULE = "aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule"
AGAIN_AFTER = timedelta(days=1)  # What failed is tried again, where no window says when.
ATTEMPTS = "auto-upgrades"  # Under KEPT: when each schedule's last one began.


def channel_target(channel: str, current: str) -> str:
    """The version to which a channel brings a cluster that runs `current`; one minor at a time; `current`: it stays.

    Source: AKS's table of channels; N is the newest minor on offer.
    """
    offered = [version.minor for version in VERSIONS]
    here = offered.index(get_version(current).minor)
    if channel == "patch":
        goal = here
    elif channel in ("stable", "rapid"):
        goal = len(offered) - (2 if channel == "stable" else 1)
    else:
        return current
    return VERSIONS[min(here + 1, goal)].newest if goal >= here else current


def follow_auto_upgrades(service: ArmService) -> None:
    """Begin what is due on any cluster."""
    for cluster in service.store.list(CLUSTERS):
        view = service.look(cluster)
        busy = any(operation.kind != RUN_COMMAND for operation in service.store.unfinished(cluster.key))
        if view is not None and view.wanted_running and not busy:
            begun = _upgrade_cluster(service, cluster, view)
            if begun is None:
                _upgrade_images(service, cluster, view)


def _upgrade_cluster(service: ArmService, cluster: Resource, view: View) -> Operation | None:
    properties = cluster.document["properties"]
    channel = properties["autoUpgradeProfile"].get("upgradeChannel")
    if channel not in VERSION_CHANNELS:
        return None
    target = channel_target(channel, properties[KEPT]["version"])
    behind = _outdated(properties["agentPoolProfiles"], view, target)
    versions = (properties[KEPT]["version"], view.kubernetes_version or target)
    if not behind and versions == (target, target):
        return None
    document = _at_version(cluster.document, target)
    return _begin(service, cluster, document, CLUSTER_SCHEDULE, "Upgrading", "upgrade", behind)


def _upgrade_images(service: ArmService, cluster: Resource, view: View) -> Operation | None:
    properties = cluster.document["properties"]
    profile = properties["autoUpgradeProfile"]
    by_cluster = profile.get("upgradeChannel") == "node-image"
    channel = profile.get("nodeOSUpgradeChannel")
    if not by_cluster and channel not in ("NodeImage", "SecurityPatch"):
        return None
    pools, behind = [], []
    for pool in properties["agentPoolProfiles"]:
        image = newest_image(pool[KEPT]["version"], pool)
        seen = view.pool(pool["name"])
        # Windows has no security patches between its images.
        applies = by_cluster or channel == "NodeImage" or pool["osType"] == "Linux"
        if applies and (pool[KEPT]["image"] != image or (seen and seen.image_version not in ("", image))):
            behind.append(pool["name"])
            pool = pool | {KEPT: pool[KEPT] | {"image": image}}
        pools.append(pool)
    if not behind:
        return None
    schedule = CLUSTER_SCHEDULE if by_cluster else NODE_SCHEDULE
    document = with_pools(cluster.document, pools)
    return _begin(service, cluster, document, schedule, "UpgradingNodeImageVersion", "node-image", behind)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How the cluster stands with a schedule."""

    last: datetime | None  # When its last upgrade began.
    well: bool  # Whether the cluster's last operation succeeded.

    def may_begin(self, opening: Opening, now: datetime) -> bool:
        """In an open window, or at any time where there is none; after a failure once in each window, or once a day."""
        if opening.planned:
            return opening.since is not None and (self.well or self.last is None or self.last < opening.since)
        return self.well or self.last is None or now - self.last >= AGAIN_AFTER


def _begin(
    service: ArmService,
    cluster: Resource,
    document: Json,
    schedule: str,
    kind: str,
    wish: str,
    pools: Iterable[str],
) -> Operation | None:
    """Start the upgrade if its time has come."""
    properties, now = document["properties"], service.clock.now()
    attempts = properties[KEPT].get(ATTEMPTS, {})
    last = datetime.fromisoformat(attempts[schedule]) if schedule in attempts else None
    attempt = _Attempt(last, well=properties["provisioningState"] == "Succeeded")
    if not attempt.may_begin(find_opening(service, cluster, schedule), now):
        return None
    kept = properties[KEPT] | {ATTEMPTS: attempts | {schedule: now.isoformat()}}
    document = document | {"properties": properties | {KEPT: kept}}
    log.info("automatic upgrade", extra={"cluster": cluster.key, "schedule": schedule, "version": kept["version"]})
    changed = replace(cluster, document=document)
    return begin(service, changed, kind=kind, wish=wish, pools=tuple(pools), caller="")


def _outdated(pools: Iterable[Json], view: View, target: str) -> list[str]:
    found = []
    for pool in pools:
        seen = view.pool(pool["name"])
        if pool[KEPT]["version"] != target or (seen and seen.kubernetes_version not in ("", target)):
            found.append(pool["name"])
    return found


def _at_version(document: Json, version: str) -> Json:
    """The document with the cluster and all its pools at this version; who left the patch to the service goes on so."""
    properties = document["properties"]
    is_alias = properties["kubernetesVersion"].count(".") == 1
    shown = ".".join(version.split(".")[:2]) if is_alias else version
    pools = [
        pool
        | {"orchestratorVersion": shown, KEPT: pool[KEPT] | {"version": version, "image": newest_image(version, pool)}}
        for pool in properties["agentPoolProfiles"]
    ]
    kept = properties[KEPT] | {"version": version}
    return with_pools(document | {"properties": properties | {"kubernetesVersion": shown, KEPT: kept}}, pools)
