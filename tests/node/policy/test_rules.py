"""What NetworkPolicies permit, as packet rules of a node's pods."""

import msgspec
import pytest

from kobune.api.objects.meta import Key
from kobune.node.policy.rules import Way, policy_table, render
from kobune.node.policy.views import Namespace, NetworkPolicy, Pod

WEB = {"matchLabels": {"app": "web"}}


def pod(name, address, *, namespace="default", node="n1", labels=None, ports=(), **spec):
    container = {"name": "c", "ports": [{"name": each, "containerPort": number} for each, number in ports]}
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {"nodeName": node, "containers": [container], **spec},
            "status": {"podIP": address, "phase": "Running"},
        },
        Pod,
    )


def policy(name="p", *, namespace="default", **spec):
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": WEB, **spec}}, NetworkPolicy
    )


def namespace(name, **labels):
    return Key("", name), msgspec.convert({"metadata": {"name": name, "labels": labels}}, Namespace)


SPACES = dict([namespace("default"), namespace("other", team="b")])
SERVER = pod("server", "10.0.0.1", labels={"app": "web"}, ports=[("http", 8080)])
FRIEND = pod("friend", "10.0.0.2", node="n2", labels={"role": "friend"})
STRANGER = pod("stranger", "10.0.0.3", namespace="other", labels={"role": "friend"}, ports=[("http", 9090)])
PODS = [SERVER, FRIEND, STRANGER]


def table(*policies, pods=PODS):
    return policy_table(policies, pods, SPACES, node_name="n1")


def permits(found, way=Way.INGRESS, address="10.0.0.1"):
    """The chain's lines, the members of a set in its place."""
    lines = []
    for line in found.chains[found.verdicts[way][address]]:
        for name, members in {**found.sets, **found.ports}.items():
            line = line.replace(f"@{name}", f"{{{', '.join(sorted(members))}}}")
        lines.append(line)
    return lines


def test_pods_that_no_policy_selects_are_free():
    assert table().verdicts == {way: {} for way in Way}
    assert table(policy(podSelector={"matchLabels": {"app": "db"}})).verdicts == {way: {} for way in Way}


def test_a_policy_without_rules_isolates_the_ways_it_is_about():
    assert permits(table(policy())) == []
    both = table(policy(policyTypes=["Ingress", "Egress"]))
    assert (permits(both), permits(both, Way.EGRESS)) == ([], [])
    assert table(policy(policyTypes=["Egress"])).verdicts[Way.INGRESS] == {}


def test_a_policy_that_does_not_say_is_about_egress_if_it_has_rules_for_it():
    found = table(policy(egress=[{}]))
    assert (permits(found), permits(found, Way.EGRESS)) == ([], ["return"])


@pytest.mark.parametrize(
    "peer, who",
    [
        pytest.param({"podSelector": {}}, "10.0.0.1, 10.0.0.2", id="of-its-own-namespace"),
        pytest.param({"podSelector": {"matchLabels": {"role": "friend"}}}, "10.0.0.2", id="by-labels"),
        pytest.param({"namespaceSelector": {}}, "10.0.0.1, 10.0.0.2, 10.0.0.3", id="of-all-namespaces"),
        pytest.param({"namespaceSelector": {"matchLabels": {"team": "b"}}}, "10.0.0.3", id="of-a-namespace"),
        pytest.param(
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"role": "friend"}}},
            "10.0.0.2, 10.0.0.3",
            id="by-both",
        ),
    ],
)
def test_peers_are_chosen_by_selectors(peer, who):
    assert permits(table(policy(ingress=[{"from": [peer]}]))) == [f"ip saddr {{{who}}} return"]


