"""What pods resolve names with."""

import pytest

from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.dns import Resolver, parse_resolv_conf, pod_hostname, pod_resolver, render_hosts
from kobune.node.kubelet.pod import pod_from_json

CONFIG = KubeletConfig("node-1", addresses=[], root_dir=None)
HOST = Resolver(["1.1.1.1"], ["lan"], ["timeout:1"])
CLUSTER = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"]


def pod_of(**spec):
    return pod_from_json({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})


@pytest.mark.parametrize(
    "spec, expected",
    [
        pytest.param({}, (["10.0.0.10"], CLUSTER, ["ndots:5"]), id="cluster-first"),
        pytest.param({"dnsPolicy": "Default"}, (["1.1.1.1"], ["lan"], ["timeout:1"]), id="default-is-the-node-s"),
        pytest.param({"hostNetwork": True}, (["1.1.1.1"], ["lan"], ["timeout:1"]), id="the-node-s-network"),
        pytest.param(
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            (["10.0.0.10"], CLUSTER, ["ndots:5"]),
            id="cluster-first-on-the-node-s-network",
        ),
        pytest.param(
            {
                "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["9.9.9.9"], "options": [{"name": "ndots", "value": "2"}, {"name": "x"}]},
            },
            (["9.9.9.9"], [], ["ndots:2", "x"]),
            id="custom-alone",
        ),
        pytest.param(
            {"dnsConfig": {"searches": ["more"], "options": [{"name": "ndots", "value": "2"}]}},
            (["10.0.0.10"], [*CLUSTER, "more"], ["ndots:2"]),
            id="custom-on-top",
        ),
    ],
)
def test_the_policy_decides(spec, expected):
    servers, searches, options = pod_resolver(pod_of(**spec), CONFIG, HOST)
    assert (list(servers), list(searches), list(options)) == expected


def test_resolv_conf_is_read():
    text = "# comment\nnameserver 1.1.1.1\nsearch a b.\nsearch c.d.\noptions ndots:2 rotate\n"
    assert parse_resolv_conf(text) == (["1.1.1.1"], ["c.d"], ["ndots:2", "rotate"])


def test_the_hosts_file_names_the_pod_and_its_aliases():
    pod = pod_of(hostname="db", subdomain="data", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    name = pod_hostname(pod, "cluster.local")
    lines = render_hosts(pod, ["10.244.0.7"], name).splitlines()
    assert lines[0] == "# Kubernetes-managed hosts file."
    assert "10.244.0.7\tdb.data.shop.svc.cluster.local\tdb" in lines
    assert lines[-2:] == ["# Entries added by HostAliases.", "1.2.3.4\ta\tb"]


def test_long_names_are_cut_for_the_hostname():
    pod = pod_from_json({"metadata": {"name": "a" * 62 + "-b"}, "spec": {}})
    assert pod_hostname(pod, "cluster.local").name == "a" * 62
