"""Priority and fairness of requests."""

from kobune.api.errors import Json

PRECEDENCE = 1000
SHARES = 30
QUEUES, HAND_SIZE, QUEUE_LENGTH = 64, 8, 50


def default_flow_schema(schema: Json) -> None:
    spec = schema.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = PRECEDENCE


def default_priority_level(level: Json) -> None:
    spec = level.setdefault("spec", {})
    exempt, limited = spec.get("exempt"), spec.get("limited")
    if exempt is not None:
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    if limited is not None:
        limited.setdefault("nominalConcurrencyShares", SHARES)
        limited.setdefault("lendablePercent", 0)
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            for field, value in (("handSize", HAND_SIZE), ("queues", QUEUES), ("queueLengthLimit", QUEUE_LENGTH)):
                if not queuing.get(field):
                    queuing[field] = value


DEFAULTS = {"FlowSchema": default_flow_schema, "PriorityLevelConfiguration": default_priority_level}
