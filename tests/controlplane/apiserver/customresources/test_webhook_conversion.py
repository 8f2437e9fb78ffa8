"""Versions that a webhook converts. Source: Kubernetes documentation, Webhook conversion."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiohttp import web

from kobune.host.pki import Authority

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
PATH = "/apis/example.com/{}/namespaces/default/people"


class Converter:
    """v1 has one name, v2 two."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.admitted: list[Any] = []
        self.patch: list[Any] = []
        self.failure = ""
        self.url = self.bundle = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = orjson.loads(await request.read())
        review = body["request"]
        if body["kind"] == "AdmissionReview":
            return self.admit(review)
        self.asked.append(review)
        result = {"status": "Failure", "message": self.failure} if self.failure else {"status": "Success"}
        objects = [self.converted(one, review["desiredAPIVersion"]) for one in review["objects"]]
        response = {"uid": review["uid"], "result": result, "convertedObjects": objects}
        return web.json_response(
            {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}
        )

    def admit(self, review: Any) -> web.Response:
        self.admitted.append(review)
        response = {"uid": review["uid"], "allowed": True}
        if self.patch:
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(self.patch)).decode()}
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    def configuration(self, **options: Any) -> dict[str, Any]:
        """An admission webhook that knows v1 only."""
        rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["people"], "operations": ["*"]}
        client = {"url": self.url, "caBundle": self.bundle}
        webhook = {"name": "hook.example.com", "clientConfig": client, "rules": [rule], "sideEffects": "None"}
        return {"metadata": {"name": "hook"}, "webhooks": [webhook | {"admissionReviewVersions": ["v1"], **options}]}

    def converted(self, obj: Any, version: str) -> Any:
        if version.endswith("v2"):
            first, _, last = obj["spec"]["name"].partition(" ")
            return {**obj, "apiVersion": version, "spec": {"first": first, "last": last}}
        return {**obj, "apiVersion": version, "spec": {"name": f"{obj['spec']['first']} {obj['spec']['last']}"}}


