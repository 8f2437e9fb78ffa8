"""Pods whose specs came before: what is remembered of these must never show."""

from typing import Any

import orjson
import pytest

PODS = "/api/v1/namespaces/default/pods"
OWN = ("name", "uid", "creationTimestamp", "resourceVersion", "managedFields")
PLAIN: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "containers": [
        {
            "name": "main",
            "image": "busybox",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
            "ports": [{"containerPort": 80}],
            "resources": {"requests": {"cpu": "0.5"}, "limits": {"memory": "1024Mi"}},
            "args": [],
            "livenessProbe": {"httpGet": {"port": 80}},
        }
    ],
    "nodeSelector": {"disk": "fast"},
    "priorityClassName": None,
    "tolerations": [{"key": "a", "operator": "Exists"}],
}
MOUNTED: dict[str, Any] = {
    "containers": [{"name": "main", "image": "busybox", "volumeMounts": [{"name": "work", "mountPath": "/work"}]}],
    "volumes": [{"name": "work", "emptyDir": {"sizeLimit": "1024Mi"}}],
}
CLAIM = {"metadata": {}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}


def pod(name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def common(made: dict[str, Any]) -> dict[str, Any]:
    """A pod without what each has for itself: its names and times, and the random end of its token's volume."""
    account = [{**entry, "time": ""} for entry in made["metadata"].get("managedFields", ())]
    metadata = {name: value for name, value in made["metadata"].items() if name not in OWN}
    text = orjson.dumps({**made, "metadata": metadata, "account": account}).decode()
    for volume in made["spec"].get("volumes", ()):
        if volume["name"].startswith("kube-api-access-"):
            text = text.replace(volume["name"], "kube-api-access")
    found: dict[str, Any] = orjson.loads(text)
    return found


@pytest.mark.parametrize("spec", [PLAIN, MOUNTED, {"containers": [{"name": "a", "image": "b"}]}])
async def test_every_pod_of_a_template_is_as_the_first(ask: Any, spec: dict[str, Any]) -> None:
    labels = {"app": "web"}
    made = [await ask.create(PODS, pod(f"same-{index}", spec, labels=labels)) for index in range(5)]
    assert len({one["metadata"]["uid"] for one in made}) == 5
    assert [one["metadata"]["name"] for one in made] == [f"same-{index}" for index in range(5)]
    for one in made[1:]:
        assert common(one) == common(made[0])


async def test_what_a_pod_says_beside_its_spec_is_its_own(ask: Any) -> None:
    for index in range(3):
        await ask.create(PODS, pod(f"plain-{index}", PLAIN))
    labelled = await ask.create(PODS, pod("labelled", PLAIN, labels={"b": "1"}, annotations={"c": "2"}))
    assert (labelled["metadata"]["labels"], labelled["metadata"]["annotations"]) == ({"b": "1"}, {"c": "2"})
    (entry,) = labelled["metadata"]["managedFields"]
    assert {"f:labels", "f:annotations"} <= entry["fieldsV1"]["f:metadata"].keys()
    assert (await ask("GET", f"{PODS}/plain-2"))["metadata"]["managedFields"][0]["fieldsV1"].keys() == {"f:spec"}


async def test_complaints_are_repeated_for_every_pod(ask: Any) -> None:
    odd = {**PLAIN, "colour": "red"}
    for index in range(4):
        answer = await ask.raw("POST", PODS, pod(f"odd-{index}", odd))
        assert answer.status == 201
        assert 'unknown field \\"spec.colour\\"' in answer.headers["Warning"]
    for index in range(3):
        await ask.create(f"{PODS}?fieldValidation=Ignore", pod(f"ignored-{index}", odd))
    refused = await ask("POST", f"{PODS}?fieldValidation=Strict", pod("strict", odd), status=400)
    assert 'strict decoding error: unknown field "spec.colour"' in refused["message"]


async def test_faults_beside_a_known_spec_are_told_as_ever(ask: Any) -> None:
    for index in range(4):
        await ask.create(PODS, pod(f"good-{index}", PLAIN))
    refused = await ask("POST", PODS, pod("Bad_Name", PLAIN), status=422)
    assert "metadata.name" in refused["message"]
    refused = await ask("POST", PODS, pod("wrong", PLAIN, labels=["a"]), status=400)
    assert "cannot unmarshal array into Go struct field" in refused["message"]
    answer = await ask.raw("POST", PODS, pod("warned", PLAIN, colour="red"))
    assert 'unknown field \\"metadata.colour\\"' in answer.headers["Warning"]
    body = orjson.dumps(pod("twice", PLAIN)).replace(b'"kind":"Pod"', b'"kind":"Pod","kind":"Pod"')
    assert 'duplicate field \\"kind\\"' in (await ask.raw("POST", PODS, body)).headers["Warning"]
    spec = orjson.dumps(PLAIN)
    body = b'{"metadata":{"name":"two-specs"},"spec":%b,"spec":%b}' % (spec, spec)
    assert 'duplicate field \\"spec\\"' in (await ask.raw("POST", PODS, body)).headers["Warning"]
    refused = await ask("POST", PODS, orjson.dumps(pod("cut", PLAIN))[:-1], status=400)
    assert "json parse error" in refused["message"]


async def test_what_depends_on_the_pod_around_a_known_spec_is_judged_each_time(ask: Any) -> None:
    spec = {**MOUNTED, "volumes": [{"name": "work", "ephemeral": {"volumeClaimTemplate": CLAIM}}]}
    for index in range(4):
        await ask.create(PODS, pod(f"own-claim-{index}", spec))
    refused = await ask("POST", PODS, pod("x" * 250, spec), status=422)
    assert "spec.volumes[0].name" in refused["message"]


async def test_what_admission_makes_of_a_known_spec_is_judged_anew(ask: Any) -> None:
    for index in range(4):
        await ask.create(PODS, pod(f"before-{index}", PLAIN))
    limit = {"type": "Container", "defaultRequest": {"memory": "512Mi"}}
    path = "/api/v1/namespaces/default/limitranges"
    await ask.create(path, {"metadata": {"name": "more"}, "spec": {"limits": [limit]}})
    after = await ask.create(PODS, pod("after", {**PLAIN}))
    assert after["spec"]["containers"][0]["resources"]["requests"]["memory"] == "1Gi"
    bare = {"containers": [{"name": "a", "image": "b", "resources": {"limits": {"memory": "1Mi"}}}]}
    for index in range(3):
        await ask.create(PODS, pod(f"bare-{index}", bare))
    late = {"containers": [{"name": "a", "image": "b"}]}
    made = [await ask.create(PODS, pod(f"late-{index}", late)) for index in range(3)]
    assert made[2]["spec"]["containers"][0]["resources"] == {"requests": {"memory": "512Mi"}}
    await ask("DELETE", f"{path}/more")
    plain = await ask.create(PODS, pod("late-3", late))
    assert plain["spec"]["containers"][0]["resources"] == {}


async def test_pods_in_other_forms_are_read_as_ever(ask: Any) -> None:
    for index in range(3):
        await ask.create(PODS, pod(f"json-{index}", PLAIN))
    text = orjson.dumps(pod("yaml", PLAIN))
    made = await ask("POST", PODS, text, content_type="application/yaml", status=201)
    assert common(made) == common(await ask("GET", f"{PODS}/json-2"))


async def test_a_spec_is_known_from_the_third_time_on(ask: Any) -> None:
    registry, kind = ask.server.registry, ask.server.registry.builtin("", "v1", "Pod")
    body = orjson.dumps(pod("next", PLAIN))
    spec = registry.specs.spec_in(body)
    known = []
    for index in range(3):
        known.append(registry.specs.recall(body, spec, kind, registry.schema(kind), "Warn") is not None)
        await ask.create(PODS, pod(f"pod-{index}", PLAIN))
    assert known == [False, False, True]


async def test_specs_that_come_once_are_not_kept(ask: Any) -> None:
    registry, kind = ask.server.registry, ask.server.registry.builtin("", "v1", "Pod")
    for _ in range(2):
        for index in range(300):
            spec = {"containers": [{"name": "a", "image": f"image-{index}"}]}
            registry.specs.remember(orjson.dumps(spec), {"spec": spec}, registry.schema(kind), "Warn")
    assert registry.specs.count == 0
