"""Pods like those before: what is remembered of these must never show."""

import asyncio
from typing import Any

import orjson
import pytest

from kobune.controlplane.apiserver.admission.chain import Admission
from kobune.controlplane.apiserver.request import MASTER, User
from tests.controlplane.apiserver.conftest import Asker

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


SPECS = [PLAIN, MOUNTED, {"containers": [{"name": "a", "image": "b"}]}]
MANY = 6  # The last of them need not go the long way.
ENOUGH = 4  # So many that the next one need not: three, and one at which a new server reads what there is.


def followed(ask: Any) -> list[Any]:
    """The patterns that the server follows."""
    return [pattern for pattern in ask.server.registry.patterns.all() if pattern.proven and pattern.holds]


async def repeat(ask: Any, spec: dict[str, Any], **metadata: Any) -> None:
    """Have pods made until the server follows a pattern."""
    before = len(followed(ask))
    for index in range(ENOUGH):
        await ask.create(PODS, pod(f"before-{index}", spec, **metadata))
    assert len(followed(ask)) == before + 1


@pytest.mark.parametrize("spec", SPECS)
async def test_every_pod_of_a_template_is_as_the_first(ask: Any, spec: dict[str, Any]) -> None:
    labels = {"app": "web"}
    made = [await ask.create(PODS, pod(f"same-{index}", spec, labels=labels)) for index in range(MANY)]
    assert len(followed(ask)) == 1
    assert len({one["metadata"]["uid"] for one in made}) == MANY
    assert [one["metadata"]["name"] for one in made] == [f"same-{index}" for index in range(MANY)]
    for one in made[1:]:
        assert common(one) == common(made[0])
        assert list(one["metadata"]) == list(made[0]["metadata"])
        assert one == await ask("GET", f"{PODS}/{one['metadata']['name']}")


@pytest.mark.parametrize("spec", SPECS)
async def test_names_are_generated_for_every_pod_of_a_template(ask: Any, spec: dict[str, Any]) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": True}
    body = {"metadata": {"generateName": "web-", "ownerReferences": [owner]}, "spec": spec}
    made = [await ask.create(PODS, body) for _ in range(MANY)]
    assert len(followed(ask)) == 1
    assert len({one["metadata"]["name"] for one in made}) == MANY
    for one in made:
        assert common(one) == common(made[0])
        assert one["metadata"]["name"].startswith("web-")
        volumes = [volume["name"] for volume in one["spec"].get("volumes", ())]
        mounts = [mount["name"] for mount in one["spec"]["containers"][0].get("volumeMounts", ())]
        assert set(mounts) == set(volumes)
    tokens = {volume["name"] for one in made for volume in one["spec"].get("volumes", ()) if "projected" in volume}
    assert len(tokens) in (0, MANY)


async def test_pods_of_a_template_are_selected_and_watched_as_ever(ask: Any) -> None:
    made = [await ask.create(PODS, pod(f"same-{index}", PLAIN, labels={"app": "web"})) for index in range(MANY)]
    chosen = await ask(
        "GET", f"{PODS}?labelSelector=app%3Dweb&fieldSelector=metadata.name%3Dsame-5".replace("%3D", "=")
    )
    assert [one["metadata"]["name"] for one in chosen["items"]] == ["same-5"]
    events = ask.events(f"{PODS}?watch=1&resourceVersion={made[0]['metadata']['resourceVersion']}")
    seen = [(await anext(events))["object"] for _ in made[1:]]
    assert seen == made[1:]
    await events.aclose()


async def test_times_are_those_of_each_pod(ask: Any) -> None:
    made = []
    for index in range(MANY):
        made.append(await ask.create(PODS, pod(f"same-{index}", PLAIN)))
        if index == ENOUGH - 1:
            await asyncio.sleep(1.1)  # Times are told in seconds.
    for one in made:
        assert one["metadata"]["managedFields"][0]["time"] == one["metadata"]["creationTimestamp"]
    assert made[ENOUGH - 1]["metadata"]["creationTimestamp"] < made[ENOUGH]["metadata"]["creationTimestamp"]


async def test_a_name_that_is_taken_or_wrong_is_refused_as_ever(ask: Any) -> None:
    await repeat(ask, PLAIN)
    refused = await ask("POST", PODS, pod("before-1", PLAIN), status=409)
    assert (refused["reason"], refused["message"]) == ("AlreadyExists", 'pods "before-1" already exists')
    for name in ("Bad_Name", "a" * 254, "-", "a\u00e9"):
        assert (await ask("POST", PODS, pod(name, PLAIN), status=422))["reason"] == "Invalid"


