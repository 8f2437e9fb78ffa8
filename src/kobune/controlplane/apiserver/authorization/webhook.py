"""Webhook: a server outside the cluster is asked, with a SubjectAccessReview, and its answers are kept for a while.

Source: upstream apiserver, plugin/pkg/authorizer/webhook, and pkg/authorization/cel for the conditions.
"""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import orjson

from kobune.api.clock import Clock
from kobune.api.errors import BadRequest, Json
from kobune.api.field_selectors import parse_fields
from kobune.api.selectors import parse_labels
from kobune.controlplane.apiserver.authorization.authorizer import NO_OPINION, Access, Decision, Verdict
from kobune.controlplane.apiserver.authorization.configuration import Webhook
from kobune.controlplane.apiserver.reviewer import Answers, Ask, Unanswered

log = logging.getLogger(__name__)

REMEMBERED = 8192
MOST_REMEMBERED_BYTES = 10_000  # Of what the asker chooses: longer questions are not kept.
FIELD_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn"}
LABEL_OPERATORS = {
    "=": "In", "==": "In", "in": "In", "!=": "NotIn", "notin": "NotIn", "exists": "Exists", "!": "DoesNotExist",
}  # fmt: skip


class WebhookAuthorizer:
    def __init__(self, settings: Webhook, ask: Ask, clock: Clock) -> None:
        self.name = settings.name
        self._settings = settings
        self._ask = ask
        self._clock = clock
        self._known: Answers[Decision] = Answers(clock, REMEMBERED)
        self._on_failure = Decision(Verdict.DENY) if settings.denies_on_failure else NO_OPINION
        self.evaluations: defaultdict[str, int] = defaultdict(int)  # By result.
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failed_open: defaultdict[str, int] = defaultdict(int)
        self.exclusions = self.condition_errors = 0

    def authorize(self, access: Access) -> Decision | Awaitable[Decision]:
        spec = spec_of(access)
        if self._settings.conditions:
            decision = self._excluded(spec)
            if decision is not None:
                return decision
        key = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
        if (known := self._known.find(key)) is not None:
            return known[0]
        return self._asked(access, spec, key)

    def _excluded(self, spec: Json) -> Decision | None:
        """The decision when the conditions keep the webhook out of it; None when it is to be asked."""
        # Here, because few webhooks have conditions, and the engine takes time to load.
        from kobune.api.cel.environment import CelError, Evaluation, compiled

        failed = False
        for expression in self._settings.conditions:
            evaluator, program = compiled(expression, ("request",))
            try:
                if isinstance(program, CelError):
                    raise Evaluation(str(program))
                holds = program.run(evaluator.activation({"request": spec}))
            except (Evaluation, RuntimeError):
                failed = True
                continue
            if holds is False:
                self.exclusions += 1
                return NO_OPINION
            failed = failed or holds is not True
        if not failed:
            return None
        self.condition_errors += 1
        return self._on_failure

    async def _asked(self, access: Access, spec: Json, key: bytes) -> Decision:
        settings, began = self._settings, self._clock.monotonic()
        sent = spec
        if settings.version == "v1beta1":  # It calls the groups otherwise.
            sent = {("group" if name == "groups" else name): value for name, value in spec.items()}
        review = {
            "kind": "SubjectAccessReview",
            "apiVersion": f"authorization.k8s.io/{settings.version}",
            "metadata": {},
            "spec": sent,
        }
        result = "success"
        try:
            answer = await self._ask(review)
        except Unanswered as error:
            result = error.result
            log.error("authorization webhook failed", extra={"webhook": settings.name, "why": str(error)})
            if not settings.denies_on_failure:
                self.failed_open[result] += 1
            return self._on_failure
        finally:
            self.evaluations[result] += 1
            self.seconds[result] += self._clock.monotonic() - began
        decision = decision_of(answer.get("status") or {})
        allowed = decision.verdict is Verdict.ALLOW
        kept = settings.authorized_seconds if allowed else settings.unauthorized_seconds
        if sum(map(len, access[1:9])) < MOST_REMEMBERED_BYTES:
            self._known.keep(key, decision, kept)
        return decision


def decision_of(status: Json) -> Decision:
    """What a review's status means; both allowed and denied is denied."""
    reason = str(status.get("reason") or "")
    if status.get("denied"):
        return Decision(Verdict.DENY, reason)
    return Decision(Verdict.ALLOW if status.get("allowed") else Verdict.NO_OPINION, reason)


def spec_of(access: Access) -> Json:
    """The question as the spec of a SubjectAccessReview."""
    user = access.user
    spec: Json = {"user": user.name, "groups": [*user.groups]}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: [*values] for key, values in user.extra.items()}
    if access.path:
        return {**spec, "nonResourceAttributes": {"path": access.path, "verb": access.verb}}
    attributes: dict[str, Any] = {
        "namespace": access.namespace, "verb": access.verb, "group": access.group, "version": access.version,
        "resource": access.resource, "subresource": access.subresource, "name": access.name,
    }  # fmt: skip
    spec["resourceAttributes"] = {name: value for name, value in attributes.items() if value} | _selectors(access)
    return spec


def _selectors(access: Access) -> Json:
    """The selectors of a list as requirements; what cannot be read narrows nothing and is left out."""
    found: Json = {}
    try:
        fields = [
            {"key": one.field, "operator": FIELD_OPERATORS[one.operator], "values": [one.value]}
            for one in (parse_fields(access.fields).requirements if access.fields else ())
        ]
        labels = [
            {"key": one.key, "operator": LABEL_OPERATORS[one.operator]}
            | ({"values": [*one.values]} if one.values else {})
            for one in (parse_labels(access.labels).requirements if access.labels else ())
            if one.operator in LABEL_OPERATORS
        ]
    except BadRequest:
        return {}
    if fields:
        found["fieldSelector"] = {"requirements": fields}
    if labels:
        found["labelSelector"] = {"requirements": labels}
    return found


def metrics_of(webhooks: Sequence[WebhookAuthorizer]) -> str:
    """What the webhooks have counted, in Prometheus' text form."""
    prefix, lines = "apiserver_authorization_webhook", list[str]()
    for one in webhooks:
        by_result: tuple[tuple[str, Mapping[str, float]], ...] = (
            ("evaluations_total", one.evaluations),
            ("duration_seconds_sum", one.seconds),
            ("duration_seconds_count", one.evaluations),
            ("evaluations_fail_open_total", one.failed_open),
        )
        lines += [
            f'{prefix}_{metric}{{name="{one.name}",result="{result}"}} {value}'
            for metric, values in by_result
            for result, value in values.items()
        ]
        label, conditions = f'{{name="{one.name}",type="Webhook"}}', "apiserver_authorization_match_condition"
        lines.append(f"{conditions}_exclusions_total{label} {one.exclusions}")
        lines.append(f"{conditions}_evaluation_errors_total{label} {one.condition_errors}")
    return "\n".join(lines) + "\n"
