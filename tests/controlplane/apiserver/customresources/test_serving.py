"""Definitions become kinds, and kinds go with their definitions."""

import asyncio
from typing import Any

import orjson
import pytest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SHIPS = "/apis/example.com/v1/namespaces/default/ships"
SPEC = {
    "type": "object",
    "required": ["sails"],
    "properties": {
        "sails": {"type": "integer", "minimum": 1},
        "colour": {"type": "string", "default": "white"},
        "crew": {"type": "integer"},
        "notes": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "port": {"x-kubernetes-int-or-string": True},
        "captain": {"type": "string", "nullable": True},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": SPEC,
        "status": {
            "type": "object",
            "properties": {"phase": {"type": "string"}, "crew": {"type": "integer"}, "selector": {"type": "string"}},
        },
    },
}


def version(name: str = "v1", *, storage: bool = True, schema: Any = SCHEMA, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.crew", "statusReplicasPath": ".status.crew",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [{"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"}],
        "selectableFields": [{"jsonPath": ".spec.colour"}],
        **more,
    }  # fmt: skip


def definition(*versions: dict[str, Any], kind: str = "Ship", plural: str = "ships", **names: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "shortNames": ["sh"], "categories": ["fleet"], **names},
            "versions": list(versions or (version(),)),
        },
    }


def ship(name: str = "mary", api_version: str = "example.com/v1", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "Ship", "metadata": {"name": name}, "spec": {"sails": 2, **spec}}


async def established(ask: Any, name: str = "ships.example.com") -> Any:
    async with asyncio.timeout(5):
        while True:
            found = await ask("GET", f"{CRDS}/{name}")
            conditions = {one["type"]: one for one in found["status"].get("conditions") or ()}
            if conditions.get("Established", {}).get("status") == "True":
                return found
            await asyncio.sleep(0.001)


async def gone(ask: Any, path: str) -> None:
    async with asyncio.timeout(5):
        while (await ask.raw("GET", path)).status != 404:
            await asyncio.sleep(0.001)


@pytest.fixture
async def ships(ask: Any) -> Any:
    await ask.create(CRDS, definition())
    return await established(ask)


async def test_a_new_definition_settles_its_names_and_is_established(ask: Any, ships: Any) -> None:
    conditions = {one["type"]: (one["status"], one["reason"]) for one in ships["status"]["conditions"]}
    assert conditions == {"NamesAccepted": ("True", "NoConflicts"), "Established": ("True", "InitialNamesAccepted")}
    assert ships["status"]["acceptedNames"] == {
        "kind": "Ship", "listKind": "ShipList", "plural": "ships", "singular": "ship", "shortNames": ["sh"],
        "categories": ["fleet"],
    }  # fmt: skip
    assert ships["status"]["storedVersions"] == ["v1"]


async def test_its_kind_has_all_verbs(ask: Any, ships: Any) -> None:
    made = await ask.create(SHIPS, ship())
    assert made["spec"] == {"sails": 2, "colour": "white"}
    assert made["metadata"]["generation"] == 1
    changed = await ask("PATCH", f"{SHIPS}/mary", {"spec": {"sails": 3}}, content_type="application/merge-patch+json")
    assert (changed["spec"]["sails"], changed["metadata"]["generation"]) == (3, 2)
    changed["spec"]["sails"] = 4
    assert (await ask("PUT", f"{SHIPS}/mary", changed))["spec"]["sails"] == 4
    listed = await ask("GET", "/apis/example.com/v1/ships")
    assert (listed["kind"], len(listed["items"])) == ("ShipList", 1)
    assert (await ask("DELETE", f"{SHIPS}/mary"))["status"] == "Success"
    await ask("GET", f"{SHIPS}/mary", status=404)


async def test_discovery_and_openapi_follow_at_once(ask: Any, ships: Any) -> None:
    rows = {row["name"]: row for row in (await ask("GET", "/apis/example.com/v1"))["resources"]}
    assert set(rows) == {"ships", "ships/status", "ships/scale"}
    assert rows["ships"]["shortNames"] == ["sh"]
    assert rows["ships"]["categories"] == ["fleet"]
    types = (await ask("GET", "/openapi/v3/apis/example.com/v1"))["components"]["schemas"]
    assert types["com.example.v1.Ship"]["properties"]["spec"]["properties"]["sails"] == {
        "type": "integer",
        "minimum": 1,
    }


