"""The API server under load: one that runs already, or one of our own in a process of its own."""

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TOKENS = 'root,root,1,"system:masters"\nbench,bench,2,"bench"\n'


class Server:
    """An API server that runs already."""

    def __init__(self, host: str, port: int, pids: Sequence[int]) -> None:
        self.host, self.port, self.pids = host, port, pids
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def memory_mb(self) -> float:
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids]
        return sum(int(status.split("VmRSS:")[1].split()[0]) for status in statuses) / 1024

    def cpu_seconds(self) -> float:
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """It is not ours."""


class OwnServer(Server):
    """An API server with the embedded store in `directory`."""

    def __init__(self, directory: Path, port: int, audit: str = "") -> None:
        (directory / "tokens.csv").write_text(TOKENS)
        arguments = [
            "kube-apiserver", "--secure-port", str(port), "--bind-address", "127.0.0.1", "--cert-dir", str(directory),
            "--store", f"sqlite:{directory / 'state.db'}", "--token-auth-file", str(directory / "tokens.csv"),
        ]  # fmt: skip
        if audit:
            policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": audit}]}
            (directory / "audit.json").write_text(json.dumps(policy))
            arguments += ["--audit-policy-file", str(directory / "audit.json")]
            arguments += ["--audit-log-path", str(directory / "audit.log")]
        command = [sys.executable, "-c", "from kobune.cli.main import main; main()", *arguments]
        self._log = (directory / "server.log").open("ab")
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        super().__init__("127.0.0.1", port, [self.process.pid])

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()
