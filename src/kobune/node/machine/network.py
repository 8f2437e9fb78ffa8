"""A node's link to the others: its network namespace, the cluster's bridge, and routes to every pod range."""

import contextlib
import errno
import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from kobune.node.netns import run_in

NAMESPACES = Path("/var/run/netns")
NODE_LINK = "eth0"
NODE_SUBNET, POD_RANGE = IPv4Network("10.224.0.0/16"), IPv4Network("10.244.0.0/16")  # As AKS with kubenet chooses.
SERVICE_RANGE = IPv4Network("10.0.0.0/16")
ROUTE_PROTOCOL = 75  # Marks our routes among others'; 'K'. Numbers from 64 on are free, see /etc/iproute2/rt_protos.


@dataclass(frozen=True, slots=True)
class Network:
    """Where a cluster's nodes meet: one bridge on this machine, whose own address is the subnet's first."""

    cluster: str
    subnet: IPv4Network = NODE_SUBNET
    pod_range: IPv4Network = POD_RANGE
    service_range: IPv4Network = SERVICE_RANGE

    @property
    def bridge(self) -> str:
        return f"kob-{_short(self.cluster)}"

    @property
    def host(self) -> IPv4Interface:
        """The machine's own address among the nodes."""
        return IPv4Interface(f"{self.subnet[1]}/{self.subnet.prefixlen}")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One node's place in the network."""

    network: Network
    node: str
    address: IPv4Address

    @property
    def namespace(self) -> Path:
        return NAMESPACES / f"kobune-{self.network.cluster}-{self.node}"

    @property
    def host_link(self) -> str:
        """The machine's end of the cable; a link's name has at most 15 characters."""
        return f"kv-{_short(f'{self.network.cluster}/{self.node}')}"


def attach(place: Attachment) -> None:
    """Make namespace, bridge, cable and addresses, or find them as they should be. Blocks; raises OSError."""
    _make_namespace(place.namespace)
    network = place.network
    with _netlink() as ip:
        if _link(ip, network.bridge) is None:
            with _unless(errno.EEXIST):  # Another node's agent was faster.
                ip.link("add", ifname=network.bridge, kind="bridge")
        bridge = _index(ip, network.bridge)
        _refuse_twins(ip, network, bridge)
        ip.addr("replace", index=bridge, address=str(network.host.ip), prefixlen=network.subnet.prefixlen)
        ip.link("set", index=bridge, state="up")
        if _link(ip, place.host_link) is None:
            peer = {"ifname": NODE_LINK, "net_ns_fd": str(place.namespace)}
            ip.link("add", ifname=place.host_link, kind="veth", peer=peer)
        ip.link("set", index=_index(ip, place.host_link), master=bridge, state="up")
    lead_to_services(network)
    run_in(place.namespace, lambda: _furnish(place))
    _write_sysctl("net/ipv4/ip_forward", "1")  # The host carries pods' traffic to the world.
    _masquerade(network)


def _refuse_twins(ip: IPRoute, network: Network, bridge: int) -> None:
    """Two links with one address would each get half of the traffic."""
    for holder in ip.get_addr(address=str(network.host.ip)):
        if holder["index"] != bridge:
            name = ip.get_links(holder["index"])[0].get_attr("IFLA_IFNAME")
            raise OSError(
                errno.EADDRINUSE,
                f"the network {network.subnet} is in use already, by {name}; another cluster's, if it begins with kob-",
            )


def _furnish(place: Attachment) -> None:
    """What lies inside the namespace."""
    with _netlink() as ip:
        ip.link("set", index=_index(ip, "lo"), state="up")
        link = _index(ip, NODE_LINK)
        ip.addr("replace", index=link, address=str(place.address), prefixlen=place.network.subnet.prefixlen)
        ip.link("set", index=link, state="up")
        ip.route("replace", dst="default", gateway=str(place.network.host.ip), proto=ROUTE_PROTOCOL)
    _write_sysctl("net/ipv4/ip_forward", "1")
    # Replies between two pods of one node pass the bridge alone; without this they would miss the address translation.
    with contextlib.suppress(FileNotFoundError):
        _write_sysctl("net/bridge/bridge-nf-call-iptables", "1")


def set_routes(namespace: Path | None, routes: Mapping[IPv4Network, IPv4Address]) -> None:
    """Exactly these pod ranges are reached through these nodes, from inside `namespace` or (None) from the host."""
    run_in(namespace, lambda: _set_routes(routes))


def _set_routes(routes: Mapping[IPv4Network, IPv4Address]) -> None:
    wanted = {str(pods): str(node) for pods, node in routes.items()}
    with _netlink() as ip:
        for pods, node in _our_routes(ip).items():
            if pods not in wanted:
                with _unless(errno.ESRCH):
                    ip.route("del", dst=pods, gateway=node, proto=ROUTE_PROTOCOL)
            elif wanted[pods] == node:
                del wanted[pods]
        for pods, node in wanted.items():
            ip.route("replace", dst=pods, gateway=node, proto=ROUTE_PROTOCOL)


