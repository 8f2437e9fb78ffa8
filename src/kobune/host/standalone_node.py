"""kubelet and kube-proxy by themselves, on a machine and a container runtime that are there already."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kobune.api.clock import SystemClock
from kobune.api.quantity import cpu_millicores, to_bytes
from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig
from kobune.host.flag_values import BadFlag
from kobune.host.node_agent import own_oom_score_adj
from kobune.host.pki import Authority
from kobune.host.sockets import own_address
from kobune.host.standalone import until_signalled
from kobune.node.kubelet.config import Amounts, Eviction, KubeletConfig, Taint, Tls
from kobune.node.machine.requirements import CAP_SYS_RESOURCE, has_capability

DEFAULT_EVICTION = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%"


@dataclass(frozen=True, slots=True)
class KubeletFlags:
    """kubelet's flags, under upstream's names; empty is not given."""

    kubeconfig: Path
    container_runtime_endpoint: str = "unix:///run/containerd/containerd.sock"
    hostname_override: str = ""
    node_ip: str = ""
    root_dir: Path = Path("/var/lib/kubelet")
    port: int = 10250
    address: str = "0.0.0.0"
    max_pods: int = 110
    pod_cidr: str = ""
    kube_reserved: str = ""
    system_reserved: str = ""
    eviction_hard: str = DEFAULT_EVICTION
    cluster_dns: Sequence[str] = ()
    cluster_domain: str = "cluster.local"
    node_labels: str = ""
    register_with_taints: str = ""
    register_node: bool = True
    provider_id: str = ""
    pod_manifest_path: Path | None = None
    cgroup_root: str = ""
    tls_cert_file: Path | None = None
    tls_private_key_file: Path | None = None
    client_ca_file: Path | None = None


async def run_kubelet(flags: KubeletFlags) -> None:
    """The kubelet until a signal. Raises BadFlag, KubeconfigError, RuntimeFailure."""
    from kobune.node.kubelet.kubelet import Kubelet
    from kobune.node.runtime.cri import CriRuntime

    clock = SystemClock()
    config = kubelet_config(flags)
    if config.tls is None and flags.client_ca_file is not None:
        authority = Authority.load_or_create(flags.root_dir / "pki", f"{config.node_name}-ca", clock.now())
        hosts = [config.node_name, config.node_ip, "127.0.0.1"]
        issued = authority.issue_server(f"system:node:{config.node_name}", hosts, clock.now(), groups=["system:nodes"])
        certificate, key = issued.write(flags.root_dir / "pki", "kubelet")
        config = replace(config, tls=Tls(certificate, key, flags.client_ca_file))
    client = Client(load_kubeconfig(flags.kubeconfig, user_agent="kubelet"))
    runtime = CriRuntime(Path(flags.container_runtime_endpoint.removeprefix("unix://")))
    try:
        await runtime.version()
        await until_signalled(Kubelet(client, runtime, config, clock=clock).run, client)
    finally:
        await runtime.close()


async def run_proxy(kubeconfig: Path, *, hostname_override: str, cluster_cidr: str) -> None:
    """kube-proxy in this network namespace until a signal. Raises KubeconfigError."""
    from kobune.node.proxy.proxy import KubeProxy

    client = Client(load_kubeconfig(kubeconfig, user_agent="kube-proxy"))
    node = hostname_override or socket.gethostname().lower()
    proxy = KubeProxy(client, node_name=node, clock=SystemClock(), local_range=cluster_cidr)
    await until_signalled(proxy.run, client)


def kubelet_config(flags: KubeletFlags) -> KubeletConfig:
    """The configuration that the flags and this machine give. Raises BadFlag."""
    name = flags.hostname_override or socket.gethostname().lower()
    node_ip = flags.node_ip or own_address()
    disk = os.statvfs(_existing(flags.root_dir))
    tls = None
    if flags.tls_cert_file and flags.tls_private_key_file:
        if flags.client_ca_file is None:
            raise BadFlag("--client-ca-file says whose clients may use the kubelet's API; it is missing")
        tls = Tls(flags.tls_cert_file, flags.tls_private_key_file, flags.client_ca_file)
    return KubeletConfig(
        node_name=name,
        addresses=[("InternalIP", node_ip), ("Hostname", name)],
        root_dir=flags.root_dir.absolute(),
        capacity=Amounts(
            cpu_millicores=(os.cpu_count() or 1) * 1000,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            ephemeral_bytes=disk.f_blocks * disk.f_frsize,
        ),
        kube_reserved=_amounts("--kube-reserved", flags.kube_reserved),
        system_reserved=_amounts("--system-reserved", flags.system_reserved),
        eviction=_eviction(flags.eviction_hard),
        max_pods=flags.max_pods,
        labels=_labels(flags.node_labels),
        taints=[_taint(text) for text in flags.register_with_taints.split(",") if text],
        register=flags.register_node,
        provider_id=flags.provider_id,
        pod_cidr=flags.pod_cidr,
        cluster_dns=tuple(flags.cluster_dns),
        cluster_domain=flags.cluster_domain,
        port=flags.port,
        listen_address=flags.address,
        tls=tls,
        manifest_dir=flags.pod_manifest_path,
        cgroup_root=flags.cgroup_root,
        restrict_oom_score_adj=None if has_capability(CAP_SYS_RESOURCE) else own_oom_score_adj(),
    )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _amounts(flag: str, text: str) -> Amounts:
    """`cpu=100m,memory=1638Mi,ephemeral-storage=1Gi,pid=1000`."""
    found = Amounts()
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            if name == "cpu":
                found = replace(found, cpu_millicores=cpu_millicores(value))
            elif name == "memory":
                found = replace(found, memory_bytes=to_bytes(value))
            elif name == "ephemeral-storage":
                found = replace(found, ephemeral_bytes=to_bytes(value))
            elif name == "pid":
                found = replace(found, pids=int(value))
            else:
                raise BadFlag(f"{flag}: {name!r} is none of cpu, memory, ephemeral-storage, pid")
        except ValueError as error:
            raise BadFlag(f"{flag}: {part!r}: {error}") from error
    return found


def _eviction(text: str) -> Eviction:
    """`memory.available<100Mi,nodefs.available<10%`; a signal that is not named keeps no threshold."""
    names = {
        "nodefs.available": "nodefs_available_share",
        "nodefs.inodesFree": "nodefs_inodes_free_share",
        "imagefs.available": "imagefs_available_share",
        "pid.available": "pid_available_share",
    }
    found = Eviction(0, 0.0, 0.0, 0.0, 0.0)
    for part in filter(None, text.split(",")):
        signal, _, value = part.partition("<")
        try:
            if signal == "memory.available":
                found = replace(found, memory_available_bytes=to_bytes(value))
            elif signal in names and value.endswith("%"):
                found = replace(found, **{names[signal]: float(value[:-1]) / 100})  # type: ignore[arg-type]
            else:
                raise BadFlag(
                    f"--eviction-hard: {part!r}: memory.available takes an amount, {', '.join(names)} a percentage"
                )
        except ValueError as error:
            raise BadFlag(f"--eviction-hard: {part!r}: {error}") from error
    return found


def _labels(text: str) -> dict[str, str]:
    labels = {}
    for part in filter(None, text.split(",")):
        name, sign, value = part.partition("=")
        if not sign:
            raise BadFlag(f"--node-labels: {part!r}: as in name=value")
        labels[name] = value
    return labels


def _taint(text: str) -> Taint:
    rest, _, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    if not key or effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise BadFlag(f"--register-with-taints: {text!r}: as in key=value:NoSchedule")
    return Taint(key, effect, value)
