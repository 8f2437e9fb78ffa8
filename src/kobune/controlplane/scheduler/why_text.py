"""An explanation as text for people and as JSON for programs."""

from collections.abc import Iterator

from kobune.api.errors import Json
from kobune.controlplane.scheduler.why import Explanation, Lack, Near, Outcome, Rule, amount_text

HEADLINES = {
    Outcome.FITS: "fits now and will be placed at the next try",
    Outcome.WAITING: "is waiting",
    Outcome.EVICTION: "fits after an eviction",
    Outcome.SCALE_UP: "fits after scale-up",
    Outcome.NEVER: "fits on no pool as it is",
    Outcome.REFUSED: "was not created",
}


def render_text(why: Explanation) -> str:
    """A few lines, the verdict first."""
    return "\n".join(_lines(why)) + "\n"


def _lines(why: Explanation) -> Iterator[str]:
    yield f"{why.pod} {HEADLINES[why.outcome]}."
    if why.message:
        yield why.message
    if why.waits_for:
        yield ""
        yield "Waits for"
        yield from (f"  {what}" for what in why.waits_for)
    if why.rules:
        yield ""
        yield "Which rule excludes which nodes"
        yield from (f"  {_rule(rule)}" for rule in why.rules)
    if why.closest:
        yield ""
        yield "The closest nodes"
        for near in why.closest:
            yield from _near(near)
    if why.changes:
        yield ""
        yield "Any of these would help"
        for change in why.changes:
            gain = f" ({change.nodes} nodes)" if change.nodes > 1 else ""
            yield f"  - {change.text}{gain}"


def _rule(rule: Rule) -> str:
    names = ", ".join(rule.nodes) + (", …" if rule.total > len(rule.nodes) else "")
    return f"{rule.plugin}: {rule.total} × {rule.reason} [{names}]"


def _near(near: Near) -> Iterator[str]:
    yield f"  {near.node}: {'; '.join(near.reasons)}"
    yield from (f"    {_lack(lack)}" for lack in near.lacks)


def _lack(lack: Lack) -> str:
    def amount(number: int) -> str:
        return amount_text(lack.resource, number)

    parts = [
        (lack.daemons, "DaemonSets"),
        (lack.system, "system pods"),
        (lack.others, "other pods"),
    ]
    used = ", ".join(f"{amount(number)} {who}" for number, who in parts if number)
    reserved = f" less {amount(lack.reserved)} reserved" if lack.reserved else ""
    taken = f", taken: {used}" if used else ""
    return (
        f"{lack.resource}: wants {amount(lack.wanted)}, free {amount(max(lack.free, 0))}"
        f" (capacity {amount(lack.capacity)}{reserved}{taken})"
    )


def render_json(why: Explanation) -> Json:
    """The same as JSON; amounts are millicores of cpu, bytes, or numbers."""
    return {
        "pod": why.pod,
        "outcome": str(why.outcome),
        "message": why.message,
        "waitsFor": list(why.waits_for),
        "rules": [rule._asdict() | {"nodes": list(rule.nodes)} for rule in why.rules],
        "closest": [
            {"node": near.node, "reasons": list(near.reasons), "lacks": [lack._asdict() for lack in near.lacks]}
            for near in why.closest
        ],
        "changes": [change._asdict() for change in why.changes],
    }
