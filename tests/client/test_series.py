"""Series of events, told as seldom as upstream's recorder tells them."""

import pytest

from kobune.api.errors import Forbidden, ServiceUnavailable
from kobune.api.objects.core import Node
from kobune.api.objects.meta import ObjectMeta
from kobune.client.series import SeriesRecorder
from tests.client.conftest import Events, pod, tell


def told(server, story):
    return tell(SeriesRecorder, server, story)[0]


def fail(recorder, about=None, note="no room", **rest):
    recorder.record(about or pod(), "Warning", "FailedScheduling", "Scheduling", note, **rest)


def test_an_event_has_upstreams_form():
    async def story(recorder, _clock):
        fail(recorder, related=Node(metadata=ObjectMeta(name="n", uid="1")))

    (event,) = told(Events(), story)
    assert (event["apiVersion"], event["metadata"]["namespace"]) == ("events.k8s.io/v1", "d")
    assert event["metadata"]["name"].startswith("web.")
    assert event["regarding"] == {
        "kind": "Pod", "namespace": "d", "name": "web", "uid": "u", "apiVersion": "v1", "resourceVersion": "7"
    }  # fmt: skip
    assert event["related"] == {"kind": "Node", "name": "n", "uid": "1", "apiVersion": "v1"}
    assert (event["reportingController"], event["reportingInstance"]) == ("tester", "tester-h")
    assert (event["type"], event["reason"], event["action"], event["note"]) == (
        "Warning",
        "FailedScheduling",
        "Scheduling",
        "no room",
    )
    assert len(event["eventTime"].rpartition(".")[2]) == len("000000Z")
    assert "series" not in event


def test_repeats_are_one_event_that_is_written_twice_and_once_more_at_the_end():
    server = Events()

    async def story(recorder, clock):
        for number in range(5):
            fail(recorder, note=f"no room on {number} nodes")
            await clock.sleep(10)
        assert [method for method, _ in server.requests] == ["POST", "PATCH"]
        assert server.requests[1][1]["series"]["count"] == 2
        await clock.sleep(800)

    (event,) = told(server, story)
    assert [method for method, _ in server.requests] == ["POST", "PATCH", "PATCH"]
    assert event["series"]["count"] == 5
    assert event["note"] == "no room on 0 nodes"


def test_a_series_that_lasts_is_told_every_half_hour():
    server = Events()

    async def story(recorder, clock):
        await clock.sleep(30)
        for _ in range(61):
            fail(recorder)
            await clock.sleep(60)

    (event,) = told(server, story)
    assert [body["series"]["count"] for method, body in server.requests if method == "PATCH"] == [2, 30, 60]
    assert event["series"]["count"] == 60  # The last one waits for the end of the series.


def test_what_happens_again_after_a_while_is_another_event():
    async def story(recorder, clock):
        fail(recorder)
        await clock.sleep(800)
        fail(recorder)

    one, two = told(Events(), story)
    assert one["metadata"]["name"] != two["metadata"]["name"]
    assert "series" not in one
    assert "series" not in two


def test_other_facts_are_other_events():
    async def story(recorder, _clock):
        fail(recorder)
        fail(recorder, pod("other"))
        fail(recorder, pod(revision="8"))
        fail(recorder, related=pod("other"))

    assert len(told(Events(), story)) == 4


def test_a_series_whose_event_has_expired_begins_a_new_one():
    server = Events()

    async def story(recorder, clock):
        fail(recorder)
        await recorder.flush()
        server.kept.clear()
        fail(recorder)

    (event,) = told(server, story)
    assert event["series"]["count"] == 2


@pytest.mark.parametrize(("failure", "kept"), [(ServiceUnavailable("away"), 2), (Forbidden("no"), 1)])
def test_what_a_server_away_has_not_taken_is_said_again_and_a_refusal_is_the_end_of_it(failure, kept):
    async def story(recorder, _clock):
        fail(recorder)
        fail(recorder, pod("other"))

    assert len(told(Events(failure), story)) == kept