async def test_a_name_that_stands_elsewhere_too_is_not_taken_for_that(ask: Any) -> None:
    for index in range(MANY):
        labels = {"app": "web", "of": f"web-{index}"}
        made = await ask.create(PODS, pod(f"web-{index}", PLAIN, labels=labels))
        assert (made["metadata"]["name"], made["metadata"]["labels"]) == (f"web-{index}", labels)
    escaped = orjson.dumps(pod("NAME", PLAIN, labels={"a": "plain"})).replace(b"NAME", b"pl\\u0061in")
    for _ in range(MANY):
        made = await ask("POST", PODS, escaped, status=201)
        assert (made["metadata"]["name"], made["metadata"]["labels"]) == ("plain", {"a": "plain"})
        await ask("DELETE", f"{PODS}/plain?gracePeriodSeconds=0")


async def test_who_asks_and_how_is_part_of_the_likeness(ask: Any) -> None:
    await repeat(ask, PLAIN)
    other = Asker(ask.server, User("admin", groups=("system:masters",)))
    named = await other.raw("POST", f"{PODS}?fieldManager=someone", pod("managed", PLAIN))
    assert orjson.loads(named.body)["metadata"]["managedFields"][0]["manager"] == "someone"
    agent = await ask.raw("POST", PODS, pod("by-agent", PLAIN), **{"user-agent": "robot/1.0"})
    assert orjson.loads(agent.body)["metadata"]["managedFields"][0]["manager"] == "robot"
    elsewhere = pod("elsewhere", PLAIN, namespace="kube-system")
    assert (await ask("POST", PODS, elsewhere, status=400))["reason"] == "BadRequest"
    node = Asker(ask.server, User(MASTER.name, groups=("system:masters", "system:nodes")))
    assert "could not determine node" in (await node("POST", PODS, pod("by-node", PLAIN), status=403))["message"]


async def test_a_dry_run_stores_nothing(ask: Any) -> None:
    await repeat(ask, PLAIN)
    await ask("POST", f"{PODS}?dryRun=All", pod("dry", PLAIN), status=201)
    assert (await ask("GET", f"{PODS}/dry", status=404))["reason"] == "NotFound"


