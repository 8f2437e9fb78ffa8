"""The Kubernetes versions a cluster can have, and what AKS puts on its nodes with each."""

from dataclasses import dataclass

from kobune.api.errors import Invalid

DEFAULT_VERSION = "1.36"


@dataclass(frozen=True, slots=True)
class Version:
    """One minor version."""

    minor: str  # "1.36"
    patches: tuple[str, ...]  # Oldest first.
    released: str  # Month of general availability on AKS.
    ends: str  # Month in which community support ends.
    os_sku: str  # The node's operating system, as the label says it.
    node_images: tuple[str, ...]  # Oldest first; a new node gets the newest.

    @property
    def node_image(self) -> str:
        return self.node_images[-1]

    @property
    def newest(self) -> str:
        """The full version that the minor stands for."""
        return f"{self.minor}.{self.patches[-1]}"


JAMMY = ("AKSUbuntu-2204gen2containerd-202608.12.0", "AKSUbuntu-2204gen2containerd-202608.26.0")
NOBLE = ("AKSUbuntu-2404gen2containerd-202608.12.0", "AKSUbuntu-2404gen2containerd-202608.26.0")
# Source: AKS supported Kubernetes versions and node images.
VERSIONS: tuple[Version, ...] = (
    Version("1.34", ("0", "1", "2"), "2025-11", "2026-11", "Ubuntu2204", JAMMY),
    Version("1.35", ("0", "1"), "2026-03", "2027-03", "Ubuntu2404", NOBLE),
    Version("1.36", ("0", "1"), "2026-06", "2027-06", "Ubuntu2404", NOBLE),
    Version("1.37", ("0",), "2026-10", "2027-10", "Ubuntu2404", NOBLE),
)


def get_version(version: str) -> Version:
    """The minor that "1.36" or "1.36.1" belongs to.

    Raises:
        Invalid: no such minor, or no such patch of it.
    """
    minor = ".".join(version.removeprefix("v").split(".")[:2])
    found = next((known for known in VERSIONS if known.minor == minor), None)
    if found is None or version.removeprefix("v") not in (minor, *(f"{minor}.{patch}" for patch in found.patches)):
        offered = ", ".join(known.minor for known in VERSIONS)
        raise Invalid(f"Kubernetes version {version!r} is not offered; offered are {offered} and their patches")
    return found


def resolve_version(version: str) -> str:
    """The full version: "1.36" is its newest patch. Raises Invalid as `get_version` does."""
    found, plain = get_version(version), version.removeprefix("v")
    return found.newest if plain == found.minor else plain


def check_version_change(current: str, wanted: str) -> None:
    """Refuse a change of the control plane's version that AKS refuses; both in full.

    Raises:
        Invalid: a downgrade, or a minor version left out; the message names what can be had.
    """
    if wanted == current:
        return
    offered = available_upgrades(current)
    if wanted not in offered:
        what = "cannot be downgraded" if _numbers(wanted) < _numbers(current) else "goes up one minor version at a time"
        there = f"; from {current} there is {', '.join(offered)}" if offered else ""
        raise Invalid(
            f"upgrading Kubernetes version {current} to {wanted} is not allowed: a cluster {what}{there}."
            " See https://aka.ms/aks-supported-k8s-ver"
        )


def available_upgrades(current: str) -> list[str]:
    """The versions to which a control plane of this full version can go: newer patches, and the next minor's."""
    major, minor, patch = _numbers(current)
    return [
        f"{version.minor}.{number}"
        for version in VERSIONS
        for number in version.patches
        if _numbers(version.minor) == (major, minor + 1)
        or (_numbers(version.minor) == (major, minor) and int(number) > patch)
    ]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
