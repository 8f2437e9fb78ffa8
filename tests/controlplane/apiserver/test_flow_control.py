"""API Priority and Fairness: who waits, who is sent away, and how that is told."""

import asyncio
import random

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.authorization.authorizer import Access
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.flowcontrol.estimate import aftermath, list_seats, seats_of
from kobune.controlplane.apiserver.flowcontrol.flowcontrol import Flow, FlowControl
from kobune.controlplane.apiserver.flowcontrol.level import Bank, Level, deal
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from tests.controlplane.apiserver.conftest import KEYS, Asker

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"
TOKENS = {
    "jo": ("jo", "1", ()), "root": ("root", "2", ("system:masters",)),
    "kubelet": ("system:node:n", "3", ("system:nodes",)), "viewer": ("viewer", "4", ()),
}  # fmt: skip


class Outside(Asker):
    """Somebody who comes over the network."""

    def __init__(self, server, token):
        super().__init__(server, None)
        self.token = token

    async def raw(self, method, path, body=None, **more):
        return await super().raw(method, path, body, authorization=f"Bearer {self.token}", **more)


@pytest.fixture
def config():
    return {}


@pytest.fixture
async def server(config):
    config = ApiServerConfig(service_account_keys=KEYS, static_tokens=TOKENS, **config)
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as one:
        yield one


async def uid(ask, plural, name):
    return (await ask("GET", f"{FLOW}/{plural}/{name}"))["metadata"]["uid"]


async def named(ask, answer):
    """The schema and the level that an answer names."""
    found = []
    for plural, header in (("flowschemas", "FlowSchema"), ("prioritylevelconfigurations", "PriorityLevel")):
        uids = {
            one["metadata"]["uid"]: one["metadata"]["name"] for one in (await ask("GET", f"{FLOW}/{plural}"))["items"]
        }
        found.append(uids[answer.headers[f"X-Kubernetes-PF-{header}-UID"]])
    return tuple(found)


@pytest.mark.parametrize(
    ("token", "path", "expected"),
    [
        ("root", "/api/v1/pods", ("exempt", "exempt")),
        ("jo", "/version", ("global-default", "global-default")),
        ("jo", "/healthz", ("probes", "exempt")),
        ("kubelet", "/api/v1/nodes", ("system-node-high", "node-high")),
        ("kubelet", "/api/v1/pods", ("system-nodes", "system")),
    ],
)
async def test_answers_name_the_schema_and_the_level(server, ask, token, path, expected):
    assert await named(ask, await Outside(server, token).raw("GET", path)) == expected


async def test_a_schema_of_ones_own_comes_first(server, ask):
    limited = {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}
    spec = {"type": "Limited", "limited": limited}
    await ask.create(f"{FLOW}/prioritylevelconfigurations", {"metadata": {"name": "mine"}, "spec": spec})
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "jo"}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    schema = {"priorityLevelConfiguration": {"name": "mine"}, "matchingPrecedence": 10, "rules": [rule]}
    await ask.create(f"{FLOW}/flowschemas", {"metadata": {"name": "mine"}, "spec": schema})
    assert await named(ask, await Outside(server, "jo").raw("GET", "/version")) == ("mine", "mine")
    assert (await named(ask, await Outside(server, "viewer").raw("GET", "/version")))[0] == "global-default"


async def test_a_schema_says_whether_its_level_is_there(server, ask):
    schema = {"priorityLevelConfiguration": {"name": "nix"}, "matchingPrecedence": 10, "rules": []}
    await ask.create(f"{FLOW}/flowschemas", {"metadata": {"name": "mine"}, "spec": schema})

    async def status(name):
        conditions = (await ask("GET", f"{FLOW}/flowschemas/{name}")).get("status", {}).get("conditions") or []
        return [(one["type"], one["status"], one["reason"]) for one in conditions]

    async with asyncio.timeout(30):
        while await status("mine") != [("Dangling", "True", "NotFound")]:
            await asyncio.sleep(0.05)
        while await status("probes") != [("Dangling", "False", "Found")]:
            await asyncio.sleep(0.05)


