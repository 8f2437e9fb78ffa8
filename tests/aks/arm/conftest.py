"""A front end over files, an engine that grants every wish at once, and a client that signs in."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kobune.aks.arm.access import give_first_owner
from kobune.aks.arm.directory import Directory
from kobune.aks.arm.errors import ArmError, error_body
from kobune.aks.arm.fleet import CommandResult, Machine, Outcome, PoolView, View
from kobune.aks.arm.groups import follow_group_deletions
from kobune.aks.arm.log_store import LogStore
from kobune.aks.arm.operations import follow
from kobune.aks.arm.request import ArmRequest, Caller
from kobune.aks.arm.routes import find_operation
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.sign_in import SignIn
from kobune.aks.arm.store import ArmStore
from kobune.aks.arm.tokens import Issuer, Principal, new_key_pem
from kobune.aks.clusters import DEFAULT_SUBSCRIPTION, Cluster
from kobune.aks.guard import Guard

TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"
KEY = new_key_pem()  # Making one takes a tenth of a second.


class CountingClock:
    """Each look is a millisecond later, so that what began earlier sorts before what began later."""

    def __init__(self) -> None:
        self.milliseconds = 0
        self.start = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)

    def now(self) -> datetime:
        self.milliseconds += 1
        return self.start + timedelta(milliseconds=self.milliseconds)

    def monotonic(self) -> float:
        return self.milliseconds / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class FakeFleet:
    """Clusters that are as wished one look later, unless `outcome` says otherwise."""

    tiers: tuple[str, ...] = ("Free",)
    views: dict[str, View] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # Place, kind, wish.
    holds: bool = False  # Whether operations stay in progress.
    room: int = 1000  # How many nodes of each pool are real, unless they are to be simulated.
    outcome: Outcome | None = None  # How they end, if not well.
    log_folder: Path | None = None
    evicted: list[tuple[str, str]] = field(default_factory=list)  # Place, node.
    guards: dict[str, Guard] = field(default_factory=dict)

    def new_place(self, name: str) -> str:
        return f"{name.lower()}-{len(self.views)}"

    def places(self) -> list[str]:
        return list(self.views)

    def ask(self, place: str, cluster: Cluster, *, wish: str, kind: str, running: bool) -> None:
        self.asked.append((place, kind, wish))
        before = self.views.get(place) or View(cluster, "", True)
        self.views[place] = replace(
            before, cluster=cluster, wish=wish, wanted_running=running, operation=Outcome(wish, "InProgress")
        )
        if kind == "delete" and not self.holds and self.outcome is None:
            del self.views[place]
        elif not self.holds:
            self.finish(place, canceled=kind == "abort")

    def finish(self, place: str, *, canceled: bool = False) -> None:
        view = self.views[place]
        ending = (
            replace(self.outcome, id=view.wish)
            if self.outcome
            else Outcome(view.wish, "Canceled" if canceled else "Succeeded", percent=100)
        )
        cluster = view.cluster
        pools = tuple(
            PoolView(pool.name, pool.kubernetes_version, pool.image_version, pool.count, pool.running)
            for pool in cluster.pools
        )
        nodes = tuple(
            Machine(f"aks-{pool.name}-12345678-vmss{number:06d}", pool.name, number, pool.kubernetes_version, pool.image_version,
                    pool.vm_size, "", "Running", ready=True, simulated=pool.simulated or number >= self.room)
            for pool in cluster.pools for number in range(pool.count)
        )  # fmt: skip
        version = cluster.kubernetes_version
        self.views[place] = replace(view, operation=ending, pools=pools, nodes=nodes, kubernetes_version=version)

    def look(self, place: str) -> View | None:
        return self.views.get(place)

    def forget(self, place: str) -> None:
        self.views.pop(place, None)

    token_helper = ("kobune", "kubelogin", "get-token")

    def set_guard(self, place: str, guard: Guard) -> None:
        self.guards[place] = guard

    def kubeconfig(self, place: str, *, cluster: str, user: str, admin: bool, login: dict | None = None) -> str:
        user_entry = {"name": user, **({"user": login} if login else {})}
        return json.dumps({"clusters": [{"name": cluster}], "users": [user_entry], "admin": admin})

    def evict(self, place: str, node: str) -> None:
        self.evicted.append((place, node))

    def logs(self, place: str) -> Path | None:
        return self.log_folder

    def check_command(self, place: str) -> None:
        """Every cluster has real nodes."""

    async def run_command(self, place: str, command: str, files: bytes, *, token: str) -> CommandResult:
        return CommandResult(0, f"ran {command} as {token or 'administrator'}")


class Arm:
    """Sends requests to the front end as one who has signed in."""

    def __init__(self, service: ArmService) -> None:
        self.service = service
        self.fleet: FakeFleet = service.fleet
        self.scope = service.scope
        self.caller = Caller(service.sign_in.principal.object_id, CLIENT)

    def call(self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None, **query: str):
        """Status and body; errors as the server renders them."""
        if not path.startswith("/"):
            path = f"{self.scope}/{path}"
        found = find_operation(method, path)
        assert found is not None, f"{method} {path} is not served"
        request = ArmRequest(
            method=method,
            path=path,
            parameters=found.parameters,
            query={"api-version": "2026-06-01", **query},
            headers=headers or {},
            body=json.dumps(body).encode() if body is not None else b"",
            base="https://localhost:8443",
            caller=self.caller,
        )
        try:
            answer = found.operation.handler(self.service, request)
        except ArmError as error:
            return error.status, error_body(error)["error"]
        self.headers = answer.headers
        return answer.status, answer.body

    def settle(self) -> None:
        """Let the front end look often enough for everything to end."""
        for _ in range(3):
            follow(self.service)
            follow_group_deletions(self.service)

    def group(self, name: str = "rg1", location: str = "westeurope") -> None:
        assert self.call("PUT", f"resourcegroups/{name}", {"location": location})[0] == 201

    def create(self, name: str = "c1", *pools: dict[str, object], **properties: object):
        """PUT a cluster with what az sends, and these changes."""
        return self.call("PUT", cluster_path(name), cluster_body(*pools, **properties))

    def created(self, name: str = "c1", *pools: dict[str, object], **properties: object) -> None:
        if self.service.find_group("rg1") is None:
            self.group()
        status, body = self.create(name, *pools, **properties)
        assert status == 201, body
        self.settle()

    @staticmethod
    def path(name: str = "c1", group: str = "rg1") -> str:
        return cluster_path(name, group)

    @staticmethod
    def pool_path(pool: str, name: str = "c1") -> str:
        return f"{cluster_path(name)}/agentPools/{pool}"

    @staticmethod
    def pool(name: str = "nodepool1", **fields: object) -> dict[str, object]:
        return pool_body(name, **fields)

    @staticmethod
    def body(*pools: dict[str, object], **properties: object) -> dict[str, object]:
        return cluster_body(*pools, **properties)

    def show(self, name: str = "c1"):
        status, body = self.call("GET", cluster_path(name))
        assert status == 200, body
        return body


def cluster_path(name: str = "c1", group: str = "rg1") -> str:
    return f"resourceGroups/{group}/providers/Microsoft.ContainerService/managedClusters/{name}"


def pool_body(name: str = "nodepool1", **fields: object) -> dict[str, object]:
    return {
        "name": name, "mode": "System", "type": "VirtualMachineScaleSets", "osType": "Linux", "vmSize": "", "count": 2,
        "orchestratorVersion": "", "enableAutoScaling": False, "scaleSetPriority": "Regular", "nodeTaints": [],
        "upgradeSettings": {}, "enableNodePublicIP": False, "enableEncryptionAtHost": False, "enableUltraSSD": False,
        "enableFIPS": False, **fields,
    }  # fmt: skip


def cluster_body(*pools: dict[str, object], **properties: object) -> dict[str, object]:
    """What `az aks create` sends."""
    top = {field: properties.pop(field) for field in ("location", "tags", "sku") if field in properties}
    return {
        "location": "westeurope", "tags": {}, "identity": {"type": "SystemAssigned"}, "sku": {"name": "Base", "tier": "Free"},
        "properties": {
            "kubernetesVersion": "", "dnsPrefix": "c1-rg1-000000", "enableRBAC": True, "disableLocalAccounts": False,
            "agentPoolProfiles": list(pools) or [pool_body()],
            "networkProfile": {"outboundType": "loadBalancer", "loadBalancerSku": "standard"},
            "addonProfiles": {}, "storageProfile": {}, "bootstrapProfile": {"artifactSource": "Direct"}, **properties,
        },
        **top,
    }  # fmt: skip


@pytest.fixture
def arm(tmp_path: Path) -> Iterator[Arm]:
    store, logs = ArmStore(tmp_path / "arm.db"), LogStore(tmp_path / "logs.db")
    numbers = itertools.count(1)
    service = ArmService(
        store=store,
        fleet=FakeFleet(),
        sign_in=SignIn(
            Issuer(KEY), Principal(CLIENT, "secret", "33333333-3333-3333-3333-333333333333", TENANT), Directory(store)
        ),
        clock=CountingClock(),
        new_id=lambda: f"00000000-0000-0000-0000-{next(numbers):012d}",
        subscription=DEFAULT_SUBSCRIPTION,
        cores_quota=200,
        logs=logs,
        commands=asyncio.Queue(4),
    )
    give_first_owner(service)
    yield Arm(service)
    store.close()
    logs.close()
