"""The clusters of a state directory, for the ARM front end: wishes are written as specs, states read from statuses."""

import contextlib
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from kobune.aks.arm.fleet import CommandResult, Machine, Outcome, PoolView, Unplaceable, View
from kobune.aks.clusters import TIERS, Cluster
from kobune.aks.guard import Guard
from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.client.kubeconfig import render_kubeconfig
from kobune.host.etcd_members import is_installed
from kobune.host.guard import read_guard, write_guard
from kobune.host.layout import Layout
from kobune.host.pki import Authority
from kobune.host.placement import PORTS_TRIED, SLOTS, find_port, find_slot
from kobune.host.spec import Spec, Status, Wish, read_spec, read_status, write_spec
from kobune.host.spot import NotEvictable, evict


class LocalFleet:
    """Clusters on this machine."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock
        self._guards: dict[str, Guard] = {}
        self._views: dict[str, tuple[tuple[int, int], View]] = {}

    @property
    def tiers(self) -> Sequence[str]:
        return TIERS if is_installed() else TIERS[:1]

    def new_place(self, name: str) -> str:
        plain = re.sub(r"[^a-z0-9-]", "-", name.lower())
        taken = {*self._layout.cluster_names()}
        number, place = 1, plain
        while place in taken or self._layout.cluster(place).root.exists():
            number += 1
            place = f"{plain}-{number}"
        return place

    def places(self) -> Sequence[str]:
        return self._layout.cluster_names()

    def ask(self, place: str, cluster: Cluster, *, wish: str, kind: str, running: bool) -> None:
        found = self._layout.cluster(place)
        before = read_spec(found)
        simulated = all(pool.simulated for pool in cluster.pools)
        if before is None:
            now = self._clock.now().timestamp()
            port, slot = find_port(self._layout, now), find_slot(self._layout, now)
            if port is None:
                raise Unplaceable(f"{PORTS_TRIED} ports for API servers are all in use on this machine.")
            if slot is None and simulated:
                slot = 0  # Simulated nodes have no addresses that anybody could reach: clusters of them may share.
            if slot is None:
                raise Unplaceable(
                    f"{SLOTS} clusters with real nodes are the most on one machine; delete one to make room."
                )
            before = Spec(cluster=cluster, api_port=port, store=_store_of(cluster), slot=slot)
        elif not simulated and self._shares_slot(place, before):
            raise Unplaceable("The cluster shares its address ranges with others and can have simulated nodes only.")
        elif cluster.tier != before.cluster.tier:
            before = replace(before, store=_store_of(cluster))
        write_spec(found, replace(before, cluster=cluster, running=running, wish=Wish(wish, kind)))

    def _shares_slot(self, place: str, spec: Spec) -> bool:
        others = (self._layout.cluster(name) for name in self._layout.cluster_names() if name != place)
        return any(other is not None and other.slot == spec.slot for other in map(read_spec, others))

    def look(self, place: str) -> View | None:
        found = self._layout.cluster(place)
        written = _changed(found.spec), _changed(found.status)
        if not written[0]:
            self._views.pop(place, None)
            return None
        known = self._views.get(place)
        if known is not None and known[0] == written:
            return known[1]
        spec = read_spec(found)
        if spec is None:
            return None
        view = _view(spec, read_status(found))
        self._views[place] = written, view
        return view

    def forget(self, place: str) -> None:
        self._views.pop(place, None)
        self._guards.pop(place, None)

    @property
    def token_helper(self) -> Sequence[str]:
        program = Path(sys.executable).with_name("kobune")
        command = [str(program)] if program.exists() else [sys.executable, "-m", "kobune"]
        return [*command, "kubelogin", "get-token", "--state-dir", str(self._layout.root)]

    def set_guard(self, place: str, guard: Guard) -> None:
        if self._guards.get(place) != guard:
            path = self._layout.cluster(place).guard
            if read_guard(path) != guard:
                write_guard(path, guard)
            self._guards[place] = guard

    def kubeconfig(self, place: str, *, cluster: str, user: str, admin: bool, login: Json | None = None) -> str:
        found = self._layout.cluster(place)
        spec = read_spec(found)
        if spec is None or not (found.pki / "ca.key").exists():
            raise FileNotFoundError(found.pki)
        now = self._clock.now()
        authority = Authority.load_or_create(found.pki, "kobune-ca", now)
        render = partial(
            render_kubeconfig,
            cluster=cluster,
            server=f"https://127.0.0.1:{spec.api_port}",
            user=user,
            authority=authority.credential.certificate,
        )
        if login is not None:
            return render(login=login)
        who, groups = (
            ("masterclient", ["system:masters"]) if admin else ("clusterMonitoringUser", ["system:monitoring"])
        )
        credential = authority.issue_client(who, groups, now)
        return render(certificate=credential.certificate, key=credential.key)

    def evict(self, place: str, node: str) -> None:
        found = self._layout.cluster(place)
        spec = read_spec(found)
        if spec is not None:
            with contextlib.suppress(NotEvictable):  # Gone meanwhile.
                evict(found, spec, node)

    def logs(self, place: str) -> Path | None:
        logs = self._layout.cluster(place).logs
        return logs if logs.is_dir() else None

    def check_command(self, place: str) -> None:
        from kobune.host.run_command import check

        found = self._layout.cluster(place)
        check(found, read_spec(found))

    async def run_command(self, place: str, command: str, files: bytes, *, token: str) -> CommandResult:
        from kobune.host.run_command import run  # Late: brings the runtime's client along.

        return await run(self._layout.cluster(place), command, files, self._clock, token=token)


def _store_of(cluster: Cluster) -> str:
    """The engine that a tier's clusters are kept by."""
    return "sqlite" if cluster.tier == TIERS[0] else "etcd"


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _view(spec: Spec, status: Status) -> View:
    return View(
        cluster=spec.cluster,
        wish=spec.wish.id if spec.wish else "",
        wanted_running=spec.running,
        kubernetes_version=status.kubernetes_version,
        operation=msgspec.convert(status.operation, Outcome, from_attributes=True) if status.operation else None,
        nodes=msgspec.convert(status.nodes, tuple[Machine, ...], from_attributes=True),
        pools=msgspec.convert(status.pools, tuple[PoolView, ...], from_attributes=True),
    )