def test_addresses_are_let_in_but_for_some():
    block = {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24", "10.1.1.0/24"]}
    found = table(policy(ingress=[{"from": [{"ipBlock": block}]}]))
    assert permits(found) == ["ip saddr 10.1.0.0/16 ip saddr != { 10.1.1.0/24, 10.1.2.0/24 } return"]


@pytest.mark.parametrize(
    "port, match",
    [
        ({"port": 80}, ["tcp dport 80 return"]),
        ({"port": 53, "protocol": "UDP"}, ["udp dport 53 return"]),
        ({"port": 80, "endPort": 90}, ["tcp dport 80-90 return"]),
        ({"protocol": "SCTP"}, ["meta l4proto sctp return"]),
        ({"port": "http"}, ["tcp dport 8080 return"]),
        ({"port": "unknown"}, []),
    ],
)
def test_ports_are_numbers_ranges_protocols_and_names_of_the_pods_own(port, match):
    assert permits(table(policy(ingress=[{"ports": [port]}]))) == match


def test_a_named_port_of_others_is_each_ones_own():
    found = table(policy(egress=[{"to": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}]))
    assert permits(found, Way.EGRESS) == [
        "ip daddr . meta l4proto . th dport {10.0.0.1 . tcp . 8080, 10.0.0.3 . tcp . 9090} return"
    ]


def test_several_policies_add_up():
    found = table(
        policy("a", ingress=[{"ports": [{"port": 80}]}]),
        policy("b", ingress=[{"from": [{"podSelector": {}}], "ports": [{"port": 443}]}]),
    )
    assert permits(found) == ["tcp dport 80 return", "ip saddr {10.0.0.1, 10.0.0.2} tcp dport 443 return"]


def test_only_this_nodes_pods_are_confined_and_those_with_an_address_of_their_own():
    away = pod("away", "10.0.0.4", node="n2", labels={"app": "web"})
    on_host = pod("host", "10.224.0.4", labels={"app": "web"}, hostNetwork=True)
    assert list(table(policy(), pods=[SERVER, away, on_host]).verdicts[Way.INGRESS]) == ["10.0.0.1"]


def test_pods_with_the_same_permissions_share_their_chain():
    twin = pod("twin", "10.0.0.5", labels={"app": "web"}, ports=[("http", 8080)])
    found = table(policy(ingress=[{"ports": [{"port": "http"}]}]), pods=[SERVER, twin])
    assert len(found.chains) == 1


DNS = "10.0.0.10"
DNS_SPACES = {**SPACES, **dict([namespace("kube-system", **{"kubernetes.io/metadata.name": "kube-system"})])}
TO_DNS = {
    "to": [{
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }],
    "ports": [{"port": 53, "protocol": "UDP"}, {"port": "dns-tcp"}],
}  # fmt: skip


def with_dns(*policies):
    return policy_table(policies, PODS, DNS_SPACES, node_name="n1", dns_address=DNS)


def test_cluster_dns_is_permitted_as_its_pod_is():
    assert permits(with_dns(policy(policyTypes=["Egress"])), Way.EGRESS) == []
    assert permits(with_dns(policy(egress=[TO_DNS])), Way.EGRESS) == [
        f"ip daddr {{{DNS}}} udp dport 53 return",
        f"ip daddr . meta l4proto . th dport {{{DNS} . tcp . 53}} return",
    ]


def test_cluster_dns_is_confined_by_policies_of_kube_system():
    found = with_dns(policy(namespace="kube-system", podSelector={"matchLabels": {"k8s-app": "kube-dns"}}))
    assert permits(found, address=DNS) == []
    assert list(found.verdicts[Way.INGRESS]) == [DNS]


def test_what_pods_ask_of_cluster_dns_is_judged_on_the_node_and_nothing_else_there():
    lines = render("t", with_dns(policy(policyTypes=["Egress"]))).splitlines()
    rules = [line.partition("t input ")[2] for line in lines if line.startswith("add rule ip t input ")]
    assert rules == [
        f"ip daddr != {DNS} accept",
        "iif lo accept",
        "ct state established,related accept",
        "ip saddr vmap @egress",
        "ip daddr vmap @ingress",
    ]
    assert " input " not in render("t", with_dns())


def test_the_table_is_made_in_one_transaction_and_drops_what_is_not_let_through():
    text = render("t", table(policy(ingress=[{"ports": [{"port": 80}]}])))
    lines = text.splitlines()
    assert lines[:3] == ["add table ip t", "delete table ip t", "add table ip t"]
    [chain] = [line.split()[4] for line in lines if line.startswith("add rule ip t ingress-") and "drop" in line]
    assert f"add element ip t ingress {{ 10.0.0.1 : jump {chain} }}" in lines
    assert "add rule ip t forward ct state established,related accept" in lines
