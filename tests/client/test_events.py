import asyncio

import orjson

from kobune.api.errors import Forbidden, ServiceUnavailable, not_found, status_of
from kobune.api.objects.core import Node, Pod
from kobune.api.objects.meta import ObjectMeta
from kobune.client.client import Client
from kobune.client.events import EventRecorder
from kobune.client.transport import Answer
from kobune.testing.virtual import VirtualClock, run_virtual


class Events:
    """Keeps events by path, and fails as told."""

    def __init__(self, failures=()):
        self.kept, self.failures, self.requests = {}, list(failures), 0

    async def request(self, method, path, *, query=None, body=b"", content_type="", accept=""):
        self.requests += 1
        if self.failures:
            raise self.failures.pop(0)
        body = orjson.loads(body)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            self.kept[path] = body
        elif path not in self.kept:
            return Answer(404, orjson.dumps(status_of(not_found("events", "x"))), {})
        else:
            self.kept[path] |= body
        return Answer(200, orjson.dumps(self.kept[path]), {})


def pod(name="web"):
    return Pod(metadata=ObjectMeta(name=name, namespace="d", uid="u", resource_version="7"))


def tell(server, story):
    async def whole():
        clock = VirtualClock()
        recorder = EventRecorder(Client(server), "tester", clock=clock, host="h")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(recorder.run())
            await story(recorder, clock)
            await recorder.flush()
            task.cancel()
        return recorder

    recorder = run_virtual(whole())
    return list(server.kept.values()), recorder


def test_an_event_has_upstreams_form():
    async def story(recorder, clock):
        recorder.warning(pod(), "BackOff", "restarting", field_path="spec.containers{a}")

    (event,), _ = tell(Events(), story)
    assert event["metadata"]["namespace"] == "d"
    assert event["metadata"]["name"].startswith("web.")
    assert event["involvedObject"] == {
        "kind": "Pod", "namespace": "d", "name": "web", "uid": "u", "apiVersion": "v1", "resourceVersion": "7",
        "fieldPath": "spec.containers{a}",
    }  # fmt: skip
    assert (event["type"], event["reason"], event["message"], event["count"]) == ("Warning", "BackOff", "restarting", 1)
    assert event["source"] == {"component": "tester", "host": "h"}


def test_a_repeat_is_counted():
    async def story(recorder, clock):
        for _ in range(3):
            recorder.normal(pod(), "Pulled", "image here")
            await clock.sleep(10)

    (event,), _ = tell(Events(), story)
    assert event["count"] == 3
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2026-01-05T08:00:00Z", "2026-01-05T08:00:20Z")


def test_a_repeat_of_an_expired_event_is_written_anew():
    async def story(recorder, clock):
        recorder.normal(pod(), "Pulled", "image here")
        await recorder.flush()
        server.kept.clear()
        recorder.normal(pod(), "Pulled", "image here")

    server = Events()
    (event,), _ = tell(server, story)
    assert event["count"] == 2


def test_from_the_tenth_message_on_similar_events_are_one():
    async def story(recorder, clock):
        for number in range(15):
            recorder.normal(pod(), "Created", f"created {number}")

    events, _ = tell(Events(), story)
    assert len(events) == 10
    assert events[-1]["message"] == "(combined from similar events): created 14"
    assert events[-1]["count"] == 6


def test_a_flood_about_one_object_is_cut_to_25_and_one_more_per_five_minutes():
    async def story(recorder, clock):
        for _ in range(100):
            recorder.normal(pod(), "Noise", "same")
        recorder.normal(pod("other"), "Noise", "same")
        await recorder.flush()
        await clock.sleep(300)
        recorder.normal(pod(), "Noise", "same")

    events, recorder = tell(Events(), story)
    assert [event["count"] for event in events] == [26, 1]
    assert recorder.dropped == 75


def test_an_unreachable_server_is_tried_again():
    async def story(recorder, clock):
        recorder.normal(pod(), "Pulled", "here")

    events, _ = tell(Events([ServiceUnavailable("down")] * 3), story)
    assert len(events) == 1


def test_a_refused_event_is_forgotten():
    async def story(recorder, clock):
        recorder.normal(pod(), "Pulled", "here")
        await recorder.flush()
        recorder.normal(pod(), "Started", "there")

    events, _ = tell(Events([Forbidden("no")]), story)
    assert [event["reason"] for event in events] == ["Started"]


def test_events_of_cluster_scoped_objects_live_in_the_default_namespace():
    async def story(recorder, clock):
        recorder.normal(Node(metadata=ObjectMeta(name="n")), "Ready", "yes")

    (event,), _ = tell(Events(), story)
    assert event["metadata"]["namespace"] == "default"