class Blocked:
    """Requests for config maps last until they are let go."""

    def __init__(self, server, monkeypatch):
        self.go = asyncio.Event()
        self.inside = 0
        serve = server._serve

        async def held(request, info, access):
            if access.resource == "configmaps":
                self.inside += 1
                await self.go.wait()
            return await serve(request, info, access)

        monkeypatch.setattr(server, "_serve", held)


@pytest.mark.parametrize("config", [{"max_requests_inflight": 1, "max_mutating_requests_inflight": 0}])
async def test_what_finds_no_seat_waits_and_what_finds_no_room_to_wait_is_sent_away(server, ask, monkeypatch):
    blocked = Blocked(server, monkeypatch)
    limited = {
        "nominalConcurrencyShares": 1, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 2}},
    }  # fmt: skip
    await ask(
        "PATCH", f"{FLOW}/prioritylevelconfigurations/global-default", {"spec": {"limited": limited}},
        content_type="application/merge-patch+json",
    )  # fmt: skip
    path = "/api/v1/namespaces/default/configmaps/a"
    tasks = [asyncio.create_task(Outside(server, "jo").raw("GET", path)) for _ in range(5)]
    done, waiting = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        more, waiting = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert blocked.inside == 1
    for task in done:
        answer = task.result()
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert answer.body == b"Too many requests, please try again later.\n"
        assert "X-Kubernetes-PF-FlowSchema-UID" in answer.headers
    assert (await Outside(server, "root").raw("GET", "/api/v1/namespaces")).status == 200, "administrators never wait"
    blocked.go.set()
    assert [(await task).status for task in waiting] == [403] * 3


@pytest.mark.parametrize("config", [{"request_timeout": 0.05}])
async def test_a_request_that_takes_too_long_is_given_up(server, monkeypatch):
    Blocked(server, monkeypatch)
    answer = await Outside(server, "root")("GET", "/api/v1/namespaces/default/configmaps/a", status=504)
    assert answer["reason"] == "Timeout"


@pytest.mark.parametrize(
    "config",
    [{"max_requests_inflight": 1, "max_mutating_requests_inflight": 1, "enable_priority_and_fairness": False}],
)
async def test_without_priorities_there_are_two_plain_limits(server, monkeypatch):
    blocked = Blocked(server, monkeypatch)
    path = "/api/v1/namespaces/default/configmaps/a"
    first = asyncio.create_task(Outside(server, "jo").raw("GET", path))
    while not blocked.inside:
        await asyncio.sleep(0.001)
    assert (await Outside(server, "jo").raw("GET", path)).status == 429
    assert (await Outside(server, "root").raw("GET", "/version")).status == 200
    assert (await Outside(server, "jo").raw("DELETE", "/api/v1/namespaces/default/pods/a")).status == 403
    blocked.go.set()
    assert (await first).status == 403


async def test_what_is_mandatory_is_there_even_when_it_is_deleted(server, ask):
    for plural in ("flowschemas", "prioritylevelconfigurations"):
        for one in (await ask("GET", f"{FLOW}/{plural}"))["items"]:
            await ask("DELETE", f"{FLOW}/{plural}/{one['metadata']['name']}")
    assert (await Outside(server, "jo").raw("GET", "/version")).status == 200
    flow = server.flow.classify(Access(User("jo", groups=("system:authenticated",)), "get", path="/version"))
    assert flow.level.name == "catch-all"


def level(nominal, *, queues=8, hand=2, length=10, bank=None):
    found = Level("l", "", bank or Bank())
    queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
    found.configure({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}}, nominal)
    return found


async def test_a_busy_flow_does_not_hold_up_a_quiet_one():
    one = level(1, queues=64, hand=1, length=100)
    assert one.take(1)
    order = []

    async def ask(flow):
        assert await one.wait(flow, 1, 30)
        order.append(flow)
        one.leave(1, 0.01, flow)

    tasks = [asyncio.create_task(ask("busy")) for _ in range(20)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(ask("quiet")))
    await asyncio.sleep(0)
    one.leave(1, 0.01, "busy")
    await asyncio.wait_for(asyncio.gather(*tasks), 30)
    assert order.index("quiet") <= 2
    assert one.executing == one.waiting == 0


