"""Objects are written anew in the version that is stored today, one migration of a resource at a time."""

import msgspec
import orjson
import pytest

from kobune.controlplane.controllers.storage.version_migration import RUNNING, StorageVersionMigration, next_to_run

CONTROLLERS = "storage-version-migrator-controller"
NAME = "boats.sea.example.com"


def definition(stored):
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": each, "served": True, "storage": each == stored, "schema": schema} for each in ("v1", "v2")]
    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
    spec = {"group": "sea.example.com", "scope": "Namespaced", "names": names, "versions": versions}
    return {"metadata": {"name": NAME}, "spec": spec}


def migration(name, resource="boats", group="sea.example.com"):
    return {"metadata": {"name": name}, "spec": {"resource": {"group": group, "resource": resource}}}


def conditions(item):
    return {each["type"]: (each["status"], each["reason"]) for each in item.get("status", {}).get("conditions", [])}


async def done(world, name):
    async def check():
        found = conditions(await world.get("storageversionmigrations", name, ""))
        return found if found.get("Running", ("",))[0] == "False" else None

    return await world.until(check, 200)


def test_objects_of_a_former_version_are_stored_anew_and_their_definition_forgets_it(tell):
    async def story(world):
        await world.create("customresourcedefinitions", definition("v1"), "")
        await world.sleep(2)
        path = "/apis/sea.example.com/v1/namespaces/default/boats"
        for name in ("a", "b"):
            boat = {"apiVersion": "sea.example.com/v1", "kind": "Boat", "metadata": {"name": name}}
            await world.client.call("POST", path, body=orjson.dumps(boat))
        await world.patch("customresourcedefinitions", NAME, {"spec": definition("v2")["spec"]}, "")
        await world.sleep(2)
        before = orjson.loads(await world.client.call("GET", path))["items"]
        both = (await world.get("customresourcedefinitions", NAME, ""))["status"]["storedVersions"]
        for name in ("first", "second"):
            await world.create("storageversionmigrations", migration(name), "")
        first = await done(world, "first")
        between = (await world.get("customresourcedefinitions", NAME, ""))["status"]
        again = orjson.loads(await world.client.call("GET", path))["items"]
        second = await done(world, "second")
        after = orjson.loads(await world.client.call("GET", path))["items"]
        page = await world.server.store.list("/registry/sea.example.com/boats/")
        stored = [entry.value for entry in page.entries]
        return before, again, after, both, first, second, between["storedVersions"], stored

    before, again, after, both, first, second, versions, stored = tell(story, CONTROLLERS, nodes=False, version="1.37")
    versions_of = [[each["metadata"]["resourceVersion"] for each in items] for items in (before, again, after)]
    assert both == ["v1", "v2"]
    assert versions == ["v2"]
    assert not set(versions_of[0]) & set(versions_of[1])  # Written anew ...
    assert versions_of[1] == versions_of[2]  # ... once.
    assert first["Succeeded"] == ("True", "StorageVersionMigrationSucceeded")
    assert second["Running"] == ("False", "MigrationCompleted")
    assert all(b'"apiVersion":"sea.example.com/v2"' in each for each in stored)


@pytest.mark.parametrize(
    ("resource", "group", "message"),
    [
        pytest.param("ships", "sea.example.com", "resource does not exist in discovery", id="unknown"),
        pytest.param(
            "tokenreviews",
            "authentication.k8s.io",
            'resource "authentication.k8s.io/v1, Resource=tokenreviews" does not support discovery operations: '
            "[update patch list]",
            id="not-kept",
        ),
    ],
)
def test_what_cannot_be_migrated_has_failed(tell, resource, group, message):
    async def story(world):
        await world.create("storageversionmigrations", migration("m", resource, group), "")
        await done(world, "m")
        return (await world.get("storageversionmigrations", "m", ""))["status"]["conditions"]

    found = {each["type"]: each for each in tell(story, CONTROLLERS, nodes=False, version="1.37")}
    assert (found["Failed"]["status"], found["Failed"]["message"]) == ("True", message)


def test_the_oldest_that_waits_is_next_unless_one_runs():
    def item(name, *kinds):
        conditions = [{"type": kind, "status": "True"} for kind in kinds]
        return msgspec.convert(
            {"metadata": {"name": name}, "status": {"conditions": conditions}}, StorageVersionMigration
        )

    over, waiting = item("a", "Failed"), item("b")
    assert next_to_run([item("c"), waiting, over]) is waiting
    assert next_to_run([waiting, item("c", RUNNING)]) is None
    assert next_to_run([over]) is None
