"""As whom and with what rights a container runs: the pod's and the container's security contexts taken together."""

from kobune.node.kubelet.environment import ConfigError
from kobune.node.kubelet.pod import Container, ContainerSecurity, Pod, PodSecurity, SeccompProfile, describe
from kobune.node.runtime.runtime import MASKED_PATHS, READONLY_PATHS, SecurityContext


def security_context(pod: Pod, container: Container, *, image_user: str = "") -> SecurityContext:
    """The container's security context; its own fields go before the pod's.

    Args:
        image_user: the uid or name the image asks for; "" is root.
    Raises:
        ConfigError: runAsNonRoot does not allow this user.
    """
    of_pod = pod.spec.security_context or PodSecurity()
    own = container.security_context or ContainerSecurity()
    user = own.run_as_user if own.run_as_user is not None else of_pod.run_as_user
    group = own.run_as_group if own.run_as_group is not None else of_pod.run_as_group
    non_root = own.run_as_non_root if own.run_as_non_root is not None else of_pod.run_as_non_root
    if non_root:
        _verify_non_root(pod, container, user, image_user)
    name = ""
    if user is None:
        if image_user.isdigit():
            user = int(image_user)
        else:
            name = image_user
    groups = list(of_pod.supplemental_groups)
    if of_pod.fs_group is not None and of_pod.fs_group not in groups:
        groups.append(of_pod.fs_group)
    unmasked = own.privileged or own.proc_mount == "Unmasked"
    return SecurityContext(
        run_as_user=user,
        run_as_group=group if user is not None or name else None,
        run_as_username=name,
        supplemental_groups=groups,
        privileged=own.privileged,
        read_only_root=own.read_only_root_filesystem,
        no_new_privileges=own.allow_privilege_escalation is False and not own.privileged,
        add_capabilities=own.capabilities.add if own.capabilities else (),
        drop_capabilities=own.capabilities.drop if own.capabilities else (),
        masked_paths=() if unmasked else MASKED_PATHS,
        readonly_paths=() if unmasked else READONLY_PATHS,
        seccomp="Unconfined" if own.privileged else _seccomp(own.seccomp_profile or of_pod.seccomp_profile),
    )


def _seccomp(profile: SeccompProfile | None) -> str:
    if profile is None:
        return "Unconfined"  # Source: upstream without --seccomp-default.
    if profile.type == "Localhost":
        return f"localhost/{profile.localhost_profile}"
    return profile.type


def _verify_non_root(pod: Pod, container: Container, user: int | None, image_user: str) -> None:
    """Source: upstream verifyRunAsNonRoot, whose words these are."""
    where = f'(pod: "{describe(pod)}", container: {container.name})'
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image_user in ("", "0"):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    if not image_user.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {where}"
        )
