"""CRI messages from our values and back; nothing here talks to a runtime."""

from datetime import UTC, datetime

from kobune.node.runtime import cri_pb2 as pb
from kobune.node.runtime.runtime import (
    Container,
    ContainerSpec,
    ContainerStats,
    Image,
    LinuxResources,
    Mount,
    Sandbox,
    SandboxSpec,
    SecurityContext,
    State,
)

_STATES = {
    pb.CONTAINER_CREATED: State.CREATED,
    pb.CONTAINER_RUNNING: State.RUNNING,
    pb.CONTAINER_EXITED: State.EXITED,
    pb.CONTAINER_UNKNOWN: State.UNKNOWN,
}
_PROPAGATION = {
    "None": pb.PROPAGATION_PRIVATE,
    "HostToContainer": pb.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": pb.PROPAGATION_BIDIRECTIONAL,
}


def sandbox_config(spec: SandboxSpec) -> pb.PodSandboxConfig:
    """The whole configuration of a sandbox."""
    security = pb.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(spec),
        supplemental_groups=spec.supplemental_groups,
        privileged=spec.privileged,
        run_as_user=_int64(spec.run_as_user),
        run_as_group=_int64(spec.run_as_group),
        seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault),
    )
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=spec.name, uid=spec.uid, namespace=spec.namespace, attempt=spec.attempt),
        hostname=spec.hostname,
        log_directory=str(spec.log_directory or ""),
        dns_config=pb.DNSConfig(servers=spec.dns_servers, searches=spec.dns_searches, options=spec.dns_options),
        port_mappings=[
            pb.PortMapping(
                protocol=port.protocol,
                container_port=port.container_port,
                host_port=port.host_port,
                host_ip=port.host_ip,
            )
            for port in spec.port_mappings
        ],
        labels=spec.labels,
        annotations=spec.annotations,
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=spec.cgroup_parent, sysctls=spec.sysctls, security_context=security
        ),
    )


def container_config(spec: ContainerSpec, sandbox: SandboxSpec) -> pb.ContainerConfig:
    """The whole configuration of a container; its namespaces are its sandbox's choice."""
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=spec.name, attempt=spec.attempt),
        image=pb.ImageSpec(image=spec.image, user_specified_image=spec.user_image),
        command=spec.command,
        args=spec.args,
        working_dir=spec.working_dir,
        envs=[pb.KeyValue(key=key, value=value) for key, value in spec.env.items()],
        mounts=[_mount(mount) for mount in spec.mounts],
        labels=spec.labels,
        annotations=spec.annotations,
        log_path=spec.log_path,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
        linux=pb.LinuxContainerConfig(
            resources=linux_resources(spec.resources), security_context=_security(spec.security, sandbox)
        ),
    )


def linux_resources(resources: LinuxResources) -> pb.LinuxContainerResources:
    return pb.LinuxContainerResources(
        cpu_period=resources.cpu_period_us,
        cpu_quota=resources.cpu_quota_us,
        cpu_shares=resources.cpu_shares,
        memory_limit_in_bytes=resources.memory_limit_bytes,
        oom_score_adj=resources.oom_score_adj,
    )


def sandbox_of(status: pb.PodSandboxStatus) -> Sandbox:
    network = status.network
    ips = [ip for ip in (network.ip, *(more.ip for more in network.additional_ips)) if ip]
    meta = status.metadata
    return Sandbox(
        id=status.id,
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        attempt=meta.attempt,
        ready=status.state == pb.SANDBOX_READY,
        created=_moment(status.created_at),
        ips=ips,
        labels=dict(status.labels),
        annotations=dict(status.annotations),
    )


def container_of(status: pb.ContainerStatus, sandbox_id: str) -> Container:
    return Container(
        id=status.id,
        sandbox_id=sandbox_id,
        name=status.metadata.name,
        attempt=status.metadata.attempt,
        state=_STATES[status.state],
        image=status.image.image,
        image_id=status.image_ref,
        created=_moment(status.created_at),
        started=_moment(status.started_at) if status.started_at else None,
        finished=_moment(status.finished_at) if status.finished_at else None,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        labels=dict(status.labels),
        annotations=dict(status.annotations),
    )


def image_of(image: pb.Image) -> Image:
    user = str(image.uid.value) if image.HasField("uid") else image.username
    return Image(
        id=image.id,
        tags=list(image.repo_tags),
        digests=list(image.repo_digests),
        size_bytes=image.size,
        user="" if user == "0" else user,
    )


def stats_of(stats: pb.ContainerStats) -> ContainerStats:
    return ContainerStats(
        container_id=stats.attributes.id,
        at=_moment(stats.cpu.timestamp or stats.memory.timestamp),
        cpu_usage_ns=stats.cpu.usage_core_nano_seconds.value,
        memory_working_set_bytes=stats.memory.working_set_bytes.value,
        memory_rss_bytes=stats.memory.rss_bytes.value,
        rootfs_used_bytes=stats.writable_layer.used_bytes.value,
    )


def state_of(state: pb.ContainerState) -> State:
    return _STATES[state]


def _namespaces(sandbox: SandboxSpec) -> pb.NamespaceOption:
    shared = pb.POD if sandbox.share_process_namespace else pb.CONTAINER
    return pb.NamespaceOption(
        network=pb.NODE if sandbox.host_network else pb.POD,
        pid=pb.NODE if sandbox.host_pid else shared,
        ipc=pb.NODE if sandbox.host_ipc else pb.POD,
    )


def _security(security: SecurityContext, sandbox: SandboxSpec) -> pb.LinuxContainerSecurityContext:
    # A privileged container sees everything; masking would contradict that.
    masked = () if security.privileged else security.masked_paths
    readonly = () if security.privileged else security.readonly_paths
    return pb.LinuxContainerSecurityContext(
        capabilities=pb.Capability(
            add_capabilities=security.add_capabilities, drop_capabilities=security.drop_capabilities
        ),
        privileged=security.privileged,
        namespace_options=_namespaces(sandbox),
        run_as_user=_int64(security.run_as_user),
        run_as_group=_int64(security.run_as_group),
        run_as_username=security.run_as_username,
        readonly_rootfs=security.read_only_root,
        supplemental_groups=security.supplemental_groups,
        no_new_privs=security.no_new_privileges,
        masked_paths=masked,
        readonly_paths=readonly,
        seccomp=_seccomp(security),
    )


def _seccomp(security: SecurityContext) -> pb.SecurityProfile:
    kind, _, path = security.seccomp.partition("/")
    if kind == "localhost":
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref="/" + path.lstrip("/"))
    return pb.SecurityProfile(profile_type=kind)


def _mount(mount: Mount) -> pb.Mount:
    return pb.Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.readonly,
        propagation=_PROPAGATION[mount.propagation],
    )


def _int64(number: int | None) -> pb.Int64Value | None:
    return None if number is None else pb.Int64Value(value=number)


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