@pytest.fixture
async def converter(tmp_path: Any) -> AsyncIterator[Converter]:
    now = datetime.now(UTC)
    authority = Authority.create("test", now)
    certificate, key = authority.issue_server("hook", ["127.0.0.1"], now).write(tmp_path, "hook")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    one = Converter()
    runner = web.ServerRunner(web.Server(one.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    one.url = f"https://127.0.0.1:{runner.addresses[0][1]}/convert"
    one.bundle = base64.b64encode(authority.credential.certificate).decode()
    yield one
    await runner.cleanup()


@pytest.fixture
async def people(ask: Any, converter: Converter) -> None:
    def version(name: str, *fields: str, storage: bool) -> dict[str, Any]:
        spec = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
        chosen = [{"jsonPath": f".spec.{field}"} for field in fields]
        return {"name": name, "served": True, "storage": storage, "schema": schema, "selectableFields": chosen}

    client = {"url": converter.url, "caBundle": converter.bundle}
    spec = {
        "group": "example.com", "scope": "Namespaced", "names": {"kind": "Person", "plural": "people"},
        "versions": [version("v1", "name", storage=True), version("v2", "first", "last", storage=False)],
        "conversion": {
            "strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]},
        },
    }  # fmt: skip
    await ask.create(CRDS, {"metadata": {"name": "people.example.com"}, "spec": spec})
    async with asyncio.timeout(5):
        while (await ask.raw("GET", PATH.format("v1"))).status != 200:
            await asyncio.sleep(0.001)


def person(version: str, **spec: str) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{version}", "kind": "Person", "metadata": {"name": "ada"}, "spec": spec}


async def test_each_version_reads_what_the_other_wrote(ask: Any, people: None) -> None:
    made = await ask.create(PATH.format("v2"), person("v2", first="Ada", last="Lovelace"))
    assert made["spec"] == {"first": "Ada", "last": "Lovelace"}
    stored = await ask("GET", f"{PATH.format('v1')}/ada")
    assert (stored["spec"], stored["apiVersion"]) == ({"name": "Ada Lovelace"}, "example.com/v1")
    stored["spec"]["name"] = "Ada Byron"
    await ask("PUT", f"{PATH.format('v1')}/ada", stored)
    assert (await ask("GET", PATH.format("v2")))["items"][0]["spec"] == {"first": "Ada", "last": "Byron"}
    patch = {"spec": {"last": "King"}}
    await ask("PATCH", f"{PATH.format('v2')}/ada", patch, content_type="application/merge-patch+json")
    assert (await ask("GET", f"{PATH.format('v1')}/ada"))["spec"] == {"name": "Ada King"}
    await ask("DELETE", f"{PATH.format('v2')}/ada")


async def test_watches_see_their_own_version(ask: Any, people: None) -> None:
    await ask.create(PATH.format("v1"), person("v1", name="Ada Lovelace"))
    async for event in ask.events(f"{PATH.format('v2')}?watch=1"):
        assert event["type"] == "ADDED"
        assert event["object"]["spec"] == {"first": "Ada", "last": "Lovelace"}
        break


async def test_the_same_state_is_converted_once(ask: Any, people: None, converter: Converter) -> None:
    await ask.create(PATH.format("v1"), person("v1", name="Ada Lovelace"))
    for _ in range(3):
        await ask("GET", PATH.format("v2"))
    assert len(converter.asked) == 1


async def test_a_failure_is_told(ask: Any, people: None, converter: Converter) -> None:
    converter.failure = "no such people"
    answer = await ask("POST", PATH.format("v2"), person("v2", first="Ada", last="Lovelace"), status=500)
    assert answer["message"] == "conversion webhook for example.com/v2, Kind=Person failed: no such people"


async def test_fields_of_another_version_than_the_stored_one_can_be_selected(ask: Any, people: None) -> None:
    """Source: upstream's conformance test of selectable fields."""
    path, chosen = PATH.format("v2"), "fieldSelector=spec.last=Lovelace"

    def somebody(name: str, last: str) -> dict[str, Any]:
        return {**person("v2", first="A", last=last), "metadata": {"name": name}}

    for name, last in (("ada", "Lovelace"), ("alan", "Turing"), ("anna", "Lovelace")):
        await ask.create(path, somebody(name, last))
    found = await ask("GET", f"{path}?{chosen}&limit=1")
    assert [one["metadata"]["name"] for one in found["items"]] == ["ada", "anna"]
    refused = await ask("GET", f"{path}?fieldSelector=spec.name=A", status=400)
    assert refused["message"] == "field label not supported: spec.name"
    seen = []
    async for event in ask.events(f"{path}?watch=1&{chosen}"):
        seen.append((event["type"], event["object"]["metadata"]["name"], event["object"]["spec"]["last"]))
        if len(seen) == 2:
            merge = "application/merge-patch+json"
            await ask("PATCH", f"{path}/ada", {"spec": {"last": "King"}}, content_type=merge)
            await ask("PATCH", f"{path}/alan", {"spec": {"last": "Lovelace"}}, content_type=merge)
            await ask("DELETE", f"{path}/ada")
            await ask("DELETE", f"{path}?{chosen}")
        if len(seen) == 6:
            break
    assert seen[:4] == [
        ("ADDED", "ada", "Lovelace"), ("ADDED", "anna", "Lovelace"), ("DELETED", "ada", "King"),
        ("ADDED", "alan", "Lovelace"),
    ]  # fmt: skip
    assert set(seen[4:]) == {("DELETED", "alan", "Lovelace"), ("DELETED", "anna", "Lovelace")}


async def test_a_webhook_for_one_version_judges_and_changes_the_others(
    ask: Any, people: None, converter: Converter
) -> None:
    for kind in ("mutating", "validating"):
        await ask.create(f"{ADMISSION}/{kind}webhookconfigurations", converter.configuration())
    made = await ask.create(PATH.format("v2"), person("v2", first="Ada", last="Lovelace"))
    mutating, validating = converter.admitted
    assert mutating["object"]["spec"] == validating["object"]["spec"] == {"name": "Ada Lovelace"}
    assert (mutating["kind"]["version"], mutating["requestKind"]["version"]) == ("v1", "v2")
    converter.admitted.clear()
    await ask("DELETE", f"{PATH.format('v2')}/ada")
    assert {one["oldObject"]["spec"]["name"] for one in converter.admitted} == {"Ada Lovelace"}
    await ask("DELETE", f"{ADMISSION}/validatingwebhookconfigurations/hook")
    converter.patch = [{"op": "replace", "path": "/spec/name", "value": "Ada King"}]
    made = await ask.create(PATH.format("v2"), person("v2", first="Ada", last="Lovelace"))
    assert (made["apiVersion"], made["spec"]) == ("example.com/v2", {"first": "Ada", "last": "King"})


async def test_a_webhook_that_wants_exactly_its_version_is_not_asked_for_another(
    ask: Any, people: None, converter: Converter
) -> None:
    exact = converter.configuration(matchPolicy="Exact")
    await ask.create(f"{ADMISSION}/validatingwebhookconfigurations", exact)
    await ask.create(PATH.format("v2"), person("v2", first="Ada", last="Lovelace"))
    assert converter.admitted == []


async def test_policies_for_one_version_judge_and_change_the_others(ask: Any, people: None) -> None:
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["people"], "operations": ["CREATE"]}
    constraints = {"resourceRules": [rule]}
    mutation = {
        "patchType": "JSONPatch",
        "jsonPatch": {
            "expression": '[JSONPatch{op: "replace", path: "/spec/name", value: object.spec.name + "-King"}]'
        },
    }
    changes = {"matchConstraints": constraints, "reinvocationPolicy": "Never", "mutations": [mutation]}
    refuses = {"matchConstraints": constraints, "validations": [{"expression": "object.spec.name.endsWith('-King')"}]}
    for kind, spec, more in (
        ("mutating", changes, {}),
        ("validating", refuses, {"validationActions": ["Deny"]}),
    ):
        await ask.create(f"{ADMISSION}/{kind}admissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
        binding = {"metadata": {"name": "p"}, "spec": {"policyName": "p", **more}}
        await ask.create(f"{ADMISSION}/{kind}admissionpolicybindings", binding)
    made = await ask.create(PATH.format("v2"), person("v2", first="Ada", last="Lovelace"))
    assert made["spec"] == {"first": "Ada", "last": "Lovelace-King"}


async def test_who_cannot_be_converted_cannot_be_judged(ask: Any, people: None, converter: Converter) -> None:
    await ask.create(f"{ADMISSION}/validatingwebhookconfigurations", converter.configuration())
    converter.failure = "no such people"
    answer = await ask("POST", PATH.format("v2"), person("v2", first="Ada", last="Lovelace"), status=500)
    assert "no such people" in answer["message"]
    assert converter.admitted == []
