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
    node_image: str

    @property
    def newest(self) -> str:
        """The full version that the minor stands for."""
        return f"{self.minor}.{self.patches[-1]}"


# Source: AKS supported Kubernetes versions and node images.
VERSIONS: tuple[Version, ...] = (
    Version("1.34", ("0", "1", "2"), "2025-11", "2026-11", "Ubuntu2204", "AKSUbuntu-2204gen2containerd-202608.26.0"),
    Version("1.35", ("0", "1"), "2026-03", "2027-03", "Ubuntu2404", "AKSUbuntu-2404gen2containerd-202608.26.0"),
    Version("1.36", ("0", "1"), "2026-06", "2027-06", "Ubuntu2404", "AKSUbuntu-2404gen2containerd-202608.26.0"),
    Version("1.37", ("0",), "2026-10", "2027-10", "Ubuntu2404", "AKSUbuntu-2404gen2containerd-202608.26.0"),
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