async def test_what_the_schema_refuses_is_told_in_full(ask: Any, ships: Any) -> None:
    answer = await ask("POST", SHIPS, ship(sails=0, colour=3), status=422)
    assert answer["reason"] == "Invalid"
    assert {cause["field"] for cause in answer["details"]["causes"]} == {"spec.sails", "spec.colour"}
    assert 'Ship.example.com "mary" is invalid' in answer["message"]


async def test_unknown_fields_go_unless_kept_and_are_told_as_asked(ask: Any, ships: Any) -> None:
    wrong = ship(guns=3, notes={"any": 1}, captain=None, port="http")
    made = await ask("POST", f"{SHIPS}?fieldValidation=Ignore", wrong)
    assert made["spec"] == {"sails": 2, "colour": "white", "notes": {"any": 1}, "captain": None, "port": "http"}
    response = await ask.raw("POST", f"{SHIPS}?fieldValidation=Warn&dryRun=All", {**wrong, "metadata": {"name": "b"}})
    assert response.headers["Warning"] == '299 - "unknown field \\"spec.guns\\""'
    refused = await ask("POST", f"{SHIPS}?fieldValidation=Strict", wrong, status=400)
    assert 'strict decoding error: unknown field "spec.guns"' in refused["message"]


async def test_metadata_has_its_types(ask: Any, ships: Any) -> None:
    wrong = ship()
    wrong["metadata"]["labels"] = {"a": 1}
    await ask("POST", SHIPS, wrong, status=400)


async def test_status_is_written_apart(ask: Any, ships: Any) -> None:
    made = await ask.create(SHIPS, {**ship(), "status": {"phase": "Sunk"}})
    assert "status" not in made
    made["status"], made["spec"]["sails"] = {"phase": "Afloat"}, 9
    changed = await ask("PUT", f"{SHIPS}/mary/status", made)
    assert (changed["status"], changed["spec"]["sails"]) == ({"phase": "Afloat"}, 2)
    assert changed["metadata"]["generation"] == 1
    await ask(
        "PATCH", f"{SHIPS}/mary/status", {"status": {"phase": 1}}, status=422,
        content_type="application/merge-patch+json",
    )  # fmt: skip


async def test_scale_reads_and_writes_the_paths_of_the_definition(ask: Any, ships: Any) -> None:
    await ask.create(SHIPS, ship())
    assert "does not exist" in (await ask("GET", f"{SHIPS}/mary/scale", status=500))["message"]
    patch = {"spec": {"replicas": 7}}
    scale = await ask("PATCH", f"{SHIPS}/mary/scale", patch, content_type="application/merge-patch+json")
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 7})
    found = await ask("GET", f"{SHIPS}/mary")
    assert (found["spec"]["crew"], found["metadata"]["generation"]) == (7, 2)