LIMITS = {"limits": [{"type": "Container", "max": {"memory": "512Mi"}}]}
WEBHOOK = {"name": "a.b.c", "clientConfig": {"url": "https://127.0.0.1:9/"}, "sideEffects": "None",
           "admissionReviewVersions": ["v1"],
           "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}  # fmt: skip
MATCH = {"resourceRules": WEBHOOK["rules"]}
POLICY = {"matchConstraints": MATCH, "validations": [{"expression": "object.metadata.name != 'next'"}]}
BINDING = {"policyName": "one", "validationActions": ["Deny"]}
ADMISSION, NAMESPACE = "/apis/admissionregistration.k8s.io/v1", "/api/v1/namespaces/default"
# What is put beside the pods, and how the next one is refused.
REFUSING = {
    "LimitRange": ([(f"{NAMESPACE}/limitranges", {"spec": LIMITS})], "maximum memory usage per Container is 512Mi"),
    "webhook": (
        [(f"{ADMISSION}/validatingwebhookconfigurations", {"webhooks": [WEBHOOK]})], "failed calling webhook",
    ),
    "policy": (
        [
            (f"{ADMISSION}/validatingadmissionpolicies", {"spec": POLICY}),
            (f"{ADMISSION}/validatingadmissionpolicybindings", {"spec": BINDING}),
        ],
        "failed expression: object.metadata.name != 'next'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSING)
async def test_what_comes_to_refuse_pods_also_refuses_those_like_others_before(ask: Any, what: str) -> None:
    await repeat(ask, PLAIN)
    puts, words = REFUSING[what]
    for path, obj in puts:
        await ask.create(path, {"metadata": {"name": "one"}, **obj})
    answer = await ask.raw("POST", PODS, pod("next", PLAIN))
    assert answer.status >= 400
    assert words in orjson.loads(answer.body)["message"]


async def test_a_quota_counts_every_pod(ask: Any) -> None:
    await repeat(ask, PLAIN)
    quotas, hard = f"{NAMESPACE}/resourcequotas", {"pods": "10"}
    quota = await ask.create(quotas, {"metadata": {"name": "one"}, "spec": {"hard": hard}})
    used = {"pods": str(ENOUGH)}  # As the controller counts.
    await ask("PUT", f"{quotas}/one/status", {**quota, "status": {"hard": hard, "used": used}})
    answers = [(await ask.raw("POST", PODS, pod(f"pod-{index}", PLAIN))).status for index in range(8)]
    assert answers == [201] * 6 + [403] * 2
    assert followed(ask) == []


async def test_a_namespace_that_ends_or_asks_for_more_security_takes_no_more_of_them(ask: Any) -> None:
    space = "/api/v1/namespaces/team"
    await ask.create("/api/v1/namespaces", {"metadata": {"name": "team"}})
    await ask.create(f"{space}/serviceaccounts", {"metadata": {"name": "default"}})
    for index in range(ENOUGH):
        await ask.create(f"{space}/pods", pod(f"pod-{index}", PLAIN))
    assert len(followed(ask)) == 1
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await ask("PATCH", space, {"metadata": {"labels": labels}}, content_type="application/merge-patch+json")
    refused = await ask("POST", f"{space}/pods", pod("next", PLAIN), status=403)
    assert 'violates PodSecurity "restricted:latest"' in refused["message"]
    await ask("PATCH", space, {"metadata": {"labels": None}}, content_type="application/merge-patch+json")
    for index in range(ENOUGH):
        await ask.create(f"{space}/pods", pod(f"again-{index}", PLAIN))
    await ask("DELETE", space)
    refused = await ask("POST", f"{space}/pods", pod("late", PLAIN), status=403)
    assert "because it is being terminated" in refused["message"]


async def test_accounts_and_classes_that_change_show_in_the_next_pod(ask: Any) -> None:
    await repeat(ask, MOUNTED)
    account = f"{NAMESPACE}/serviceaccounts/default"
    change = {"imagePullSecrets": [{"name": "key"}], "automountServiceAccountToken": False}
    await ask("PATCH", account, change, content_type="application/merge-patch+json")
    made = await ask.create(PODS, pod("with-key", MOUNTED))
    assert made["spec"]["imagePullSecrets"] == [{"name": "key"}]
    assert [volume["name"] for volume in made["spec"]["volumes"]] == ["work"]
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await ask.create(classes, {"metadata": {"name": "high"}, "value": 7, "globalDefault": True})
    made = await ask.create(PODS, pod("high", MOUNTED))
    assert (made["spec"]["priority"], made["spec"]["priorityClassName"]) == (7, "high")


async def test_pods_that_come_at_once_are_each_their_own(ask: Any) -> None:
    first = await ask.create(PODS, pod("first", MOUNTED))
    made = await asyncio.gather(*(ask.create(PODS, pod(f"pod-{index}", MOUNTED)) for index in range(30)))
    made += await asyncio.gather(*(ask.create(PODS, pod(f"later-{index}", MOUNTED)) for index in range(30)))
    assert len({one["metadata"]["uid"] for one in made}) == 60
    assert all(common(one) == common(first) for one in made)
    assert len(followed(ask)) == 1


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


async def test_what_a_plugin_cannot_vouch_for_is_never_followed(ask: Any) -> None:
    class Naming:
        """Writes each pod's name into it."""

        name, operations, resources = "Naming", ("CREATE",), ("pods",)

        def admit(self, attributes: Any) -> None:
            attributes.object["metadata"]["annotations"] = {"mine": attributes.object["metadata"]["name"]}

        def validate(self, attributes: Any) -> None:
            return None

    class Vouching(Naming):
        """The same, but says that nothing more than the request matters."""

        def rests_on(self, attributes: Any) -> tuple[()]:
            return ()

    for plugin in (Naming(), Vouching()):
        ask.server.registry.admission = Admission([*ask.server.registry.admission.plugins, plugin])
        for index in range(MANY):
            name = f"{type(plugin).__name__.lower()}-{index}"
            made = await ask.create(PODS, pod(name, PLAIN))
            assert made["metadata"]["annotations"] == {"mine": name}
        assert followed(ask) == []


async def test_what_comes_once_is_not_kept(ask: Any) -> None:
    for index in range(200):
        await ask.create(PODS, pod(f"pod-{index}", {"containers": [{"name": "a", "image": f"image-{index}"}]}))
    assert list(ask.server.registry.patterns.all()) == []
