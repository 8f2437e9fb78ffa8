"""The ways of deciding whether somebody may do something, asked in turn."""

from collections.abc import Awaitable, Coroutine, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from kobune.api.errors import Forbidden, qualified
from kobune.controlplane.apiserver.request import User


class Access(NamedTuple):
    """What somebody wants to do: with a resource, or, when `path` is set, with a URL that is none."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: str = ""  # The field selector of a list or a watch.
    labels: str = ""  # And the label selector.


class Verdict(Enum):
    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


class Decision(NamedTuple):
    verdict: Verdict
    reason: str = ""
    error: str = ""  # Why there is no more to tell.


NO_OPINION = Decision(Verdict.NO_OPINION)


class Authorizer(Protocol):
    """One way of deciding; a decision that must wait is awaited."""

    def authorize(self, access: Access) -> Decision | Awaitable[Decision]: ...


class SystemMasters:
    """The group that may do everything, whatever the roles say."""

    def authorize(self, access: Access) -> Decision:
        return Decision(Verdict.ALLOW) if "system:masters" in access.user.groups else NO_OPINION


class AlwaysAllow:
    def authorize(self, access: Access) -> Decision:
        return Decision(Verdict.ALLOW)


class AlwaysDeny:
    def authorize(self, access: Access) -> Decision:
        return Decision(Verdict.NO_OPINION, "Everything is forbidden.")


class Authorization:
    """The first opinion counts; without one nothing is allowed."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self.authorizers = (SystemMasters(), *authorizers)
        # How often each of them has had the last word.
        self.allowed, self.denied = [0] * len(self.authorizers), [0] * len(self.authorizers)

    async def decide(self, access: Access) -> Decision:
        reasons = []
        for position, authorizer in enumerate(self.authorizers):
            decision = authorizer.authorize(access)
            if not isinstance(decision, Decision):
                decision = await decision
            if decision.verdict is not Verdict.NO_OPINION:
                (self.allowed if decision.verdict is Verdict.ALLOW else self.denied)[position] += 1
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(Verdict.NO_OPINION, "\n".join(reasons))

    def allows_now(self, access: Access) -> bool:
        """Whether the access is allowed, as far as that can be told without waiting."""
        return self.decide_now(access).verdict is Verdict.ALLOW

    def decide_now(self, access: Access) -> Decision:
        """The decision as far as it can be told without waiting. What is not allowed is asked for, and counted, once more."""
        reason = ""
        for position, authorizer in enumerate(self.authorizers):
            decision = authorizer.authorize(access)
            if not isinstance(decision, Decision):
                if isinstance(decision, Coroutine):
                    decision.close()
                return Decision(Verdict.NO_OPINION, reason, "who decides this must be asked over the network")
            if decision.verdict is not Verdict.NO_OPINION:
                if decision.verdict is Verdict.ALLOW:
                    self.allowed[position] += 1
                return decision
            if decision.reason:
                reason = f"{reason}\n{decision.reason}" if reason else decision.reason
        return Decision(Verdict.NO_OPINION, reason) if reason else NO_OPINION

    def metrics(self, labels: Sequence[tuple[str, str]]) -> str:
        """Terminal decisions in Prometheus' text form. Args: labels: type and name of each authorizer but the first, which has none."""
        lines = ["# TYPE apiserver_authorization_decisions_total counter"]
        for decision, counts in (("allowed", self.allowed), ("denied", self.denied)):
            lines += [
                f'apiserver_authorization_decisions_total{{decision="{decision}",name="{name}",type="{kind}"}} {count}'
                for (kind, name), count in zip(labels, counts[1:], strict=True)
                if count
            ]
        return "\n".join(lines) + "\n"

    async def require(self, access: Access) -> None:
        """Raises Forbidden in upstream's words unless the access is allowed."""
        decision = await self.decide(access)
        if decision.verdict is not Verdict.ALLOW:
            raise refusal(access, decision.reason)


def refusal(access: Access, reason: str = "") -> Forbidden:
    """Source: upstream responsewriters.Forbidden."""
    why = f": {reason}" if reason else ""
    user = access.user.name
    if access.path:
        return Forbidden(f'forbidden: User "{user}" cannot {access.verb} path "{access.path}"{why}')
    resource = f"{access.resource}/{access.subresource}" if access.subresource else access.resource
    what = f'User "{user}" cannot {access.verb} resource "{resource}" in API group "{access.group}"'
    where = f' in the namespace "{access.namespace}"' if access.namespace else " at the cluster scope"
    subject = qualified(access.resource, access.group)
    if access.name:
        subject += f' "{access.name}"'
    return Forbidden(
        f"{subject} is forbidden: {what}{where}{why}", group=access.group, resource=access.resource, name=access.name
    )