async def test_tables_have_the_definitions_columns(ask: Any, ships: Any) -> None:
    await ask.create(SHIPS, ship())
    response = await ask.raw("GET", SHIPS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    table = orjson.loads(response.body)
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Sails"]
    assert table["rows"][0]["cells"] == ["mary", 2]


async def test_selectable_fields_select_in_lists_and_watches(ask: Any, ships: Any) -> None:
    await ask.create(SHIPS, ship("a", colour="red"))
    await ask.create(SHIPS, ship("b"))
    found = await ask("GET", f"{SHIPS}?fieldSelector=spec.colour=red")
    assert [one["metadata"]["name"] for one in found["items"]] == ["a"]
    await ask("GET", f"{SHIPS}?fieldSelector=spec.sails=2", status=400)
    async for event in ask.events(f"{SHIPS}?watch=1&fieldSelector=spec.colour=red"):
        assert event["object"]["metadata"]["name"] == "a"
        break


async def test_objects_are_served_in_every_version(ask: Any) -> None:
    await ask.create(CRDS, definition(version("v1"), version("v2", storage=False, deprecated=True)))
    await established(ask)
    await ask.create(SHIPS, ship())
    other = await ask("GET", SHIPS.replace("v1", "v2") + "/mary")
    assert other["apiVersion"] == "example.com/v2"
    response = await ask.raw("GET", SHIPS.replace("v1", "v2"))
    assert response.headers["Warning"] == '299 - "example.com/v2 Ship is deprecated"'
    assert orjson.loads(response.body)["items"][0]["apiVersion"] == "example.com/v2"
    async for event in ask.events(SHIPS.replace("v1", "v2") + "?watch=1"):
        assert event["object"]["apiVersion"] == "example.com/v2"
        break


async def test_a_change_of_the_storage_version_leaves_old_objects_readable(ask: Any) -> None:
    await ask.create(CRDS, definition(version("v1"), version("v2", storage=False)))
    found = await established(ask)
    await ask.create(SHIPS, ship())
    found["spec"]["versions"][0]["storage"], found["spec"]["versions"][1]["storage"] = False, True
    changed = await ask("PUT", f"{CRDS}/ships.example.com", found)
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    await asyncio.sleep(0.01)
    for name in ("v1", "v2"):
        assert (await ask("GET", f"/apis/example.com/{name}/ships"))["items"][0]["apiVersion"] == f"example.com/{name}"


async def test_new_defaults_reach_stored_objects_and_old_fields_leave_them(ask: Any, ships: Any) -> None:
    await ask.create(SHIPS, ship(crew=5))
    properties = ships["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["flag"] = {"type": "string", "default": "none"}
    del properties["captain"]
    await ask("PUT", f"{CRDS}/ships.example.com", ships)
    await asyncio.sleep(0.01)
    assert (await ask("GET", f"{SHIPS}/mary"))["spec"]["flag"] == "none"
    assert (await ask("GET", SHIPS))["items"][0]["spec"]["flag"] == "none"


async def test_what_was_invalid_before_may_stay_unless_it_changes(ask: Any, ships: Any) -> None:
    await ask.create(SHIPS, ship())
    properties = ships["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["sails"]["minimum"] = 3
    await ask("PUT", f"{CRDS}/ships.example.com", ships)
    await asyncio.sleep(0.01)
    merge = {"content_type": "application/merge-patch+json"}
    await ask("PATCH", f"{SHIPS}/mary", {"spec": {"colour": "red"}}, **merge)
    await ask("PATCH", f"{SHIPS}/mary", {"spec": {"sails": 1}}, status=422, **merge)


async def test_a_name_in_use_is_not_accepted_until_it_is_free(ask: Any, ships: Any) -> None:
    await ask.create(CRDS, definition(kind="Ship", plural="boats", shortNames=["bo"], singular="boat"))
    async with asyncio.timeout(5):
        while True:
            found = await ask("GET", f"{CRDS}/boats.example.com")
            conditions = {one["type"]: one for one in found["status"].get("conditions") or ()}
            if conditions:
                break
            await asyncio.sleep(0.001)
    assert conditions["NamesAccepted"]["message"] == '"ShipList" is already in use'
    assert conditions["Established"]["reason"] == "NotAccepted"
    await ask("GET", "/apis/example.com/v1/boats", status=404)
    await ask("DELETE", f"{CRDS}/ships.example.com")
    await established(ask, "boats.example.com")
    await ask("GET", "/apis/example.com/v1/boats")


async def test_the_end_of_a_definition_is_the_end_of_its_objects(ask: Any, server: Any, ships: Any) -> None:
    await ask.create(SHIPS, ship("a"))
    held = ship("b")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await ask.create(SHIPS, held)
    going = await ask("DELETE", f"{CRDS}/ships.example.com")
    assert going["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert [one["reason"] for one in going["status"]["conditions"] if one["type"] == "Terminating"] == [
        "InstanceDeletionPending"
    ]
    await gone(ask, f"{SHIPS}/a")
    assert "terminating" in (await ask("POST", SHIPS, ship("c"), status=403))["message"]
    await ask("PATCH", f"{SHIPS}/b", {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json")
    await gone(ask, f"{CRDS}/ships.example.com")
    await gone(ask, "/apis/example.com/v1")
    await ask("GET", SHIPS, status=404)


async def test_definitions_survive_a_restart(ask: Any, server: Any, ships: Any) -> None:
    from kobune.api.clock import SystemClock
    from kobune.controlplane.apiserver.server import ApiServer

    await ask.create(SHIPS, ship())
    async with ApiServer(server.config, server.store, clock=SystemClock()) as other:
        again = type(ask)(other)
        assert (await again("GET", f"{SHIPS}/mary"))["spec"]["sails"] == 2


async def test_a_condition_without_a_type_does_no_harm(ask: Any, ships: Any) -> None:
    ships["status"]["conditions"].append({"message": "written by somebody"})
    await ask("PUT", f"{CRDS}/ships.example.com/status", ships)
    await ask.create(SHIPS, ship())
    await ask("DELETE", f"{CRDS}/ships.example.com")
    await gone(ask, f"{CRDS}/ships.example.com")
