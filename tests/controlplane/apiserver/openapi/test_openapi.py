"""OpenAPI documents: operations and types as upstream publishes them, custom kinds beside the built-in ones."""

import hashlib

import orjson
import pytest

from kobune.api.catalogue import Kind, builtin
from kobune.controlplane.apiserver.openapi import OpenApi

# For each group version that 1.36 serves by default: how many operations upstream publishes, watches under /watch/ aside,
# and the SHA-256 of their sorted operationIds, shortened. Source: upstream api/openapi-spec/swagger.json.
UPSTREAM_OPERATIONS = """
api/v1 205 0af6c4a22b651d6e
apis/admissionregistration.k8s.io/v1 45 ff84b5713eb2521c
apis/apiextensions.k8s.io/v1 10 b1ed56fca1595eda
apis/apiregistration.k8s.io/v1 10 95fa822aad86e196
apis/apps/v1 61 04020ee0e64d98e4
apis/authentication.k8s.io/v1 2 49b3a972d1304807
apis/authorization.k8s.io/v1 4 12111d65334f5e9f
apis/autoscaling/v1 11 6eed43178a748247
apis/autoscaling/v2 11 506a262ca3a6190e
apis/batch/v1 22 2b0a3167f621d350
apis/certificates.k8s.io/v1 13 b67431e71656331d
apis/coordination.k8s.io/v1 8 1f570c7155231887
apis/discovery.k8s.io/v1 8 ae657547cbe2426d
apis/events.k8s.io/v1 8 f315873f1408f677
apis/flowcontrol.apiserver.k8s.io/v1 20 7fe478e310321c67
apis/networking.k8s.io/v1 43 09b0000028c98245
apis/node.k8s.io/v1 7 64edf9c6cb9bf337
apis/policy/v1 11 62f1f3a12b827dd2
apis/rbac.authorization.k8s.io/v1 30 2f93e1eddc5827cd
apis/resource.k8s.io/v1 33 1d51c2d611e8d365
apis/scheduling.k8s.io/v1 7 c712331c6a8df1d1
apis/storage.k8s.io/v1 46 471c0ee117dc7b42
"""
METHODS = ("get", "put", "post", "delete", "patch", "options", "head")
SHIP = Kind("example.com", "v1", "Ship", "ships", custom=True, storage="example.com/ships")
SHIP_SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["sails"],
            "properties": {"sails": {"type": "integer", "nullable": True}},
        },
    },
}


@pytest.fixture(scope="module")
def openapi():
    return OpenApi(builtin("1.36"), "1.36")


@pytest.fixture(scope="module")
def apps(openapi):
    return orjson.loads(openapi.v3("apis/apps/v1").body)


def operations(document):
    return [path[method] for path in document["paths"].values() for method in METHODS if method in path]


@pytest.mark.parametrize("line", UPSTREAM_OPERATIONS.strip().splitlines(), ids=lambda line: line.split()[0])
def test_operations_are_those_upstream_publishes(openapi, line):
    path, count, digest = line.split()
    names = sorted(operation["operationId"] for operation in operations(orjson.loads(openapi.v3(path).body)))
    assert len(names) == int(count)
    assert hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] == digest


def test_a_patch_takes_field_validation(apps):
    """kubectl asks the server to validate fields only where it finds this parameter."""
    patch = apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_types_say_how_lists_merge(apps):
    spec = apps["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
    assert spec["containers"]["x-kubernetes-patch-merge-key"] == "name"
    assert spec["containers"]["x-kubernetes-patch-strategy"] == "merge"


def test_v3_types_have_upstreams_form(apps):
    types = apps["components"]["schemas"]
    deployment = types["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"] == [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    assert deployment["properties"]["kind"]["type"] == "string"
    assert "enum" not in deployment["properties"]["kind"]
    spec = deployment["properties"]["spec"]
    assert spec["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]
    assert types["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] == {
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    }


@pytest.mark.parametrize("form", ["v2", "apis/apps/v1", "api/v1"])
def test_every_reference_leads_to_a_type(openapi, form):
    document = openapi.v2() if form == "v2" else openapi.v3(form)
    decoded = orjson.loads(document.body)
    types = decoded["definitions"] if form == "v2" else decoded["components"]["schemas"]
    prefix = "#/definitions/" if form == "v2" else "#/components/schemas/"
    references = set()

    def collect(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                references.add(node["$ref"])
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(decoded)
    assert references <= {prefix + name for name in types}


def test_v2_has_every_kind_in_one_document(openapi):
    document = orjson.loads(openapi.v2().body)
    assert document["swagger"] == "2.0"
    assert document["info"] == {"title": "Kubernetes", "version": "v1.36.0"}
    assert document["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"] == {"type": "string"}
    assert len(operations(document)) == sum(int(line.split()[1]) for line in UPSTREAM_OPERATIONS.strip().splitlines())


def test_a_delete_says_whether_it_answers_with_the_object(openapi):
    core = orjson.loads(openapi.v3("api/v1").body)["paths"]

    def answer(plural):
        path = core[f"/api/v1/namespaces/{{namespace}}/{plural}/{{name}}"]
        return path["delete"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition(".")[2]

    assert (answer("pods"), answer("configmaps")) == ("Pod", "Status")


def test_the_index_names_each_document_with_its_hash(openapi):
    paths = orjson.loads(openapi.index().body)["paths"]
    assert paths["apis/apps/v1"] == {
        "serverRelativeURL": f"/openapi/v3/apis/apps/v1?hash={openapi.hash_of('apis/apps/v1')}"
    }
    assert set(paths) == {line.split()[0] for line in UPSTREAM_OPERATIONS.strip().splitlines()}


@pytest.mark.parametrize("path", ["apis/example.com/v1", "apis/apps", "api", "apis//v1", "api/v1/pods", ""])
def test_what_is_not_served_has_no_document(openapi, path):
    assert openapi.v3(path) is None


def test_custom_kinds_join_with_their_schemas():
    catalogue, schemas = builtin("1.36"), {"Ship": SHIP_SCHEMA}
    openapi = OpenApi(catalogue, "1.36", custom=lambda kind: schemas.get(kind.name))
    v2_before = openapi.v2().body
    catalogue.add(SHIP)
    document = orjson.loads(openapi.v3("apis/example.com/v1").body)
    ship = document["components"]["schemas"]["com.example.v1.Ship"]
    assert ship["properties"]["spec"] == SHIP_SCHEMA["properties"]["spec"]
    metadata = ship["properties"]["metadata"]  # Told of as `kubectl explain` tells of every kind's.
    assert metadata["allOf"][0]["$ref"].endswith("ObjectMeta")
    assert metadata["description"].startswith("Standard object's metadata")
    assert ship["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Ship"}]
    assert "/apis/example.com/v1/namespaces/{namespace}/ships/{name}/status" in document["paths"]
    assert document["components"]["schemas"]["com.example.v1.ShipList"]["properties"]["items"]["items"] == {
        "$ref": "#/components/schemas/com.example.v1.Ship"
    }
    sails = orjson.loads(openapi.v2().body)["definitions"]["com.example.v1.Ship"]["properties"]["spec"]["properties"]
    assert sails == {"sails": {"type": "integer"}}  # OpenAPI v2 knows no `nullable`.
    before = openapi.hash_of("apis/example.com/v1")
    schemas["Ship"] = {"type": "object"}
    assert openapi.hash_of("apis/example.com/v1") != before
    catalogue.remove(SHIP)
    assert openapi.v3("apis/example.com/v1") is None
    assert openapi.v2().body == v2_before