def add_routes(routes: Mapping[IPv4Network, IPv4Address]) -> None:
    """These pod ranges, besides others, are reached from the host through these nodes."""
    with _netlink() as ip:
        for pods, node in routes.items():
            ip.route("replace", dst=str(pods), gateway=str(node), proto=ROUTE_PROTOCOL)


def hold_address(address: IPv4Address) -> None:
    """Be reached by this address too, in the namespace that the calling thread is in. Blocks."""
    with _netlink() as ip:
        ip.addr("replace", index=_index(ip, "lo"), address=str(address), prefixlen=32)


def detach(place: Attachment) -> None:
    """Remove the node's cable and namespace; with the last node, the bridge (its routes go with it). Blocks."""
    network = place.network
    with _netlink() as ip:
        # By its routes first: they would stay as long as the bridge does.
        for pods, node in _our_routes(ip).items():
            if node == str(place.address):
                with _unless(errno.ESRCH):
                    ip.route("del", dst=pods, gateway=node, proto=ROUTE_PROTOCOL)
        cable = _link(ip, place.host_link)
        if cable is not None:
            ip.link("del", index=cable)
        if place.namespace.exists():
            netns.remove(str(place.namespace))
        bridge = _link(ip, network.bridge)
        if bridge is not None and not ip.get_links(master=bridge):
            with _unless(errno.ENODEV):  # Another node's end was faster.
                ip.link("del", index=bridge)
            _forget_masquerade(network)


def lead_to_services(network: Network) -> None:
    """Have Services' addresses reached through the cluster's bridge, unless they are through another one. Blocks.

    They are translated before they are looked for, but only if there is a way to them at all.
    """
    with _netlink() as ip:
        bridge = _link(ip, network.bridge)
        if bridge is not None:
            with _unless(errno.EEXIST, errno.ENETDOWN, errno.ENODEV):
                ip.route(
                    "add",
                    dst=str(network.service_range),
                    oif=bridge,
                    prefsrc=str(network.host.ip),
                    proto=ROUTE_PROTOCOL,
                )


def _our_routes(ip: IPRoute) -> dict[str, str]:
    """Pod range to node, of the routes we made; the default route and the services' are not among them."""
    return {
        f"{route.get_attr('RTA_DST')}/{route['dst_len']}": route.get_attr("RTA_GATEWAY")
        for route in ip.get_routes(proto=ROUTE_PROTOCOL)
        if route.get_attr("RTA_DST") and route.get_attr("RTA_GATEWAY")
    }


def _make_namespace(path: Path) -> None:
    """A file without a namespace behind it (left by a machine that went down) is replaced."""
    if path.exists():
        try:
            run_in(path, lambda: None)
        except OSError:
            path.unlink()
        else:
            return
    netns.create(str(path))


def _masquerade(network: Network) -> None:
    """What leaves the cluster leaves under the machine's address."""
    inside = f"{{ {network.subnet}, {network.pod_range} }}"
    table = _table(network)
    _nft(
        f"add table ip {table}\nflush table ip {table}\n"
        f"add chain ip {table} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}\n"
        f"add rule ip {table} postrouting ip saddr {inside} ip daddr != {inside}"
        f' oifname != "{network.bridge}" masquerade\n'
    )


def _forget_masquerade(network: Network) -> None:
    table = _table(network)
    _nft(f"add table ip {table}\ndelete table ip {table}\n")


def _table(network: Network) -> str:
    return f"kobune-{_short(network.cluster)}-out"


def _nft(rules: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, timeout=30)
    if done.returncode:
        raise OSError(errno.EIO, f"nft refused the rules: {done.stderr.strip()}")


def _write_sysctl(name: str, value: str) -> None:
    """Of the namespace that the calling thread is in. Written only when it differs: /proc/sys may be read-only."""
    path = Path("/proc/sys", name)
    if path.read_text().strip() != value:
        path.write_text(value)


@contextlib.contextmanager
def _netlink() -> Iterator[IPRoute]:
    with IPRoute() as ip:
        yield ip


@contextlib.contextmanager
def _unless(*numbers: int) -> Iterator[None]:
    """Pass over a refusal that says the work is done already."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in numbers:
            raise


def _link(ip: IPRoute, name: str) -> int | None:
    found = ip.link_lookup(ifname=name)
    return found[0] if found else None


def _index(ip: IPRoute, name: str) -> int:
    found = _link(ip, name)
    if found is None:
        raise OSError(errno.ENODEV, f"there is no network link {name!r}")
    return found


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
