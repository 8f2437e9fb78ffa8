"""A binding changes the text of a pod: what comes of it is, to the byte, what changing and encoding the pod comes to."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.catalogue import find_builtin
from kobune.api.errors import Conflict
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.subresources.binding import bound
from kobune.controlplane.store.encoding import encode, with_revision
from kobune.controlplane.store.facts import FactReader
from kobune.controlplane.store.selection import Item

POD = find_builtin("", "v1", "Pod")
NOW = "2026-01-02T03:04:05Z"
TEXTS = st.text(max_size=5)
MAPS = st.dictionaries(TEXTS, TEXTS, max_size=3)


def condition(kind: str, status: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": "2025-01-01T00:00:00Z", "reason": "R"}


CONDITIONS = st.builds(condition, st.sampled_from(["PodScheduled", "Ready"]), st.sampled_from(["True", "False"]))
PODS = st.fixed_dictionaries(
    {
        "kind": st.just("Pod"),
        "apiVersion": st.just("v1"),
        "metadata": st.fixed_dictionaries(
            {"name": st.just("a"), "namespace": st.just("n"), "uid": st.just("u")},
            optional={"labels": MAPS, "annotations": MAPS, "generation": st.just(1)},
        ),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(MAPS, max_size=2)},
            optional={"nodeName": st.just(""), "schedulingGates": st.just([]), "priority": st.integers(-9, 9)},
        ),
        "status": st.fixed_dictionaries(
            {"phase": st.just("Pending")},
            optional={"nominatedNodeName": TEXTS, "conditions": st.lists(CONDITIONS, max_size=2), "qosClass": TEXTS},
        ),
    }
)
BINDINGS = st.fixed_dictionaries({"name": st.just("a")}, optional={"labels": MAPS, "annotations": MAPS})


def item_of(pod: dict[str, Any]) -> Item:
    body = with_revision(encode(pod), 7)
    return Item("/registry/pods/n/a", "n", body, 7, *FactReader(POD.selectable).read(orjson.loads(body)))


def call() -> Call:
    return Call(POD, "n", "a", MASTER, datetime(2026, 1, 2, tzinfo=UTC))


def changed(pod: dict[str, Any], meta: dict[str, Any], node: str) -> dict[str, Any]:
    """The long way. Source: upstream setPodNodeAndMetadata."""
    pod = orjson.loads(orjson.dumps(pod))
    pod["spec"]["nodeName"] = node
    pod["status"].pop("nominatedNodeName", None)
    for field in ("annotations", "labels"):
        if meta.get(field):
            pod["metadata"][field] = {**pod["metadata"].get(field, {}), **meta[field]}
    conditions = pod["status"].setdefault("conditions", [])
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": NOW}
    for position, old in enumerate(conditions):
        if old["type"] == "PodScheduled":
            since = old["lastTransitionTime"] if old["status"] == "True" else NOW
            conditions[position] = {**scheduled, "lastTransitionTime": since}
            break
    else:
        conditions.append(scheduled)
    return pod


@given(PODS, BINDINGS, TEXTS)
def test_the_text_of_a_bound_pod_is_that_of_the_changed_object(
    pod: dict[str, Any], meta: dict[str, Any], node: str
) -> None:
    value, facts = bound(call(), meta, node, item_of(pod), POD.selectable, NOW)
    assert value == encode(expected := changed(pod, meta, node))
    assert facts == FactReader(POD.selectable).read(expected)


@pytest.mark.parametrize(
    ("part", "fields", "why"),
    [
        ("metadata", {"deletionTimestamp": NOW}, "pod a is being deleted, cannot be assigned to a host"),
        ("spec", {"nodeName": "other"}, 'pod a is already assigned to node "other"'),
        ("spec", {"schedulingGates": [{"name": "g"}]}, "pod a has non-empty .spec.schedulingGates"),
        ("metadata", {"uid": "v"}, "Precondition failed: UID in precondition: u, UID in object meta: v"),
    ],
)
def test_a_pod_that_is_not_to_be_had_is_refused(part: str, fields: dict[str, Any], why: str) -> None:
    pod: dict[str, Any] = {"kind": "Pod", "apiVersion": "v1", "metadata": {"uid": "u"}, "spec": {}, "status": {}}
    pod[part] |= fields
    with pytest.raises(Conflict, match="Operation cannot be fulfilled on pods/binding") as failure:
        bound(call(), {"uid": "u"}, "n1", item_of(pod), POD.selectable, NOW)
    assert str(failure.value).endswith(why)
