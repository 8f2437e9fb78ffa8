"""One containerd instance: its configuration, its network plug-ins' configuration, and its process."""

import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from shutil import which

from kobune.node.machine.mounts import mount_overlay, unmount
from kobune.node.netns import run_in
from kobune.node.runtime.images import PAUSE

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))  # Debian's package, and everybody else.
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one instance.

    Args:
        state: kept over restarts (images, containers); on a real file system.
        run: for sockets, whose paths may have 107 characters; gone after the machine restarts.
    """

    state: Path
    run: Path

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def configuration(self) -> Path:
        return self.state / "config.toml"

    @property
    def cni(self) -> Path:
        return self.state / "cni"

    @property
    def addresses(self) -> Path:
        """Where the network plug-ins note which pods' addresses are taken."""
        return self.state / "addresses"

    @property
    def log(self) -> Path:
        return self.state / "containerd.log"

    @property
    def pid_file(self) -> Path:
        return self.run / "containerd.pid"


def render_configuration(layout: Layout, *, cni_plugins: Path, snapshotter: str, restrict_oom: bool) -> str:
    """containerd's config.toml, version 2 (read by 1.x and 2.x alike)."""
    quote = json.dumps  # A JSON string is a TOML string.
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    return "\n".join([
        "version = 2",
        f"root = {quote(str(layout.state / 'containerd'))}",
        f"state = {quote(str(layout.run / 'containerd'))}",
        'disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",'
        ' "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",'
        ' "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",'
        ' "io.containerd.tracing.processor.v1.otlp"]',
        "[grpc]",
        f"address = {quote(str(layout.socket))}",
        f"{cri}]",
        f"sandbox_image = {quote(PAUSE)}",
        f"restrict_oom_score_adj = {quote(restrict_oom)}",
        # Several nodes share the machine, so each one's server takes any free port on its own loopback.
        'stream_server_address = "127.0.0.1"',
        'stream_server_port = "0"',
        f"{cri}.containerd]",
        f"snapshotter = {quote(snapshotter)}",
        f"{cri}.containerd.runtimes.runc]",
        'runtime_type = "io.containerd.runc.v2"',
        f"{cri}.containerd.runtimes.runc.options]",
        "SystemdCgroup = false",
        f"{cri}.cni]",
        f"bin_dir = {quote(str(cni_plugins))}",
        f"conf_dir = {quote(str(layout.cni))}",
        "",
    ])  # fmt: skip


def render_cni(layout: Layout, pod_range: IPv4Network, *, host_ports: bool) -> str:
    """The plug-ins that give a pod its address from the node's range; host ports need iptables."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,  # A pod may reach itself through its Service.
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(pod_range)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(layout.addresses),
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    plugins = [bridge, portmap] if host_ports else [bridge]
    return json.dumps({"cniVersion": "0.4.0", "name": "kobune", "plugins": plugins}, indent=1)


def choose_snapshotter(folder: Path) -> str:
    """`overlayfs` where the file system under `folder` carries it, else `native`, which copies."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        parts = [Path(place, name) for name in ("lower", "upper", "work", "merged")]
        for part in parts:
            part.mkdir()
        try:
            mount_overlay(*parts)
        except OSError:
            return "native"
        unmount(parts[-1])
    return "overlayfs"


def find_cni_plugins(folders: Sequence[Path] = CNI_FOLDERS) -> Path | None:
    needed = ("bridge", "host-local", "loopback")
    return next((place for place in folders if all((place / name).exists() for name in needed)), None)


class Daemon:
    """The instance's process. It outlives ours, and a later Daemon of the same layout takes it over."""

    def __init__(self, layout: Layout, namespace: Path) -> None:
        self._layout = layout
        self._namespace = namespace

    def ensure_running(self) -> None:
        """Start it unless it runs. Blocks for milliseconds; it answers on its socket somewhat later."""
        if self.find_pid() is None:
            self._start()

    def find_pid(self) -> int | None:
        """The process, if it is alive and the one we started."""
        try:
            pid, started = self._layout.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(pid), os.WNOHANG)  # Bury it if it was ours and has died.
        return int(pid) if start_time(int(pid)) == started else None

    def _start(self) -> None:
        layout = self._layout
        binary = which("containerd") or "containerd"
        log = os.open(layout.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        # It makes the root folders of containers, which must be open to whatever user a container runs as; our own umask
        # may be closer than that, and posix_spawn cannot change it.
        shell = which("sh") or "/bin/sh"
        command = [shell, "-c", 'umask 022; exec "$@"', shell, binary]
        command += ["--config", str(layout.configuration), "--log-level", "warn"]
        try:
            # Spawned by a thread inside the namespace, which the child inherits; nothing but the network changes for it.
            pid = run_in(
                self._namespace,
                lambda: os.posix_spawn(shell, command, os.environ, file_actions=actions, setsid=True),
            )
        finally:
            os.close(log)
            os.close(null)
        layout.pid_file.write_text(f"{pid} {start_time(pid)}")

    def stop(self) -> None:
        """End the process, and the shims that would outlive it together with their containers. Blocks."""
        pid = self.find_pid()
        if pid is not None:
            _end([pid], signal.SIGTERM)
        _end(self._find_shims(), signal.SIGKILL)
        self._layout.pid_file.unlink(missing_ok=True)

    def _find_shims(self) -> list[int]:
        marker = str(self._layout.socket).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if b"containerd-shim" in words[0] and marker in words:
                        found.append(int(entry.name))
        return found


def _end(pids: Sequence[int], first: signal.Signals) -> None:
    started = {pid: start_time(pid) for pid in pids}
    for kind in (first, signal.SIGKILL):
        for pid, moment in started.items():
            if moment and start_time(pid) == moment:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, kind)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if all(_is_over(pid, moment) for pid, moment in started.items()):
                return
            time.sleep(0.02)


def _is_over(pid: int, moment: str) -> bool:
    """Whether the process that began at `moment` has ended, and is buried if it was ours."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return start_time(pid) != moment or not moment


def start_time(pid: int) -> str:
    """When the process began, in ticks since boot; "" when there is none or it is dead already."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state[0] in "ZX" else state[19]
