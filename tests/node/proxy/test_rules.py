"""Rules follow from service ports alone, and a change of these changes no more than it must."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kobune.node.proxy.conntrack import stale_flows
from kobune.node.proxy.endpoints import Endpoint, ServicePortRules
from kobune.node.proxy.nftables import render_changes
from kobune.node.proxy.rules import HAIRPIN, NO_ENDPOINTS, NO_NODE_PORTS, NODE_PORTS, SERVICES, Ruleset, ruleset

A, B = Endpoint("10.244.0.2", 8080, True), Endpoint("10.244.1.2", 8080, False)
PODS = "10.244.0.0/24"


def port(*endpoints: Endpoint, **changes: object) -> ServicePortRules:
    everyone = list(endpoints)
    plain = ServicePortRules("d/web/tcp/", "tcp", "10.0.0.9", 80, everyone, everyone, everyone)
    return replace(plain, **changes)


def rules(*ports: ServicePortRules) -> Ruleset:
    return ruleset(ports, local_range=PODS)


def follow(found: Ruleset, verdict: str) -> tuple[str, ...]:
    return tuple(found.chains[verdict.removeprefix("goto ")])


def test_an_address_leads_to_its_endpoints():
    found = rules(port(A, B))
    spread = "numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.2 . 8080 }"
    assert follow(found, found.maps[SERVICES]["10.0.0.9 . tcp . 80"]) == (
        f"meta l4proto tcp dnat ip addr . port to {spread}",
    )
    assert "10.244.0.2 . 10.244.0.2 . tcp . 8080" in found.sets[HAIRPIN]


def test_without_endpoints_connections_are_refused():
    found = rules(port(node_port=30080, external_ips=["5.5.5.5"]))
    assert found.maps[NO_ENDPOINTS] == {
        "10.0.0.9 . tcp . 80": "goto reject-all",
        "5.5.5.5 . tcp . 80": "goto reject-all",
    }
    assert found.maps[NO_NODE_PORTS] == {"tcp . 30080": "goto reject-all"}
    assert found.maps[SERVICES] == found.maps[NODE_PORTS] == {}


def test_without_local_endpoints_a_local_policy_drops():
    found = rules(port(B, internal=[], local_internal=True))
    assert found.maps[NO_ENDPOINTS] == {"10.0.0.9 . tcp . 80": "drop"}


def test_traffic_from_outside_is_masqueraded_unless_its_policy_is_local():
    open_to_all = rules(port(A, B, node_port=30080))
    assert "meta mark set" in follow(open_to_all, open_to_all.maps[NODE_PORTS]["tcp . 30080"])[0]
    local = rules(port(A, B, node_port=30080, external=[A], local_external=True))
    chain = follow(local, local.maps[NODE_PORTS]["tcp . 30080"])
    assert chain[0] == f"ip saddr {PODS} goto {chain[0].split()[-1]}"
    assert "10.244.1.2" not in "".join(follow(local, chain[-1]))


def test_affinity_remembers_the_client_of_each_endpoint():
    found = rules(port(A, B, affinity_seconds=60))
    first, second, choice = follow(found, found.maps[SERVICES]["10.0.0.9 . tcp . 80"])
    assert first.startswith("ip saddr @affinity-")
    assert second.startswith("ip saddr @affinity-")
    assert choice.startswith("numgen random mod 2 vmap")
    assert set(found.affinities.values()) == {60}


def test_one_more_endpoint_changes_one_chain():
    other = port(A, name="d/other/tcp/", cluster_ip="10.0.0.8")
    changes = render_changes("t", rules(port(A), other), rules(port(A, B), other))
    assert [line.split()[:2] for line in changes] == [["flush", "chain"], ["add", "rule"], ["add", "element"]]


endpoint_lists = st.lists(st.sampled_from([A, B]), unique=True)
port_lists = st.lists(
    st.builds(
        lambda name, ends, node_port, sticky: port(
            *ends, name=f"d/{name}/tcp/", cluster_ip=f"10.0.0.{ord(name)}", node_port=node_port, affinity_seconds=sticky
        ),
        st.sampled_from("abc"), endpoint_lists, st.sampled_from([0, 30080]), st.sampled_from([0, 60]),
    ),
    unique_by=lambda each: each.name,
)  # fmt: skip


@given(port_lists, port_lists)
def test_a_second_pass_changes_nothing_and_chains_are_there_before_they_are_needed(old, new):
    assert render_changes("t", rules(*new), rules(*new)) == []
    chains = set(rules(*old).chains)
    for line in render_changes("t", rules(*old), rules(*new)):
        words = line.split()
        if words[:2] == ["add", "chain"]:
            chains.add(words[4])
        elif words[:2] == ["delete", "chain"]:
            chains.remove(words[4])
        elif words[0] == "add":
            targets = {words[at + 1].strip(",") for at, word in enumerate(words) if word == "goto"}
            assert targets <= chains


def test_udp_flows_to_a_lost_endpoint_are_forgotten():
    old = port(A, B, name="d/dns/udp/", protocol="udp")
    assert stale_flows([old], [replace(old, cluster=[A])]) == [
        ["--orig-dst", "10.0.0.9", "--orig-port-dst", "80", "--dst-nat", "10.244.1.2"]
    ]
    assert stale_flows([replace(old, cluster=[])], [old]) == [["--orig-dst", "10.0.0.9", "--orig-port-dst", "80"]]
    assert stale_flows([port(A)], []) == []
