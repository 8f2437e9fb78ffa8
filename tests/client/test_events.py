"""Events of core/v1, counted, combined and limited as upstream's recorder does it."""

from functools import partial

from kobune.api.errors import Forbidden, ServiceUnavailable
from kobune.api.objects.core import Node
from kobune.api.objects.meta import ObjectMeta
from kobune.client.events import EventRecorder
from tests.client.conftest import Events, pod, tell

told = partial(tell, EventRecorder)


def test_an_event_has_upstreams_form():
    async def story(recorder, clock):
        recorder.warning(pod(), "BackOff", "restarting", field_path="spec.containers{a}")

    (event,), _ = told(Events(), story)
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

    (event,), _ = told(Events(), story)
    assert event["count"] == 3
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2026-01-05T08:00:00Z", "2026-01-05T08:00:20Z")


def test_a_repeat_of_an_expired_event_is_written_anew():
    async def story(recorder, clock):
        recorder.normal(pod(), "Pulled", "image here")
        await recorder.flush()
        server.kept.clear()
        recorder.normal(pod(), "Pulled", "image here")

    server = Events()
    (event,), _ = told(server, story)
    assert event["count"] == 2


def test_from_the_tenth_message_on_similar_events_are_one():
    async def story(recorder, clock):
        for number in range(15):
            recorder.normal(pod(), "Created", f"created {number}")

    events, _ = told(Events(), story)
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

    events, recorder = told(Events(), story)
    assert [event["count"] for event in events] == [26, 1]
    assert recorder.dropped == 75


def test_an_unreachable_server_is_tried_again():
    async def story(recorder, clock):
        recorder.normal(pod(), "Pulled", "here")

    events, _ = told(Events(*[ServiceUnavailable("down")] * 3), story)
    assert len(events) == 1


def test_a_refused_event_is_forgotten():
    async def story(recorder, clock):
        recorder.normal(pod(), "Pulled", "here")
        await recorder.flush()
        recorder.normal(pod(), "Started", "there")

    events, _ = told(Events(Forbidden("no")), story)
    assert [event["reason"] for event in events] == ["Started"]


def test_events_of_cluster_scoped_objects_live_in_the_default_namespace():
    async def story(recorder, clock):
        recorder.normal(Node(metadata=ObjectMeta(name="n")), "Ready", "yes")

    (event,), _ = told(Events(), story)
    assert event["metadata"]["namespace"] == "default"
