"""Structured logs: one JSON object in each line, one file for each category, as AKS sorts its resource logs."""

import logging
import logging.handlers
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson

# Logger and category. The longest logger that a record's logger lies under decides.
CATEGORIES = {
    "kobune.controlplane.apiserver": "kube-apiserver",
    "kobune.controlplane.store": "kube-apiserver",
    "kobune.controlplane.scheduler": "kube-scheduler",
    "kobune.controlplane.controllers": "kube-controller-manager",
    "kobune.controlplane.controllers.service_lb": "cloud-controller-manager",
    "kobune.host.engine": "cloud-controller-manager",
    "kobune.controlplane.autoscaler": "cluster-autoscaler",
    "kobune.node.kubelet": "kubelet",
    "kobune.node.runtime": "kubelet",
    "kobune.node.machine": "kubelet",
    "kobune.node.policy": "network-policy",
    "kobune.node.proxy": "kube-proxy",
    "kobune.node.simulator": "simulator",
    "kobune.audit": "kube-audit",
    "kobune.host.guard": "guard",
    "kobune": "service",
}
# What the service does as the cluster's cloud: machines with their nodes, addresses.
CLOUD = "cloud-controller-manager"
AUDIT = "kube-audit"  # Its records are audit events, lines of JSON already.
FILE_BYTES = 16 * 1024 * 1024  # Of each file, before it is rotated; two older ones are kept.
_audit = logging.getLogger("kobune.audit")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one line: time, level, category, message, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "category": category_of(record.name),
            "message": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def category_of(logger: str) -> str:
    """The log category of a logger's records."""
    while logger and logger not in CATEGORIES:
        logger = logger.rpartition(".")[0]
    return CATEGORIES.get(logger, "service")


def log_to_stderr(verbosity: int) -> None:
    """Send the process's records to standard error, as a component that runs alone does.

    Args:
        verbosity: as upstream's --v: 0 for what is wrong, 2 for one line per request or reconcile too, 4 for everything.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if verbosity >= 4 else logging.INFO if verbosity >= 2 else logging.WARNING)
    root.handlers[:] = [handler]


def log_to_files(
    directory: Path, *, prefix: str = "", level: int = logging.INFO, of_cluster: Callable[[str], Path] | None = None
) -> None:
    """Send the process's records to DIRECTORY/[PREFIX]CATEGORY.log, each file opened with its first record.

    Args:
        of_cluster: the folder of a cluster's logs, for a process that is the cloud of many: there go the records of that
            category which name one.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = logging.getLogger()
    root.setLevel(level)
    root.handlers[:] = [_ByCategory(directory, prefix, of_cluster)]


def write_audit(event: bytes) -> None:
    """Log an audit event, a line of JSON without its end."""
    _audit.info("%s", event.decode())


class _ByCategory(logging.Handler):
    def __init__(self, directory: Path, prefix: str, of_cluster: Callable[[str], Path] | None) -> None:
        super().__init__()
        self._of_cluster = of_cluster
        self._directory = directory
        self._prefix = prefix
        self._files: dict[str, logging.Handler] = {}

    def emit(self, record: logging.LogRecord) -> None:
        category = category_of(record.name)
        cluster = getattr(record, "cluster", None)
        if category == CLOUD and cluster and self._of_cluster is not None:
            self._emit_to_cluster(record, self._of_cluster(cluster))
            return
        handler = self._files.get(category)
        if handler is None:
            path = self._directory / f"{self._prefix}{category}.log"
            handler = logging.handlers.RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=2)
            handler.setFormatter(logging.Formatter("%(message)s") if category == AUDIT else JsonFormatter())
            self._files[category] = handler
        handler.handle(record)

    def _emit_to_cluster(self, record: logging.LogRecord, directory: Path) -> None:
        """Opened each time: there are few such records, and the cluster may have gone and another one come."""
        if not directory.parent.exists():
            return
        directory.mkdir(exist_ok=True, mode=0o700)
        # The cluster's own processes write files of this category too.
        path = directory / f"machines.{CLOUD}.log"
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=2)
        handler.setFormatter(JsonFormatter())
        try:
            handler.handle(record)
        finally:
            handler.close()

    def close(self) -> None:
        for handler in self._files.values():
            handler.close()
        super().close()
