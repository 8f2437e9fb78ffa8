"""Whatever is sent, the answer is one of upstream's: never a failure of the server's own."""

import random

import orjson
import pytest

from kobune.api.schema import load_schemas

JUNK = [
    None, True, 0, -1, 1.5, 10**18, "", "x" * 300, "\x00", [], {}, [[]], {"a": None}, [None], "1Gi", ["a"],
    {"a": {"b": [1]}}, [{"name": "a"}], {"matchLabels": {"a": "b"}},
]  # fmt: skip
WORDS = ["a", "web", "10.0.0.5", "TCP", "default", "Always", "b-c", "v1", "80%", "/x", ""]
PATCHES = {"application/merge-patch+json", "application/strategic-merge-patch+json"}
QUERIES = [
    "labelSelector=a in (b", "fieldSelector=x", "limit=x", "limit=-5", "continue=zz", "resourceVersion=-1",
    "resourceVersionMatch=Exact", "watch=1&timeoutSeconds=x", "sendInitialEvents=true",
]  # fmt: skip
BODIES = [
    b"", b"{", b"[" * 100_000, b'{"a":' * 5000, b"\xff\xfe", b"1e999", b"{}{}", b"null", b'"x"', b"[]",
    b'{"metadata":1}', b'{"metadata":{"name":1}}', b'{"metadata":{"name":"a","labels":[]}}', b'{"kind":1}',
]  # fmt: skip
YAML = [
    b"b: &a [1]\nc: [" + b"*a," * 200 + b"]", b"!!python/object:os.system x", b"- " * 3000, b"{" * 3000,
    b"? [a]\n: b", b"a: .nan", b"a: !!binary x", b"%", b"a: b: c",
]  # fmt: skip


class Generator:
    """Values that mostly have the form that a schema asks for."""

    def __init__(self, seed):
        self.pick = random.Random(seed)

    def value(self, schema, depth=0):
        pick = self.pick
        if schema is None or depth > 6 or pick.random() < 0.04:
            return pick.choice(JUNK)
        match schema.type:
            case "object" if schema.additional is not None:
                return {
                    pick.choice(["a", "x.y/z"]): self.value(schema.additional, depth + 1)
                    for _ in range(pick.randint(0, 2))
                }
            case "object":
                fields = schema.properties
                chosen = [
                    name for name in fields if name in schema.required or pick.random() < (0.25 if depth else 0.7)
                ]
                return {name: self.value(fields[name], depth + 1) for name in chosen}
            case "array":
                return [self.value(schema.items, depth + 1) for _ in range(pick.randint(0, 2))]
            case "string" if schema.format == "quantity":
                return pick.choice(["1", "100m", "1Gi", "-1"])
            case "string":
                return pick.choice(WORDS)
            case "integer":
                return pick.choice([0, 1, 80, -1, 65536, 2**31 - 1])
            case "boolean":
                return pick.random() < 0.5
        return pick.choice(JUNK)


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_object_of_any_kind_breaks_the_server(ask, seed):
    generator, schemas = Generator(seed), load_schemas("1.36")
    for kind in list(ask.server.catalogue):
        schema = schemas.find(kind.group, kind.version, kind.name)
        if schema is None or kind.name == "Namespace":
            continue
        obj = generator.value(schema)
        obj = {**obj, "metadata": {"name": "a"}} if isinstance(obj, dict) else obj
        if isinstance(obj, dict):
            obj.pop("kind", None)
            obj.pop("apiVersion", None)
        path = kind.resource.path("default", "a")
        await never_fails(ask, "POST", kind.resource.path("default"), obj)
        await never_fails(ask, "PUT", path, obj)
        for media_type in sorted(PATCHES):
            await never_fails(ask, "PATCH", path, obj, media_type)
        applied = {"apiVersion": kind.api_version, "kind": kind.name, **(obj if isinstance(obj, dict) else {})}
        await never_fails(ask, "PATCH", f"{path}?fieldManager=f&force=true", applied, "application/apply-patch+yaml")


async def never_fails(ask, method, path, body, media_type="application/json"):
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    response = await ask.raw(method, path, data, content_type=media_type)
    assert response.status < 500, (method, path, data[:500], response.body)
    if not isinstance(response.body, bytes):
        await response.body.aclose()
    return response


@pytest.mark.parametrize("query", QUERIES)
async def test_no_query_breaks_the_server(ask, query):
    await never_fails(ask, "GET", f"/api/v1/namespaces/default/configmaps?{query}", b"")


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_no_body_breaks_the_server(ask, body):
    path = "/api/v1/namespaces/default/configmaps"
    assert (await never_fails(ask, "POST", path, body)).status in (400, 415, 422)
    await never_fails(ask, "DELETE", f"{path}/a", body)


@pytest.mark.parametrize("body", YAML, ids=range(len(YAML)))
async def test_no_yaml_breaks_the_server(ask, body):
    path = "/api/v1/namespaces/default/configmaps"
    assert (await never_fails(ask, "POST", path, body, "application/yaml")).status in (400, 422)
