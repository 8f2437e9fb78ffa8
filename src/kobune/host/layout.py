"""Where the service keeps what: one directory, one sub-directory for each cluster, one below it for each node."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """The files of one cluster."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def spec(self) -> Path:
        """What the user asked for; written by the command line, read by the service."""
        return self.root / "spec.json"

    @property
    def status(self) -> Path:
        """What is so; written by the service alone."""
        return self.root / "status.json"

    @property
    def instances(self) -> Path:
        """The machines of the cluster's pools; written by the service alone."""
        return self.root / "instances.json"

    @property
    def autoscaler(self) -> Path:
        """What the cluster autoscaler wants; written by it alone."""
        return self.root / "autoscaler.json"

    @property
    def guard(self) -> Path:
        """What its guard knows of the directory; only with Entra integration."""
        return self.root / "guard.json"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def store(self) -> Path:
        return self.root / "store.db"

    @property
    def etcd(self) -> Path:
        """One folder for each member of an etcd cluster."""
        return self.root / "etcd"

    @property
    def etcd_members(self) -> Path:
        """Which members there are, and their ports."""
        return self.etcd / "members.json"

    @property
    def etcd_begins_after(self) -> Path:
        """The last revision of the store from which the members' state came; absent: none."""
        return self.etcd / "begins-after"

    @property
    def moving(self) -> Path:
        """Everything the cluster has stored, while no engine has it: it goes from one to another."""
        return self.root / "moving.snapshot"

    @property
    def etcd_pki(self) -> Path:
        return self.pki / "etcd"

    @property
    def encryption(self) -> Path:
        """How the store is encrypted, as an EncryptionConfiguration; absent: not at all."""
        return self.pki / "encryption.yaml"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def logs(self) -> Path:
        """One file for each log category, a JSON object in each line."""
        return self.root / "logs"

    @property
    def processes(self) -> Path:
        """One file for each process that the service keeps running."""
        return self.root / "processes"

    def process(self, name: str) -> Path:
        """Where the process of this name is written down while it runs."""
        return self.processes / f"{name}.json"

    def pulse(self, name: str) -> Path:
        """Where it gives signs of life."""
        return self.processes / f"{name}.pulse"

    @property
    def nodes(self) -> Path:
        return self.root / "nodes"

    def node(self, name: str) -> Path:
        return self.nodes / name

    def component_kubeconfig(self, component: str) -> Path:
        return self.pki / f"{component}.kubeconfig"


@dataclass(frozen=True, slots=True)
class Layout:
    """The state directory."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the service that looks after this directory; its content is the process id."""
        return self.root / "serve.lock"

    @property
    def log(self) -> Path:
        return self.root / "serve.log"

    @property
    def images(self) -> Path:
        """Images built on the spot, kept for the next node."""
        return self.root / "images"

    @property
    def clusters(self) -> Path:
        return self.root / "clusters"

    def cluster(self, name: str) -> ClusterLayout:
        return ClusterLayout(self.clusters / name)

    def cluster_names(self) -> list[str]:
        """The clusters that exist, in order."""
        if not self.clusters.is_dir():
            return []
        return sorted(entry.name for entry in self.clusters.iterdir() if (entry / "spec.json").exists())


def default_root(environment: Mapping[str, str], *, is_root: bool) -> Path:
    """`$KOBUNE_HOME`, else `/var/lib/kobune` for root, else `~/.kobune`."""
    if environment.get("KOBUNE_HOME"):
        return Path(environment["KOBUNE_HOME"]).absolute()
    return Path("/var/lib/kobune") if is_root else Path(os.path.expanduser("~")) / ".kobune"
