"""Get, list, create, update, patch and delete, as upstream answers them."""

import orjson
import pytest

PODS = "/api/v1/namespaces/default/pods"


def pod(name="a", **spec):
    containers = [{"name": "main", "image": "busybox"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}


async def test_what_was_created_is_read_back(ask):
    created = await ask.create(PODS, pod())
    assert created["metadata"]["resourceVersion"]
    assert created["metadata"]["uid"]
    assert created["metadata"]["namespace"] == "default"
    assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert await ask("GET", f"{PODS}/a") == created


async def test_an_absent_object_is_not_found_in_upstreams_words(ask):
    answer = await ask("GET", f"{PODS}/nix", status=404)
    assert answer["message"] == 'pods "nix" not found'
    assert answer["details"] == {"name": "nix", "kind": "pods"}


async def test_a_name_is_taken_once(ask):
    await ask.create(PODS, pod())
    answer = await ask("POST", PODS, pod(), status=409)
    assert (answer["reason"], answer["message"]) == ("AlreadyExists", 'pods "a" already exists')


async def test_generated_names_differ(ask):
    body = pod()
    body["metadata"] = {"generateName": "web-"}
    names = {(await ask.create(PODS, body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


async def test_another_namespace_than_the_urls_is_refused(ask):
    body = pod()
    body["metadata"]["namespace"] = "other"
    answer = await ask("POST", PODS, body, status=400)
    assert answer["message"] == (
        "the namespace of the provided object does not match the namespace sent on the request"
    )


async def test_a_stale_update_conflicts(ask):
    created = await ask.create(PODS, pod())
    changed = {**created, "metadata": {**created["metadata"], "labels": {"a": "b"}}}
    updated = await ask("PUT", f"{PODS}/a", changed)
    assert updated["metadata"]["labels"] == {"a": "b"}
    answer = await ask("PUT", f"{PODS}/a", changed, status=409)
    assert answer["message"] == (
        'Operation cannot be fulfilled on pods "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_an_update_that_changes_nothing_keeps_the_version(ask):
    created = await ask.create(PODS, pod())
    assert await ask("PUT", f"{PODS}/a", created) == created


async def test_the_three_patches(ask):
    await ask.create(PODS, pod())
    merged = await ask(
        "PATCH", f"{PODS}/a", {"metadata": {"labels": {"x": "1"}}}, content_type="application/merge-patch+json"
    )
    assert merged["metadata"]["labels"] == {"x": "1"}
    patched = await ask(
        "PATCH", f"{PODS}/a", [{"op": "add", "path": "/metadata/labels/y", "value": "2"}],
        content_type="application/json-patch+json",
    )  # fmt: skip
    assert patched["metadata"]["labels"] == {"x": "1", "y": "2"}
    strategic = await ask(
        "PATCH", f"{PODS}/a", {"spec": {"containers": [{"name": "main", "image": "other"}]}},
        content_type="application/strategic-merge-patch+json",
    )  # fmt: skip
    assert [one["image"] for one in strategic["spec"]["containers"]] == ["other"]
    assert strategic["metadata"]["generation"] == patched["metadata"]["generation"] + 1


async def test_an_unknown_patch_type_is_refused(ask):
    await ask.create(PODS, pod())
    answer = await ask("PATCH", f"{PODS}/a", {}, content_type="application/x-odd", status=415)
    assert answer["reason"] == "UnsupportedMediaType"


async def test_status_changes_only_through_its_subresource(ask):
    created = await ask.create(PODS, pod())
    created["status"] = {"phase": "Running"}
    assert (await ask("PUT", f"{PODS}/a", created))["status"]["phase"] == "Pending"
    changed = await ask(
        "PATCH", f"{PODS}/a/status", {"status": {"phase": "Running"}, "spec": {"nodeName": "x"}},
        content_type="application/merge-patch+json",
    )  # fmt: skip
    assert changed["status"]["phase"] == "Running"
    assert "nodeName" not in changed["spec"]


async def test_unscheduled_pods_go_at_once_and_bound_ones_wait_for_their_kubelet(ask):
    await ask.create(PODS, pod())
    await ask("DELETE", f"{PODS}/a")
    await ask("GET", f"{PODS}/a", status=404)
    await ask.create(PODS, pod("b", nodeName="n", terminationGracePeriodSeconds=30))
    waiting = await ask("DELETE", f"{PODS}/b")
    assert waiting["metadata"]["deletionGracePeriodSeconds"] == 30
    assert await ask("GET", f"{PODS}/b") == waiting
    await ask("DELETE", f"{PODS}/b", {"gracePeriodSeconds": 0})
    await ask("GET", f"{PODS}/b", status=404)


async def test_a_finalizer_holds_the_object_until_it_is_taken_off(ask):
    maps = "/api/v1/namespaces/default/configmaps"
    await ask.create(maps, {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}})
    held = await ask("DELETE", f"{maps}/a")
    assert held["metadata"]["deletionTimestamp"]
    await ask("PATCH", f"{maps}/a", {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json")
    await ask("GET", f"{maps}/a", status=404)


async def test_preconditions_are_checked(ask):
    await ask.create(PODS, pod())
    answer = await ask("DELETE", f"{PODS}/a", {"preconditions": {"uid": "other"}}, status=409)
    assert "the UID in the precondition (other) does not match the UID in record" in answer["message"]


async def test_a_dry_run_stores_nothing(ask):
    answer = await ask.create(f"{PODS}?dryRun=All", pod())
    assert "resourceVersion" not in answer["metadata"]
    await ask("GET", f"{PODS}/a", status=404)


async def test_pages_show_one_state(ask):
    for name in "abcde":
        await ask.create(PODS, pod(name))
    first = await ask("GET", f"{PODS}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await ask("DELETE", f"{PODS}/d")
    rest = await ask("GET", f"{PODS}?limit=10&continue={first['metadata']['continue']}")
    names = [one["metadata"]["name"] for one in first["items"] + rest["items"]]
    assert names == list("abcde")
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_selectors_choose(ask):
    for name, label in (("a", "x"), ("b", "y")):
        body = pod(name)
        body["metadata"]["labels"] = {"l": label}
        await ask.create(PODS, body)
    names = [one["metadata"]["name"] for one in (await ask("GET", f"{PODS}?labelSelector=l=y"))["items"]]
    assert names == ["b"]
    answer = await ask("GET", f"{PODS}?fieldSelector=spec.nix=1", status=400)
    assert answer["reason"] == "BadRequest"


async def test_a_watch_shows_what_is_and_then_what_happens(ask):
    await ask.create(PODS, pod())
    seen = []
    async for event in ask.events(f"{PODS}?watch=true"):
        seen.append((event["type"], event["object"]["metadata"]["name"]))
        if len(seen) == 1:
            await ask.create(PODS, pod("b"))
        elif len(seen) == 2:
            await ask("DELETE", f"{PODS}/b")
        else:
            break
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "b")]


async def test_initial_events_end_with_a_bookmark(ask):
    await ask.create(PODS, pod())
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = []
    async for event in ask.events(f"{PODS}?{query}"):
        events.append(event)
        if len(events) == 2:
            break
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_version_of_the_future_times_out_as_upstream_says(ask, monkeypatch):
    monkeypatch.setattr("kobune.controlplane.apiserver.registry.reading.WAIT_FOR_REVISION_SECONDS", 0.01)
    answer = await ask("GET", f"{PODS}?resourceVersion=99999", status=504)
    assert answer["message"].startswith("Timeout: Too large resource version: 99999, current: ")
    assert answer["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge", "clients know it by this"


async def test_a_page_of_the_future_need_not_be_asked_for_again(ask, monkeypatch):
    monkeypatch.setattr("kobune.controlplane.apiserver.registry.reading.WAIT_FOR_REVISION_SECONDS", 0.01)
    again = "resourceVersion=99999", "resourceVersion=99999&resourceVersionMatch=NotOlderThan&limit=1"
    never = "resourceVersion=99999&limit=1", "resourceVersion=99999&resourceVersionMatch=Exact"
    for query, seconds in [(one, 1) for one in again] + [(one, None) for one in never]:
        details = (await ask("GET", f"{PODS}?{query}", status=504))["details"]
        assert details.get("retryAfterSeconds") == seconds, query
        assert "field" not in details["causes"][0]


async def test_a_watch_from_the_future_waits_for_it(ask):
    await ask.create(PODS, pod("a"))
    revision = int((await ask("GET", PODS))["metadata"]["resourceVersion"]) + 1
    response = await ask.raw("GET", f"{PODS}?watch=1&resourceVersion={revision}")
    assert response.status == 200
    await ask.create(PODS, pod("b"))
    await ask.create(PODS, pod("c"))
    seen = []
    async for chunk in response.body:
        seen += [orjson.loads(line)["object"]["metadata"]["name"] for line in chunk.splitlines()]
        if "c" in seen:
            break
    await response.body.aclose()
    assert seen in (["c"], ["b", "c"])  # Somebody else may have written in between.


async def test_initial_events_of_the_future_are_refused_in_the_stream(ask, monkeypatch):
    monkeypatch.setattr("kobune.controlplane.apiserver.registry.reading.WAIT_FOR_REVISION_SECONDS", 0.01)
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=99999"
    (event,) = [one async for one in ask.events(f"{PODS}?{query}")]
    assert (event["type"], event["object"]["code"]) == ("ERROR", 504)


FORBIDDEN, UNKNOWN = "FieldValueForbidden", "FieldValueNotSupported"


@pytest.mark.parametrize(("query", "reasons"), [
    pytest.param("resourceVersionMatch=Exact", [FORBIDDEN], id="match-without-version"),
    pytest.param("resourceVersionMatch=Bad&continue=x", [FORBIDDEN, FORBIDDEN, UNKNOWN], id="all-at-once"),
    pytest.param("resourceVersionMatch=Exact&resourceVersion=0", [FORBIDDEN], id="exactly-any"),
    pytest.param("sendInitialEvents=false", [FORBIDDEN], id="initial-events-of-a-list"),
    pytest.param("watch=1&resourceVersionMatch=Exact", [FORBIDDEN, UNKNOWN], id="watch-exactly"),
    pytest.param("watch=1&sendInitialEvents=true", [FORBIDDEN], id="initial-events-without-match"),
    pytest.param("watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", [FORBIDDEN, UNKNOWN], id="initial-exactly"),
    pytest.param(
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x", [FORBIDDEN], id="watch-continued"
    ),
])  # fmt: skip
async def test_options_that_contradict_each_other_are_all_told(ask, query, reasons):
    answer = await ask("GET", f"{PODS}?{query}", status=422)
    assert [one["reason"] for one in answer["details"]["causes"]] == reasons
    assert ("is invalid: [" in answer["message"]) == (len(reasons) > 1)


async def test_a_page_after_another_is_of_that_one_s_version(ask):
    await ask.create(PODS, pod("a"))
    await ask.create(PODS, pod("b"))
    token = (await ask("GET", f"{PODS}?limit=1"))["metadata"]["continue"]
    answer = await ask("GET", f"{PODS}?continue={token}&resourceVersion=5", status=400)
    assert answer["message"] == "specifying resource version is not allowed when using continue"
    assert (await ask("GET", f"{PODS}?continue={token}&resourceVersion=0"))["items"][0]["metadata"]["name"] == "b"


async def test_unknown_fields_warn_or_are_refused(ask):
    body = pod(nodeNam="x")
    response = await ask.raw("POST", PODS, body)
    assert response.status == 201
    assert response.headers["Warning"] == '299 - "unknown field \\"spec.nodeNam\\""'
    answer = await ask("POST", f"{PODS}?fieldValidation=Strict", body, status=400)
    assert answer["message"] == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.nodeNam"'
    )


@pytest.mark.parametrize(("how", "body", "problem"), [
    ("json-patch", b'[{"op": "add", "path": "/data", "valeu": {}, "value": {}}]', 'json patch unknown field "[0].valeu"'),
    ("json-patch", b'[{"op": "add", "op": "add", "path": "/data", "value": {}}]', 'json patch duplicate field "[0].op"'),
    ("merge-patch", b'{"data": {"a": "1", "a": "2"}}', 'duplicate field "data.a"'),
    ("strategic-merge-patch", b'{"data": {"a": "1", "a": "2"}}', 'duplicate field "data.a"'),
    ("merge-patch", b'{"data": {"a": "1", "a": "2"}, "dta": {}}', 'duplicate field "data.a", unknown field "dta"'),
])  # fmt: skip
async def test_field_validation_looks_at_patches_themselves_too(ask, how, body, problem):
    await ask.create(MAPS, {"metadata": {"name": "m"}})
    path, media_type = f"{MAPS}/m", f"application/{how}+json"
    answer = await ask("PATCH", f"{path}?fieldValidation=Strict", body, content_type=media_type, status=422)
    assert answer["message"].endswith(f": strict decoding error: {problem}")
    warned = await ask.raw("PATCH", path, body, content_type=media_type)
    assert problem.split(", ")[0].replace('"', '\\"') in warned.headers["Warning"]
    ignored = await ask.raw("PATCH", f"{path}?fieldValidation=Ignore", body, content_type=media_type)
    assert (ignored.status, "Warning" in ignored.headers) == (200, False)


async def test_yaml_comes_and_goes(ask):
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  a: b\n"
    await ask("POST", "/api/v1/namespaces/default/configmaps", text, content_type="application/yaml")
    response = await ask.raw("GET", "/api/v1/namespaces/default/configmaps/y", accept="application/yaml")
    assert response.content_type == "application/yaml"
    assert b"a: b" in response.body


async def test_an_unknown_path_is_a_status_when_it_looks_like_a_resource(ask):
    for path in ("/api/v1/nix", "/apis/apps/v9", "/apis/apps/v1/nix"):
        answer = await ask("GET", path, status=404)
        assert (answer["message"], answer["details"]) == ("the server could not find the requested resource", {})
    for path in ("/nix", "/apis/nix.io", "/apis/nix.io/v1", "/openapi/v4", "/healthz/nix"):
        response = await ask.raw("GET", path)
        assert (response.status, response.body) == (404, b"404 page not found\n")


MAPS = "/api/v1/namespaces/default/configmaps"
PARSE = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "
STRUCT = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'


@pytest.mark.parametrize(("method", "path", "body", "media_type", "status", "message"), [
    ("POST", MAPS, b"", "application/json", 400, f"{PARSE}unexpected end of JSON input (<empty>)"),
    ("POST", MAPS, b"{", "application/json", 400, f"{PARSE}unexpected end of JSON input ({{)"),
    ("POST", MAPS, b"\xff\xfe", "application/json", 400,
     f"{PARSE}invalid character 'ÿ' looking for beginning of value (fffe)"),
    ("POST", MAPS, b"[]", "application/json", 400,
     f"{PARSE}json: cannot unmarshal array into Go value of type {STRUCT} (5b5d)"),
    ("POST", MAPS, b"null", "application/json", 422,
     'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'),
    ("POST", MAPS, b"x", "text/plain", 415,
     "the body of the request was in an unknown format - accepted media types include: application/json, "
     "application/yaml, application/vnd.kubernetes.protobuf"),
    ("PATCH", f"{MAPS}/m", b"{}", "application/json", 415, "415: Unsupported Media Type"),
    ("PATCH", f"{MAPS}/m", b"{", "application/merge-patch+json", 400, "error decoding patch: unexpected end of JSON input"),
    ("PATCH", f"{MAPS}/m", b"null", "application/merge-patch+json", 400, "Invalid JSON Patch"),
    ("PATCH", f"{MAPS}/m", b"[]", "application/strategic-merge-patch+json", 400,
     "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ("PATCH", f"{MAPS}/m", b'{"data":1}', "application/strategic-merge-patch+json", 422,
     ' "" is invalid: patch: Invalid value: "map[data:1]": cannot restore map from int64'),
    ("PATCH", f"{MAPS}/m", b'{"metadata":{"labels":["b",null,true]}}', "application/strategic-merge-patch+json", 422,
     ' "" is invalid: patch: Invalid value: "map[metadata:map[labels:[b <nil> true]]]": cannot restore map from slice'),
    ("PATCH", f"{MAPS}/m?fieldManager=f", b"a: b", "application/apply-patch+yaml", 400, "invalid object type: /, Kind="),
    ("POST", MAPS, b'{"kind":"Pod","apiVersion":"v1"}', "application/json", 400,
     'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion'),
    ("POST", MAPS, b'{"kind":"ConfigMap","apiVersion":"v2"}', "application/json", 400,
     'ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" '
     'in scheme "pkg/api/legacyscheme/scheme.go:30"'),
    ("FOO", f"{MAPS}/m", b"", "", 405, "the server does not allow this method on the requested resource"),
    ("DELETE", f"{MAPS}/m", b"{", "application/json", 400,
     "couldn't get version/kind; json parse error: unexpected end of JSON input"),
    ("DELETE", f"{MAPS}/m", b"[]", "application/json", 400,
     f"couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type {STRUCT}"),
    ("DELETE", f"{MAPS}/m", b'{"gracePeriodSeconds":"a"}', "application/json", 400,
     "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"),
    ("DELETE", f"{MAPS}/m", b'{"dryRun":["x"]}', "application/json", 422,
     'DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["x"]: supported values: "All"'),
    ("DELETE", f"{MAPS}/m", b'{"propagationPolicy":"Foo"}', "application/json", 422,
     'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: '
     '"Foreground", "Background", "Orphan", "nil"'),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", b"{}", "application/json", 400,
     "token is required for TokenReview in authentication"),
])  # fmt: skip
async def test_refusals_have_upstreams_words(ask, method, path, body, media_type, status, message):
    await ask.create(MAPS, {"metadata": {"name": "m"}})
    answer = await ask(method, path, body, status=status, content_type=media_type)
    assert answer["message"] == message


@pytest.mark.parametrize(("path", "expected"), [
    ("/api/v1/nix", True), ("/api/v1/nodes/none", True), (f"{MAPS}?limit=x", False), (f"{MAPS}?resourceVersionMatch=x", True),
])  # fmt: skip
async def test_details_are_there_for_what_always_has_them(ask, path, expected):
    assert ("details" in orjson.loads((await ask.raw("GET", path)).body)) is expected


async def test_a_form_that_nobody_has_is_not_acceptable(ask):
    answer = orjson.loads((await ask.raw("GET", MAPS, accept="text/html")).body)
    assert (answer["code"], answer["details"]) == (406, {})
    assert answer["message"].startswith("406: Not Acceptable\n\nAvailable representations: application/json")


async def test_components_say_how_they_are(ask):
    path = "/api/v1/componentstatuses"
    ask.server.companions.add("scheduler")
    for name in ("etcd-0", "scheduler"):
        (condition,) = (await ask("GET", f"{path}/{name}"))["conditions"]
        assert condition == {"type": "Healthy", "status": "True", "message": "ok"}
    names = [one["metadata"]["name"] for one in (await ask("GET", path))["items"]]
    assert names == ["controller-manager", "etcd-0", "scheduler"]
    assert (await ask("GET", f"{path}/none", status=404))["message"] == 'componentstatus "none" not found'


async def test_each_member_of_the_store_has_a_status(ask, monkeypatch):
    async def members():
        return ["", "no leader", ""]

    monkeypatch.setattr(ask.server.store, "members", members)
    items = (await ask("GET", "/api/v1/componentstatuses"))["items"]
    told = {
        one["metadata"]["name"]: one["conditions"][0] for one in items if one["metadata"]["name"].startswith("etcd")
    }
    assert [(name, one["status"], one["message"]) for name, one in told.items()] == [
        ("etcd-0", "True", "ok"), ("etcd-1", "False", "no leader"), ("etcd-2", "True", "ok"),
    ]  # fmt: skip


async def test_malformed_bodies_are_refused(ask):
    for body in (b"{", b"[]", b'"x"', b'{"kind":"Pod","spec":{"containers":"x"}}', b"\xff"):
        assert (await ask("POST", PODS, body, status=400))["reason"] == "BadRequest"


async def test_a_body_of_another_kind_is_refused(ask):
    answer = await ask("POST", PODS, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}, status=400)
    assert "cannot be handled as a Pod" in answer["message"]
    answer = await ask("POST", PODS, {"apiVersion": "v2", "kind": "Pod", "metadata": {"name": "a"}}, status=400)
    assert answer["message"].startswith(
        'Pod in version "v2" cannot be handled as a Pod: no kind "Pod" is registered for'
    )


async def test_deleting_a_collection_deletes_what_the_selector_chooses(ask):
    for name in "abc":
        await ask.create(PODS, pod(name))
    await ask("DELETE", f"{PODS}?fieldSelector=metadata.name!=b")
    assert [one["metadata"]["name"] for one in (await ask("GET", PODS))["items"]] == ["b"]


async def test_a_secrets_plain_text_becomes_data(ask):
    path = "/api/v1/namespaces/default/secrets"
    body = {"metadata": {"name": "s"}, "data": {"a": "eA=="}, "stringData": {"b": "y"}}
    created = await ask.create(path, body)
    assert created["data"] == {"a": "eA==", "b": "eQ=="}
    assert "stringData" not in created
    merged = await ask("PATCH", f"{path}/s", {"stringData": {"a": "z"}}, content_type="application/merge-patch+json")
    assert merged["data"] == {"a": "eg==", "b": "eQ=="}


async def test_a_namespace_with_a_generated_name_is_labelled_with_it(ask):
    created = await ask.create("/api/v1/namespaces", {"metadata": {"generateName": "x-"}})
    assert created["metadata"]["labels"]["kubernetes.io/metadata.name"] == created["metadata"]["name"]


async def test_a_patch_that_makes_no_object_of_the_kind_is_invalid(ask):
    path = "/api/v1/namespaces/default/configmaps"
    await ask.create(path, {"metadata": {"name": "typed"}})
    for body, media_type in (
        ({"data": {"a": 1}}, "application/merge-patch+json"),
        ([{"op": "add", "path": "/data", "value": {"a": 1}}], "application/json-patch+json"),
    ):
        answer = await ask("PATCH", f"{path}/typed", body, content_type=media_type, status=422)
        (cause,) = answer["details"]["causes"]
        assert cause["field"] == "patch"
        assert cause["message"].endswith(
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        )
    applied = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "typed"}}
    media_type = "application/apply-patch+yaml"
    answer = await ask("PATCH", f"{path}/typed?fieldManager=f", applied, content_type=media_type, status=400)
    assert answer["message"] == "invalid object type: /v1, Kind=Secret"


async def test_a_list_that_took_too_long_can_go_on_as_things_are_now(ask):
    """Source: upstream's conformance test of lists in chunks."""
    for name in "abcde":
        await ask.create(PODS, pod(name))
    first = await ask("GET", f"{PODS}?limit=2")
    await ask("DELETE", f"{PODS}/c?gracePeriodSeconds=0")
    store = ask.server.registry.feed.store
    ask.server.registry.open_cache(ask.server.registry.builtin("", "v1", "Pod"))._pins.clear()
    await store.compact(ask.server.registry.feed.revision)
    path = f"{PODS}?limit=1&continue="
    refused = await ask("GET", path + first["metadata"]["continue"], status=410)
    assert refused["reason"] == "Expired"
    second = await ask("GET", path + refused["metadata"]["continue"])
    assert [one["metadata"]["name"] for one in second["items"]] == ["d"]
    assert second["metadata"]["remainingItemCount"] == 1


async def test_a_patch_touches_only_what_its_way_of_writing_reaches(ask):
    """Neither what it does not name nor, by either way, the other half of the object."""
    made = await ask.create(PODS, pod("a"))
    for how in ("merge", "strategic-merge"):
        media_type = f"application/{how}-patch+json"
        status = {"metadata": {"uid": made["metadata"]["uid"]}, "status": {"phase": "Running", "message": how}}
        reported = await ask("PATCH", f"{PODS}/a/status", status, content_type=media_type)
        assert reported["spec"] == made["spec"]
        assert reported["status"]["qosClass"] == made["status"]["qosClass"]
        assert reported["status"]["message"] == how
        both = {"spec": {"activeDeadlineSeconds": 9}, "status": {"message": "no"}}
        changed = await ask("PATCH", f"{PODS}/a", both, content_type=media_type)
        assert changed["spec"]["activeDeadlineSeconds"] == 9
        assert changed["status"]["message"] == how
        unnamed = {"metadata": {"labels": {"how": how}}}
        changed = await ask("PATCH", f"{PODS}/a", unnamed, content_type=media_type)
        assert changed["status"] == {**reported["status"]}
        refused = {"spec": {"containers": "none"}, "status": {"phase": "Failed"}}
        await ask("PATCH", f"{PODS}/a/status", refused, content_type=media_type, status=422)
        made = changed


async def test_what_a_patched_status_is_given_by_default_may_depend_on_the_spec(ask):
    services = "/api/v1/namespaces/default/services"
    await ask.create(services, {"metadata": {"name": "a"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}})
    patch = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    answer = await ask(
        "PATCH", f"{services}/a/status", patch, content_type="application/merge-patch+json"
    )  # fmt: skip
    assert answer["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