async def test_who_gives_up_waiting_leaves_nothing_behind():
    one = level(1)
    assert one.take(1)
    assert not await one.wait("a", 1, 0.01)
    gone = asyncio.create_task(one.wait("a", 1, 30))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    assert (one.waiting, one.executing) == (0, 1)
    one.leave(1, 0.01, "a")
    assert one.take(1)


async def test_seats_that_nobody_uses_are_lent():
    bank = Bank()
    rich, poor = level(10, bank=bank), level(2, bank=bank)
    rich.lendable = 5
    bank.levels = (rich, poor)
    assert [poor.take(1) for _ in range(8)] == [True] * 7 + [False]
    busy = level(2, bank=bank)
    assert not busy.take(3) or busy.executing <= 3


def test_a_flow_has_a_hand_of_different_queues():
    for number in range(200):
        hand = deal(f"flow {number}", 64, 6)
        assert len(set(hand)) == 6
        assert all(0 <= card < 64 for card in hand)
    assert len({tuple(deal(f"flow {number}", 64, 6)) for number in range(200)}) > 190


@pytest.mark.parametrize(("objects", "size", "seats"), [(0, 0, 1), (10, 2000, 1), (100, 2000, 2), (5000, 2000, 10)])
def test_long_lists_take_more_seats(objects, size, seats):
    assert list_seats(objects, size) == seats


@pytest.mark.parametrize(
    ("watchers", "expected"), [(9, (0, 0)), (10, (1, 0.005)), (45, (5, 0.005)), (1000, (10, 0.05))]
)
def test_a_write_that_many_watch_keeps_seats_for_a_while(watchers, expected):
    assert aftermath("", watchers) == expected
    assert aftermath("token", watchers) == (0, 0)


async def test_a_watch_that_begins_with_a_list_takes_the_lists_seats(server, ask):
    for number in range(4):
        data = {"k": "v" * 200_000}
        await ask.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"m{number}"}, "data": data})
    cache = server.registry.open_cache(server.catalogue.find("", "v1", "configmaps"))
    assert seats_of("list", {}, cache) >= 5
    assert seats_of("list", {"limit": "1"}, cache) < seats_of("list", {}, cache)
    assert seats_of("list", {"fieldSelector": "metadata.name=m1"}, cache) <= 3
    assert seats_of("watch", {}, cache) == seats_of("watch", {"sendInitialEvents": "true"}, cache) >= 5
    assert seats_of("watch", {"resourceVersion": "7"}, cache) == 1
    assert seats_of("get", {}, cache) == 1


async def test_seats_of_a_write_are_given_back_after_its_watchers_have_it(server):
    level = Level("a", "", Bank())
    level.configure(
        {
            "limited": {
                "limitResponse": {"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 5}}
            }
        },
        60,
    )
    flow = Flow("f", level, {})
    limits = FlowControl(server.registry, seats=60, request_seconds=60)
    assert level.take(1)
    limits.leave(flow, None, 1, 0.001, aftermath("", 30))
    assert level.executing == 3
    while level.executing:
        await asyncio.sleep(0.001)


async def test_what_is_answered_at_once_is_not_when_its_level_is_full(server):
    jo = User("jo", groups=("system:authenticated",))
    level = server.flow.classify(Access(jo, "get", "", "v1", "configmaps")).level
    admin = User("root", groups=("system:masters", "system:authenticated"))
    level.executing += level.nominal
    assert server.flow.room(Access(jo, "get", "", "v1", "configmaps")) is None
    assert server.flow.room(Access(admin, "get", "", "v1", "configmaps"))
    level.executing -= level.nominal
    assert server.flow.room(Access(jo, "get", "", "v1", "configmaps"))
    assert 'apiserver_flowcontrol_dispatched_requests_total{priority_level="global-default"}' in server.flow.metrics()
