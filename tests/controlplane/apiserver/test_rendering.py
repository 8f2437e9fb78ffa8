"""Tables and partial objects, as clients ask for them."""

import orjson
import pytest

PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"


def pod(name="a"):
    spec = {"containers": [{"name": "main", "image": "busybox"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


async def asked(ask, path, accept):
    response = await ask.raw("GET", path, accept=accept)
    assert response.status == 200
    return orjson.loads(response.body)


async def test_a_list_comes_as_a_table(ask):
    await ask.create(PODS, pod("a"))
    await ask.create(PODS, pod("b"))
    table = await asked(ask, PODS, TABLE)
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]][:3] == ["Name", "Ready", "Status"]
    assert [row["cells"][:4] for row in table["rows"]] == [["a", "0/1", "Pending", "0"], ["b", "0/1", "Pending", "0"]]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["metadata"]["resourceVersion"]


async def test_a_page_of_a_table_says_how_to_go_on(ask):
    for name in "abc":
        await ask.create(PODS, pod(name))
    table = await asked(ask, f"{PODS}?limit=2", TABLE)
    assert len(table["rows"]) == 2
    assert table["metadata"]["remainingItemCount"] == 1
    assert table["metadata"]["continue"]


async def test_one_object_comes_as_a_table_of_one_row(ask):
    created = await ask.create(PODS, pod())
    table = await asked(ask, f"{PODS}/a", TABLE)
    assert table["metadata"] == {"resourceVersion": created["metadata"]["resourceVersion"]}
    assert [row["cells"][0] for row in table["rows"]] == ["a"]


@pytest.mark.parametrize(("include", "kind"), [("Object", "Pod"), ("Metadata", "PartialObjectMetadata")])
async def test_rows_carry_what_is_asked_for(ask, include, kind):
    await ask.create(PODS, pod())
    table = await asked(ask, f"{PODS}?includeObject={include}", TABLE)
    assert table["rows"][0]["object"]["kind"] == kind


async def test_rows_may_carry_nothing_and_nothing_else(ask):
    await ask.create(PODS, pod())
    assert (await asked(ask, f"{PODS}?includeObject=None", TABLE))["rows"][0]["object"] is None
    response = await ask.raw("GET", f"{PODS}?includeObject=All", accept=TABLE)
    assert response.status == 400


async def test_a_watch_comes_as_tables(ask):
    await ask.create(PODS, pod())
    response = await ask.raw("GET", f"{PODS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                             "&allowWatchBookmarks=true", accept=TABLE)  # fmt: skip
    lines = (orjson.loads(line) async for chunk in response.body for line in chunk.splitlines())
    added = await anext(lines)
    assert (added["type"], added["object"]["kind"]) == ("ADDED", "Table")
    assert added["object"]["rows"][0]["cells"][0] == "a"
    mark = await anext(lines)
    assert (mark["type"], mark["object"]["kind"]) == ("BOOKMARK", "Table")


async def test_both_versions_of_an_event_have_the_same_row(ask):
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "a"},
        "reason": "Pulled", "message": "done", "type": "Normal", "firstTimestamp": "2026-01-02T03:04:05Z",
        "source": {"component": "kubelet"},
    }  # fmt: skip
    await ask.create("/api/v1/namespaces/default/events", event)
    core = await asked(ask, "/api/v1/namespaces/default/events", TABLE)
    new = await asked(ask, "/apis/events.k8s.io/v1/namespaces/default/events", TABLE)
    assert core["rows"][0]["cells"] == new["rows"][0]["cells"]


async def test_a_list_comes_as_metadata_alone(ask):
    await ask.create(PODS, pod())
    listed = await asked(ask, PODS, PARTIAL)
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [set(item) for item in listed["items"]] == [{"kind", "apiVersion", "metadata"}]
