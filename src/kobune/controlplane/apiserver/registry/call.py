"""One request on its way through the registry: whose it is, what it concerns, how it is to be carried out."""

from dataclasses import dataclass, field
from datetime import datetime

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, NotFound, conflict, not_found
from kobune.controlplane.apiserver.options import WriteOptions
from kobune.controlplane.apiserver.request import User

PLAIN = WriteOptions()


@dataclass(slots=True)
class Call:
    """`kind` is the kind as the client names it: its version, not the stored one."""

    kind: Kind
    namespace: str
    name: str
    user: User
    now: datetime
    options: WriteOptions = PLAIN
    subresource: str = ""
    verb: str = ""
    user_agent: str = "kube-apiserver"  # Unless a client asks, the server itself writes.
    accounted: bool = True  # Whether managed fields are kept account of as with every write.
    # The names of parts that admission has made up, each with the prefix that it began with.
    made_up: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)  # For the audit log.

    @property
    def key(self) -> str:
        return self.kind.key(self.namespace, self.name)

    def not_found(self) -> NotFound:
        return not_found(self.kind.plural, self.name, group=self.kind.group)

    def conflict(self, why: str) -> ApiError:
        return conflict(self.kind.plural, self.name, why, group=self.kind.group)
