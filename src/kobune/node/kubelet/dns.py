"""What a pod resolves names with: its resolv.conf by dnsPolicy, its hostname, its hosts file."""

from collections.abc import Sequence
from typing import NamedTuple

from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.pod import DNSConfig, Pod

MAX_NAMESERVERS, MAX_SEARCHES = 3, 32  # Source: upstream validation.MaxDNSNameservers and MaxDNSSearchPaths.
MAX_HOSTNAME = 63
CLUSTER_OPTIONS = ("ndots:5",)


class Resolver(NamedTuple):
    servers: Sequence[str]
    searches: Sequence[str]
    options: Sequence[str]


def parse_resolv_conf(text: str) -> Resolver:
    """Of several search lines the last counts."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search", *domains]:
                searches = [domain if domain == "." else domain.rstrip(".") for domain in domains]
            case ["options", *given]:
                options.extend(option for option in given if option not in options)
    return Resolver(servers, searches, options)


def pod_resolver(pod: Pod, config: KubeletConfig, host: Resolver) -> Resolver:
    """The pod's resolver. Source: upstream pkg/kubelet/network/dns GetPodDNS."""
    policy = pod.spec.dns_policy
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    if policy == "None":
        base = Resolver((), (), ())
    elif policy.startswith("ClusterFirst") and config.cluster_dns:
        domain = config.cluster_domain
        cluster = [f"{pod.namespace}.svc.{domain}", f"svc.{domain}", domain] if domain else []
        searches = [*cluster, *(each for each in host.searches if each not in cluster)]
        base = Resolver(config.cluster_dns, searches, CLUSTER_OPTIONS)
    else:
        base = host
    wanted = _with_custom(base, pod.spec.dns_config) if pod.spec.dns_config else base
    return Resolver(wanted.servers[:MAX_NAMESERVERS], wanted.searches[:MAX_SEARCHES], wanted.options)


def _with_custom(base: Resolver, custom: DNSConfig) -> Resolver:
    options = {option.partition(":")[0]: option for option in base.options}
    for option in custom.options:
        options[option.name] = option.name if option.value is None else f"{option.name}:{option.value}"
    return Resolver(
        list(dict.fromkeys((*base.servers, *custom.nameservers))),
        list(dict.fromkeys((*base.searches, *custom.searches))),
        list(options.values()),
    )


class Hostname(NamedTuple):
    name: str
    domain: str  # Empty without a subdomain.
    shown: str  # What `hostname` prints.


def pod_hostname(pod: Pod, cluster_domain: str) -> Hostname:
    """The pod's own name on the network: spec.hostname, else its name, cut to 63 characters."""
    name = pod.spec.hostname or pod.name[:MAX_HOSTNAME].rstrip("-.")
    domain = f"{pod.spec.subdomain}.{pod.namespace}.svc.{cluster_domain}" if pod.spec.subdomain else ""
    shown = f"{name}.{domain}" if pod.spec.set_hostname_as_fqdn and domain else name
    return Hostname(name, domain, shown)


def render_hosts(pod: Pod, ips: Sequence[str], hostname: Hostname, host_file: str = "") -> str:
    """The pod's /etc/hosts.

    Args:
        host_file: the node's own, which a pod on the node's network gets.
    """
    if pod.spec.host_network:
        lines = ["# Kubernetes-managed hosts file (host network).", host_file.rstrip("\n")]
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::0\tip6-localnet",
            "fe00::0\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
        ]
        names = f"{hostname.name}.{hostname.domain}\t{hostname.name}" if hostname.domain else hostname.name
        lines += [f"{address}\t{names}" for address in ips]
    if pod.spec.host_aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join((alias.ip, *alias.hostnames)) for alias in pod.spec.host_aliases]
    return "\n".join(lines) + "\n"
