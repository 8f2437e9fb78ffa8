"""Bodies of every kind of write, well formed and not: answered as upstream answers, never with a failure of the server's own."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controlplane.apiserver.fuzz.conftest import LONG, SHORT

CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
CONTAINERS = [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "b"}]}]
POD = {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": CONTAINERS, "tolerations": []}}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}
SELECTOR = {"matchLabels": {"a": "b"}}
PROPERTIES = {
    "spec": {"type": "object", "properties": {
        "size": {"type": "integer", "maximum": 9}, "names": {"type": "array", "items": {"type": "string"}},
    }},
    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}  # fmt: skip
DEFINITION = {
    "metadata": {"name": "boats.x.io"},
    "spec": {
        "group": "x.io", "scope": "Namespaced",
        "names": {"kind": "Boat", "plural": "boats", "singular": "boat", "listKind": "BoatList"},
        "versions": [{
            "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": PROPERTIES}},
        }],
    },
}  # fmt: skip
OBJECTS = {
    f"{CORE}/configmaps": {"metadata": {"name": "m", "finalizers": ["x.io/a"]}, "data": {"k": "v"}},
    f"{CORE}/serviceaccounts": {"metadata": {"name": "default"}},
    f"{CORE}/pods": POD,
    f"{CORE}/services": {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
    f"{APPS}/deployments": {"metadata": {"name": "d"}, "spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": DEFINITION,
}
NAMED = (
    f"{CORE}/configmaps/m", f"{CORE}/pods/p", f"{CORE}/services/s", f"{APPS}/deployments/d",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.x.io", "/apis/x.io/v1/namespaces/default/boats/b",
)  # fmt: skip
SUBRESOURCES = (
    f"{CORE}/pods/p/status", f"{CORE}/pods/p/resize", f"{CORE}/pods/p/ephemeralcontainers", f"{CORE}/services/s/status",
    f"{APPS}/deployments/d/scale", f"{APPS}/deployments/d/status", "/api/v1/namespaces/default/status",
    "/apis/x.io/v1/namespaces/default/boats/b/status",
)  # fmt: skip
POSTED = (
    f"{CORE}/pods/p/eviction", f"{CORE}/pods/p/binding", f"{CORE}/bindings", f"{CORE}/serviceaccounts/default/token",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "/apis/authentication.k8s.io/v1/tokenreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", *OBJECTS,
)  # fmt: skip
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"

FIELDS = st.sampled_from((
    "apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations", "finalizers", "ownerReferences",
    "managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "spec", "status",
    "containers", "ports", "env", "value", "image", "replicas", "selector", "matchLabels", "template", "data", "size",
    "names", "versions", "schema", "openAPIV3Schema", "properties", "type", "resources", "limits", "cpu", "conditions",
    "$patch", "$retainKeys", "$setElementOrder/containers", "$setElementOrder/", "$deleteFromPrimitiveList/finalizers",
    "containerPort", "a", "", "\x00", "f:spec", "token", "audiences", "target", "gracePeriodSeconds", "deleteOptions",
))  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8), FIELDS,
    st.sampled_from(("1Gi", "100m", "80%", "2026-01-01T00:00:00Z", "replace", "delete", "merge", "v1", "Pod", "x" * 300)),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=12
)
POINTERS = st.one_of(
    st.lists(FIELDS | st.sampled_from(("0", "-", "-1", "01", "9" * 30, "~1", "~", "c")), max_size=5).map(
        lambda parts: "".join(f"/{part}" for part in parts)
    ),
    st.sampled_from((
        "", "/", "a", "/metadata/labels/a", "/spec/containers/0/image", "/spec/containers/-", "/metadata/finalizers/0",
        "/spec/template/spec/containers/0/ports/0/containerPort", "/metadata/managedFields", "/data/k",
    )),
)  # fmt: skip
OPERATIONS = st.sampled_from(("add", "remove", "replace", "move", "copy", "test"))
OPERATION = st.fixed_dictionaries(
    {"op": OPERATIONS | SCALARS, "path": POINTERS | SCALARS}, optional={"from": POINTERS, "value": VALUES}
)


def overlaid(base):
    """The object with a value put somewhere into it: most of it stays right, so that checks far inside are reached."""
    return st.tuples(places(base), VALUES).map(lambda chosen: placed(base, *chosen))


def places(base):
    found = []

    def walk(value, path):
        found.append(path)
        for key, each in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            walk(each, (*path, key))

    walk(base, ())
    return st.sampled_from(found)


def placed(base, path, value):
    if not path:
        return value
    copy = dict(base) if isinstance(base, dict) else list(base)
    copy[path[0]] = placed(copy[path[0]], path[1:], value)
    return copy


BASES = st.sampled_from([*OBJECTS.values(), POD, DEFINITION]).flatmap(overlaid)
DOCUMENTS = (VALUES | BASES).map(orjson.dumps)


@st.composite
def damaged(draw):
    """A body that has lost, gained or repeated some of its bytes."""
    body = orjson.dumps(draw(BASES))
    for _ in range(draw(st.integers(1, 3))):
        low, high = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
        middle = draw(
            st.sampled_from((b"", b"\xff", b"\x00", b"[", b"{", b"*a", b"&a ", b"1e999", b",", b'"', b"\xed\xa0\x80"))
        )
        body = body[:low] + (body[low:high] * 2 if draw(st.booleans()) else middle) + body[high:]
    return body


@pytest.fixture(scope="module")
def world(target):
    """The server with one object of each kind."""
    for path, obj in OBJECTS.items():
        target.create(path, obj)
    target.create("/apis/x.io/v1/namespaces/default/boats", {
        "apiVersion": "x.io/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"size": 1}
    })  # fmt: skip
    return target


def patches(media_type):
    if media_type == JSON_PATCH:
        return st.lists(OPERATION, max_size=4).map(orjson.dumps) | DOCUMENTS | damaged()
    return DOCUMENTS | damaged()


def check_patches(world, media_type, form):
    query = "?fieldManager=f&force=true" if media_type == APPLY else "?dryRun=All"

    @form
    @given(st.sampled_from((*NAMED, *SUBRESOURCES)), patches(media_type))
    def check(path, body):
        world.ask("PATCH", path + query, body, media_type)

    check()


def check_writes(world, form):
    requests = st.tuples(st.just("POST"), st.sampled_from(POSTED)) | st.tuples(
        st.sampled_from(("PUT", "DELETE")), st.sampled_from((*NAMED, *SUBRESOURCES))
    )

    @form
    @given(requests, DOCUMENTS | damaged(), st.sampled_from(("application/json", "application/yaml", "text/x", "")))
    def check(request, body, media_type):
        world.ask(request[0], f"{request[1]}?dryRun=All", body, media_type)

    check()


@pytest.mark.parametrize("media_type", [MERGE, STRATEGIC, JSON_PATCH, APPLY])
def test_no_patch_breaks_the_server(world, media_type):
    check_patches(world, media_type, SHORT)


def test_no_body_breaks_the_server(world):
    check_writes(world, SHORT)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("media_type", [MERGE, STRATEGIC, JSON_PATCH, APPLY])
def test_no_patch_breaks_the_server_however_many_there_are(world, media_type):
    check_patches(world, media_type, LONG)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_body_breaks_the_server_however_many_there_are(world):
    check_writes(world, LONG)
