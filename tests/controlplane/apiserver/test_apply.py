"""Server-side apply and managed fields, through the API."""

import orjson
import pytest

MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = "application/apply-patch+yaml"


def config(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


@pytest.fixture
def apply(ask):
    async def apply_as(manager, obj, *, status=0, force=False, path=f"{MAPS}/a"):
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        return await ask("PATCH", path + query, orjson.dumps(obj), content_type=APPLY, status=status)

    return apply_as


async def test_an_apply_creates_what_is_not_there(apply):
    created = await apply("alice", config(k="v"), status=201)
    assert created["data"] == {"k": "v"}
    entry = created["metadata"]["managedFields"][0]
    assert (entry["manager"], entry["operation"]) == ("alice", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:k": {}}}


async def test_applying_the_same_again_writes_nothing(apply):
    first = await apply("alice", config(k="v"))
    assert await apply("alice", config(k="v")) == first


async def test_an_apply_takes_back_what_it_no_longer_says(apply):
    await apply("alice", config(k="v", old="x"))
    assert (await apply("alice", config(k="v")))["data"] == {"k": "v"}


async def test_two_appliers_conflict_unless_forced(apply):
    await apply("alice", config(k="v"))
    answer = await apply("bob", config(k="w"), status=409)
    assert answer["message"] == 'Apply failed with 1 conflict: conflict with "alice": .data.k'
    assert answer["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    assert (await apply("bob", config(k="w"), force=True))["data"] == {"k": "w"}


async def test_every_writer_is_kept_account_of(ask, apply):
    created = await ask("POST", f"{MAPS}?fieldManager=kubectl-create", config(k="v"), status=201)
    (entry,) = created["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("kubectl-create", "Update", "v1")
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:k": {}}}
    answer = await apply("alice", config(k="w"), status=409)
    assert 'conflict with "kubectl-create" using v1: .data.k' in answer["message"]


async def test_a_writer_without_a_name_is_called_as_its_program(ask):
    agent = {"user-agent": "kubectl/v1.36.0 (linux/amd64)"}
    created = orjson.loads((await ask.raw("POST", MAPS, config(k="v"), **agent)).body)
    assert [entry["manager"] for entry in created["metadata"]["managedFields"]] == ["kubectl"]
    unknown = await ask.create(MAPS, {**config(k="v"), "metadata": {"name": "b"}})
    assert [entry["manager"] for entry in unknown["metadata"]["managedFields"]] == ["unknown"]


async def test_an_account_is_kept_by_whom_it_does_not_concern_and_forgotten_on_request(ask):
    created = await ask.create(MAPS, config(k="v"))
    same = await ask("PUT", f"{MAPS}/a", {**config(k="v")})
    assert same["metadata"] == created["metadata"]
    patch = {"metadata": {"managedFields": [{}]}}
    forgotten = await ask("PATCH", f"{MAPS}/a", patch, content_type="application/merge-patch+json")
    assert "managedFields" not in forgotten["metadata"]
    changed = await ask("PUT", f"{MAPS}/a", config(k="w"))
    assert "managedFields" not in changed["metadata"]


async def test_each_subresource_has_an_account_of_its_own(ask):
    pods = "/api/v1/namespaces/default/pods"
    await ask.create(pods, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    patch = {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}}
    query = "?fieldManager=kubelet"
    got = await ask("PATCH", f"{pods}/a/status{query}", patch, content_type="application/merge-patch+json")
    (entry,) = (one for one in got["metadata"]["managedFields"] if one.get("subresource") == "status")
    assert entry["manager"] == "kubelet"
    assert entry["fieldsV1"] == {"f:status": {"f:phase": {}}}


async def test_an_apply_needs_a_manager(ask):
    answer = await ask("PATCH", f"{MAPS}/a", orjson.dumps(config()), content_type=APPLY, status=422)
    assert "fieldManager: Required value: is required for apply patch" in answer["message"]


async def test_what_is_applied_is_defaulted_but_defaults_have_no_manager(apply):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec}
    path = "/apis/apps/v1/namespaces/default/deployments/a"
    created = await apply("alice", deployment, path=path)
    assert created["spec"]["replicas"] == 1
    assert "f:replicas" not in created["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    again = await apply("alice", deployment, path=path)
    assert again["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_a_status_is_applied_through_its_subresource(ask, apply):
    pods = "/api/v1/namespaces/default/pods"
    spec = {"containers": [{"name": "c", "image": "i"}]}
    await ask.create(pods, {"metadata": {"name": "a"}, "spec": spec})
    status = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {"message": "hello"}}
    changed = await apply("probe", status, path=f"{pods}/a/status", force=True)
    assert changed["status"]["message"] == "hello"
    assert changed["status"]["phase"] == "Pending"
    mine = next(one for one in changed["metadata"]["managedFields"] if one["manager"] == "probe")
    assert (mine["subresource"], mine["fieldsV1"]) == ("status", {"f:status": {"f:message": {}}})


async def test_a_field_that_no_schema_has_can_be_managed_by_nobody(ask, apply):
    """Source: upstream's conformance test of field validation."""
    answer = await apply("alice", config(k="v") | {"unknown": 1}, status=400)
    assert answer["message"] == (
        "failed to create typed patch object (default/a; v1, Kind=ConfigMap): .unknown: field not declared in schema"
    )
    await ask("GET", f"{MAPS}/a", status=404)


TWICE = b"""
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
data:
  k: one
  k: two
"""


async def test_a_key_given_twice_is_told_with_its_line(ask):
    path = f"{MAPS}/a?fieldManager=alice&fieldValidation="
    answer = await ask("PATCH", f"{path}Strict", TWICE, content_type=APPLY, status=400)
    assert answer["message"] == (
        'error strict decoding YAML: yaml: unmarshal errors:\n  line 8: key "k" already set in map'
    )
    warned = await ask.raw("PATCH", f"{path}Warn", TWICE, content_type=APPLY)
    assert (warned.status, "line 8" in warned.headers["Warning"]) == (201, True)
    assert (await ask("PATCH", f"{path}Ignore", TWICE, content_type=APPLY))["data"] == {"k": "two"}


async def test_a_scale_is_applied_to_what_it_scales(ask, apply):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = "/apis/apps/v1/namespaces/default/deployments"
    await ask.create(path, {"metadata": {"name": "a"}, "spec": spec})
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 3}}
    answer = await apply("scaler", scale, path=f"{path}/a/scale", status=409)
    assert answer["message"].endswith('conflict with "unknown" using apps/v1: .spec.replicas')
    assert (await apply("scaler", scale, path=f"{path}/a/scale", force=True))["spec"] == {"replicas": 3}
    entry = (await ask("GET", f"{path}/a"))["metadata"]["managedFields"][0]
    assert (entry["manager"], entry["operation"], entry["subresource"]) == ("scaler", "Apply", "scale")
    assert entry["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


async def test_a_daemon_set_counts_the_changes_of_its_template(ask):
    path, count = "/apis/apps/v1/namespaces/default/daemonsets", "deprecated.daemonset.template.generation"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = await ask.create(
        path, {"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    )
    assert made["metadata"]["annotations"] == {count: "1"}
    del made["metadata"]["annotations"]
    made["spec"]["minReadySeconds"] = 5
    assert (await ask("PUT", f"{path}/a", made))["metadata"]["annotations"] == {count: "1"}
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}}
    patched = await ask("PATCH", f"{path}/a", patch, content_type="application/strategic-merge-patch+json")
    assert patched["metadata"]["annotations"] == {count: "2"}
