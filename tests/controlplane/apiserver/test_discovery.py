"""Discovery documents: what clients learn of groups, versions and resources."""

import hashlib

import orjson
import pytest

from kobune.api.catalogue import Catalogue, Kind, builtin
from kobune.controlplane.apiserver.discovery import Discovery, storage_version_hash

SHIP = Kind(
    "example.com", "v1", "Ship", "ships", ("sh",), subresources=(), custom=True, storage="example.com/ships",
    given_singular="vessel",
)  # fmt: skip


@pytest.fixture
def discovery():
    return Discovery(builtin("1.36"), address="10.0.0.1:443")


def body(document):
    return orjson.loads(document.body)


def test_api_names_its_version_and_address(discovery):
    assert body(discovery.versions()) == {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:443"}],
    }


def test_groups_name_their_versions_with_the_preferred_one(discovery):
    groups = {group["name"]: group for group in body(discovery.groups())["groups"]}
    assert groups["autoscaling"] == {
        "name": "autoscaling",
        "versions": [
            {"groupVersion": "autoscaling/v2", "version": "v2"},
            {"groupVersion": "autoscaling/v1", "version": "v1"},
        ],
        "preferredVersion": {"groupVersion": "autoscaling/v2", "version": "v2"},
    }
    assert body(discovery.group("autoscaling")) == {"kind": "APIGroup", "apiVersion": "v1", **groups["autoscaling"]}


def test_a_resource_list_has_each_resource_with_its_parts(discovery):
    listed = body(discovery.resources("apps", "v1"))
    assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", "apps/v1")
    rows = {row["name"]: row for row in listed["resources"]}
    assert list(rows) == sorted(rows)
    # The hash is upstream's own for apps/v1 Deployment.
    assert rows["deployments"] == {
        "name": "deployments", "singularName": "deployment", "namespaced": True, "kind": "Deployment",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["deploy"], "categories": ["all"], "storageVersionHash": "8aSe+NMegvE=",
    }  # fmt: skip
    assert rows["deployments/scale"] == {
        "name": "deployments/scale", "singularName": "", "namespaced": True, "group": "autoscaling", "version": "v1",
        "kind": "Scale", "verbs": ["get", "patch", "update"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(("", "v1", "ConfigMap"), "qFsyl6wFWjQ=", id="core"),
        pytest.param(("events.k8s.io", "v1", "Event"), "r2yiGXH7wu8=", id="stored-in-another-group"),
        pytest.param(("autoscaling", "v1", "HorizontalPodAutoscaler"), "qwQve8ut294=", id="stored-in-another-version"),
        pytest.param(("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), "jfWCUB31mvA=", id="stored-unserved"),
    ],
)
def test_storage_hashes_are_upstreams(kind, expected):
    assert storage_version_hash(builtin("1.36").find_kind(*kind)) == expected


def test_what_is_not_kept_has_no_storage_hash(discovery):
    rows = {row["name"]: row for row in body(discovery.resources("", "v1"))["resources"]}
    assert "storageVersionHash" not in rows["bindings"]
    assert "storageVersionHash" in rows["pods"]


def test_what_is_not_served_is_not_found(discovery):
    assert discovery.group("example.com") is None
    assert discovery.resources("apps", "v1beta1") is None


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_the_aggregated_form_has_everything_at_once(discovery, version):
    document = discovery.aggregated("apis", version)
    assert document.content_type == f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    listed = body(document)
    assert (listed["kind"], listed["apiVersion"]) == ("APIGroupDiscoveryList", f"apidiscovery.k8s.io/{version}")
    apps = next(item for item in listed["items"] if item["metadata"]["name"] == "apps")
    assert [(part["version"], part["freshness"]) for part in apps["versions"]] == [("v1", "Current")]
    deployments = next(row for row in apps["versions"][0]["resources"] if row["resource"] == "deployments")
    assert deployments == {
        "resource": "deployments",
        "responseKind": {"group": "", "version": "", "kind": "Deployment"},
        "scope": "Namespaced", "singularResource": "deployment",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["deploy"], "categories": ["all"],
        "subresources": [
            {"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
             "verbs": ["get", "patch", "update"]},
            {"subresource": "status", "responseKind": {"group": "", "version": "", "kind": "Deployment"},
             "verbs": ["get", "patch", "update"]},
        ],
    }  # fmt: skip


def test_the_aggregated_core_group_has_no_name(discovery):
    items = body(discovery.aggregated("api", "v2"))["items"]
    assert [item["metadata"] for item in items] == [{}]
    assert "pods" in {row["resource"] for row in items[0]["versions"][0]["resources"]}


def test_an_etag_follows_the_content(discovery):
    document = discovery.aggregated("apis", "v2")
    assert document.etag == f'"{hashlib.sha512(document.body).hexdigest().upper()}"'
    assert document.etag == Discovery(builtin("1.36"), address="x").aggregated("apis", "v2").etag
    assert document.etag != Discovery(builtin("1.35"), address="x").aggregated("apis", "v2").etag


def test_documents_are_rendered_once_and_anew_after_a_change():
    catalogue = Catalogue(builtin("1.36"))
    discovery = Discovery(catalogue, address="x")
    first = discovery.groups()
    assert discovery.groups() is first
    assert discovery.resources("example.com", "v1") is None
    catalogue.add(SHIP)
    assert body(discovery.groups())["groups"][-1]["name"] == "example.com"
    ships = body(discovery.resources("example.com", "v1"))["resources"]
    assert [(row["name"], row["singularName"], row["shortNames"]) for row in ships] == [("ships", "vessel", ["sh"])]
    catalogue.remove(SHIP)
    assert discovery.groups().body == first.body


@pytest.mark.parametrize(("path", "accept", "status", "media_type"), [
    pytest.param("/api/v1", "text/html", 406, "application/json", id="resources"),
    pytest.param("/api/v1", "application/yaml", 200, "application/yaml", id="as-yaml"),
    pytest.param("/apis", "text/html, */*", 200, "application/json", id="or-anything"),
    pytest.param("/version", "text/html", 406, "application/json", id="version"),
    pytest.param("/openapi/v2", "text/html", 406, "", id="openapi"),
])  # fmt: skip
async def test_documents_come_in_a_form_that_is_accepted(ask, path, accept, status, media_type):
    answer = await ask.raw("GET", path, accept=accept)
    assert (answer.status, answer.content_type) == (status, media_type)
