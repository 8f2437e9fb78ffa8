"""What the ARM front end needs of the service that runs clusters: a place for each, wishes, and how things are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kobune.aks.clusters import Cluster
from kobune.aks.guard import Guard
from kobune.api.errors import Json


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far the operation of a wish has come."""

    id: str
    state: str  # "InProgress", "Succeeded", "Failed" or "Canceled".
    code: str = ""
    message: str = ""
    percent: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a pool."""

    name: str
    pool: str
    number: int
    kubernetes_version: str
    image_version: str
    vm_size: str
    zone: str
    state: str  # "Creating", "Running", …
    ready: bool
    simulated: bool = False  # It runs no containers.


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool as it is."""

    name: str
    kubernetes_version: str
    image_version: str
    count: int
    running: bool


@dataclass(frozen=True, slots=True)
class View:
    """A cluster as asked for and as it is."""

    cluster: Cluster
    wish: str  # The id of the last one written; empty: none.
    wanted_running: bool
    kubernetes_version: str = ""
    operation: Outcome | None = None
    nodes: tuple[Machine, ...] = ()
    pools: tuple[PoolView, ...] = ()

    def pool(self, name: str) -> PoolView | None:
        return next((pool for pool in self.pools if pool.name == name), None)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command inside the cluster printed."""

    exit_code: int
    logs: str


class Unplaceable(Exception):
    """The machine has no room for another cluster; the message says what is missing."""


class CommandProblem(Exception):
    """Why a command could not be run in the cluster, in one sentence."""


class Fleet(Protocol):
    """The clusters of this machine. Every method is quick except `run_command`."""

    @property
    def tiers(self) -> Sequence[str]:
        """The control-plane tiers that can be had here."""

    def new_place(self, name: str) -> str:
        """A name, like `name`, under which no cluster is kept yet."""

    def places(self) -> Sequence[str]:
        """Where clusters are kept, by whomever they were made."""

    def ask(self, place: str, cluster: Cluster, *, wish: str, kind: str, running: bool) -> None:
        """Write down what is wanted, in one step. Raises Unplaceable for a new cluster that has no room."""

    def look(self, place: str) -> View | None:
        """The cluster; None when there is none at this place."""

    def forget(self, place: str) -> None:
        """Remove what is left of a deleted cluster."""

    @property
    def token_helper(self) -> Sequence[str]:
        """The command line of the program that gets tokens for kubectl, less what it is asked."""

    def set_guard(self, place: str, guard: Guard) -> None:
        """Tell a cluster's guard what it must know of the directory."""

    def kubeconfig(self, place: str, *, cluster: str, user: str, admin: bool, login: Json | None = None) -> str:
        """A kubeconfig with these names. `admin`: a member of system:masters, else a reader of metrics.

        With `login`, the user's entry says what to ask for credentials and has none.

        Raises:
            FileNotFoundError: the cluster has never been started.
        """

    def evict(self, place: str, node: str) -> None:
        """Take a spot machine back, without a drain."""

    def logs(self, place: str) -> Path | None:
        """The folder with the cluster's log files; None when there is none."""

    def check_command(self, place: str) -> None:
        """Raise CommandProblem when no command can be run in this cluster."""

    async def run_command(self, place: str, command: str, files: bytes, *, token: str) -> CommandResult:
        """Run a shell command with kubectl in a pod of the cluster; `files` is a zip archive for its directory.

        Args:
            token: as whom kubectl speaks with the API server; empty: as an administrator.
        Raises:
            CommandProblem: the pod could not be run.
        """
