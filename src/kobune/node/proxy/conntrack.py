"""UDP flows that a change of endpoints leaves on a way that no longer exists."""

from collections.abc import Iterable, Sequence

from kobune.node.proxy.endpoints import ServicePortRules


def stale_flows(old: Iterable[ServicePortRules], new: Iterable[ServicePortRules]) -> list[list[str]]:
    """Filters for `conntrack -D -p udp`: flows to endpoints that are gone, and flows from before the first endpoint came.

    Source: upstream pkg/proxy/conntrack, CleanStaleEntries.
    """
    after = {port.name: port for port in new if port.protocol == "udp"}
    filters: list[list[str]] = []
    for before in old:
        if before.protocol != "udp":
            continue
        now = after.get(before.name)
        current = {(each.address, each.port) for each in now.cluster} if now else set()
        for endpoint in before.cluster:
            if (endpoint.address, endpoint.port) not in current:
                filters += [[*way, "--dst-nat", endpoint.address] for way in _ways(before)]
        if now and now.cluster and not before.cluster:
            filters += _ways(now)
    return filters


def _ways(port: ServicePortRules) -> Sequence[list[str]]:
    """How clients address the port."""
    ways = [
        ["--orig-dst", address, "--orig-port-dst", str(port.port)] for address in (port.cluster_ip, *port.external_ips)
    ]
    return [*ways, ["--orig-port-dst", str(port.node_port)]] if port.node_port else ways
