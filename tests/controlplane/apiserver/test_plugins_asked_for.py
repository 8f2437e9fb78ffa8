"""What admission plugins change and refuse that are off unless they are asked for."""

import functools
import random

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.admission.configuration import read_admission
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.testing.virtual import VirtualClock, run_virtual
from tests.controlplane.apiserver.conftest import REVIEWER, Asker, Reviewing

MERGE = "application/merge-patch+json"


def started_with(*plugins, clock=None, **settings):
    """A server with these plugins on, for as long as the test wants it."""
    config = ApiServerConfig(
        enabled_admission_plugins=plugins, disabled_admission_plugins=("ServiceAccount",), **settings
    )
    return ApiServer(config, MemoryStore(), clock=clock or SystemClock(), source=random.Random(1))


def configured(**plugins):
    """The settings of an AdmissionConfiguration of these plugins."""
    listed = [{"name": name, "configuration": configuration} for name, configuration in plugins.items()]
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": listed}
    return read_admission(document, dict.get)


async def namespace(ask, name, **annotations):
    annotations = {f"scheduler.alpha.kubernetes.io/{key}": value for key, value in annotations.items()}
    await ask.create("/api/v1/namespaces", {"metadata": {"name": name, "annotations": annotations}})
    return f"/api/v1/namespaces/{name}/pods"


def pod(name="a", **spec):
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def test_a_namespace_is_made_for_what_is_created_in_it():
    async with started_with("NamespaceAutoProvision") as server:
        ask = Asker(server)
        await ask("POST", "/api/v1/namespaces/dry/configmaps?dryRun=All", {"metadata": {"name": "a"}}, status=404)
        await ask.create("/api/v1/namespaces/new/configmaps", {"metadata": {"name": "a"}})
        made = await ask("GET", "/api/v1/namespaces/new")
        assert (made["status"]["phase"], made["spec"]["finalizers"]) == ("Active", ["kubernetes"])


OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}
MAPS = "/api/v1/namespaces/default/configmaps"


async def test_owners_are_given_by_who_may_delete_and_finalize():
    async with started_with("OwnerReferencesPermissionEnforcement") as server:
        ask, jo = Asker(server), Asker(server, User("jo", groups=("system:authenticated",)))
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update", "patch", "get"]}]
        await ask.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "w"}, "rules": rules})
        binding = {
            "metadata": {"name": "w"},
            "subjects": [{"kind": "User", "name": "jo", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "w"},
        }
        await ask.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        await jo.create(MAPS, {"metadata": {"name": "free", "ownerReferences": [OWNER]}})
        await jo("PATCH", f"{MAPS}/free", {"data": {"a": "b"}}, content_type=MERGE)
        answer = await jo(
            "PATCH", f"{MAPS}/free", {"metadata": {"ownerReferences": None}}, content_type=MERGE, status=403
        )
        assert answer["message"] == (
            'configmaps "free" is forbidden: cannot set an ownerRef on a resource you can\'t delete: , <nil>'
        )
        held = {"metadata": {"name": "held", "ownerReferences": [{**OWNER, "blockOwnerDeletion": True}]}}
        answer = await jo("POST", MAPS, held, status=403)
        assert answer["message"] == (
            'configmaps "held" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you '
            "can't set finalizers on: , <nil>"
        )
        unknown = {**OWNER, "kind": "Nix", "blockOwnerDeletion": True}
        answer = await jo("POST", MAPS, {"metadata": {"name": "held", "ownerReferences": [unknown]}}, status=403)
        assert answer["message"].endswith(
            'cannot find RESTMapping for APIVersion v1 Kind Nix: no matches for kind "Nix" in version "v1"'
        )
        rules.append({"apiGroups": [""], "resources": ["configmaps/finalizers"], "verbs": ["update"]})
        await ask("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/w", {"rules": rules}, content_type=MERGE)
        await jo.create(MAPS, held)


@pytest.fixture(scope="module")
def selectors():
    return configured(
        PodNodeSelector={
            "podNodeSelectorPluginConfig": {"clusterDefaultNodeSelector": "pool=main", "narrow": "disk=ssd,pool=main"}
        }
    )


async def test_pods_get_the_node_selector_of_their_namespace(selectors):
    async with started_with("PodNodeSelector", admission=selectors) as server:
        ask = Asker(server)

        async def made(path, **spec):
            return (await ask.create(path, pod(**spec)))["spec"].get("nodeSelector")

        side = await namespace(ask, "side", **{"node-selector": "pool=side, zone=a"})
        narrow = await namespace(ask, "narrow")
        assert await made(await namespace(ask, "usual"), nodeSelector={"q": "x"}) == {"pool": "main", "q": "x"}
        assert await made(await namespace(ask, "empty", **{"node-selector": ""})) is None
        assert await made(side) == {"pool": "side", "zone": "a"}
        assert await made(narrow, nodeSelector={"disk": "ssd"}) == {"disk": "ssd", "pool": "main"}
        answer = await ask("POST", side, pod("b", nodeSelector={"pool": "x"}), status=403)
        assert answer["message"] == (
            'pods "b" is forbidden: pod node label selector conflicts with its namespace node label selector'
        )
        answer = await ask("POST", narrow, pod("b", nodeSelector={"q": "x"}), status=403)
        assert answer["message"] == (
            'pods "b" is forbidden: pod node label selector labels conflict with its namespace whitelist'
        )
        answer = await ask("POST", await namespace(ask, "odd", **{"node-selector": "pool"}), pod(), status=500)
        assert (answer["message"], answer.get("reason", "")) == ("invalid selector: [pool]", "")


TOLERATES = {"key": "ok", "operator": "Exists"}


@pytest.fixture(scope="module")
def tolerations():
    usual = {"key": "usual", "operator": "Exists"}
    every = [
        usual,
        TOLERATES,
        {"operator": "Exists", "effect": "NoExecute"},
        {"operator": "Exists", "effect": "NoSchedule"},
    ]
    return configured(
        PodTolerationRestriction={
            "apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration",
            "default": [usual], "whitelist": every,
        }
    )  # fmt: skip


async def test_pods_tolerate_what_their_namespace_adds_and_allows(tolerations):
    async with started_with("PodTolerationRestriction", admission=tolerations) as server:
        ask = Asker(server)

        async def made(path, **spec):
            found = (await ask.create(path, pod(**spec)))["spec"]["tolerations"]
            return [one["key"] for one in found if one.get("effect") != "NoExecute"]

        usual = await namespace(ask, "usual")
        own = await namespace(
            ask, "own",
            defaultTolerations='[{"key":"own","operator":"Exists"}]',
            tolerationsWhitelist='[{"key":"own","operator":"Exists"},{"operator":"Exists","effect":"NoExecute"}]',
        )  # fmt: skip
        free = await namespace(ask, "free", defaultTolerations="", tolerationsWhitelist="")
        assert await made(usual, tolerations=[TOLERATES]) == ["ok", "usual"]
        assert await made(own) == ["own"]
        assert await made(free, tolerations=[{"key": "z", "operator": "Exists"}]) == ["z"]
        busy = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]
        assert await made(free, name="busy", containers=busy) == ["node.kubernetes.io/memory-pressure"]
        for path, scope in ((usual, "cluster"), (own, "namespace")):
            answer = await ask("POST", path, pod("b", tolerations=[{"key": "no", "operator": "Exists"}]), status=500)
            assert answer["message"] == (
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its "
                f"{scope} whitelist"
            )
        more = {"spec": {"tolerations": [{"key": "no", "operator": "Exists"}]}}
        await ask("PATCH", f"{own}/a", more, content_type="application/strategic-merge-patch+json", status=500)


@pytest.mark.parametrize(("annotation", "why"), [
    ('[{"key":', "unexpected end of JSON input"),
    ("{}", "json: cannot unmarshal object into Go value of type []v1.Toleration"),
    ('["a"]', "json: cannot unmarshal string into Go value of type v1.Toleration"),
    ('[{"key":1}]', "json: cannot unmarshal number into Go struct field Toleration.key of type string"),
])  # fmt: skip
async def test_tolerations_that_cannot_be_read_let_no_pod_in(annotation, why):
    async with started_with("PodTolerationRestriction") as server:
        ask = Asker(server)
        path = await namespace(ask, "odd", defaultTolerations=annotation)
        assert (await ask("POST", path, pod(), status=500))["message"] == why


def in_virtual_time(story):
    @functools.wraps(story)
    def test():
        run_virtual(story())

    return test


def event(name, about="o"):
    subject = {"kind": "Pod", "namespace": "default", "name": about}
    return {
        "metadata": {"name": name}, "involvedObject": subject, "source": {"component": "c"}, "reason": "r", "message": "m",
        "type": "Normal",
    }  # fmt: skip


@in_virtual_time
async def test_events_are_limited_by_what_they_have_in_common():
    limits = [{"type": "Namespace", "qps": 1, "burst": 3}, {"type": "SourceAndObject", "qps": 1, "burst": 2}]
    version = {"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration"}
    settings, clock = configured(EventRateLimit={**version, "limits": limits}), VirtualClock()
    async with started_with("EventRateLimit", clock=clock, admission=settings) as server:
        ask, path = Asker(server), "/api/v1/namespaces/default/events"

        async def said(name, **about):
            return (await ask("POST", path, event(name, **about), status=429))["message"]

        await ask.create(path, event("a"))
        await ask.create(path, event("b"))
        one, other = "type SourceAndObject for key cPoddefaulto", "type Namespace for key default"
        assert await said("c") == f"Too many requests: limit reached on {one}"
        assert await said("c") == f"Too many requests: [limit reached on {other}, limit reached on {one}]"
        assert await said("d", about="p") == f"Too many requests: limit reached on {other}"
        await ask("POST", f"{path}?dryRun=All", event("e"), status=201)
        await clock.sleep(1)
        await ask.create(path, event("c"))


@pytest.mark.parametrize(("limits", "why"), [
    ([], "limits: Invalid value: null: must not be empty"),
    ([{"type": "Nix", "qps": 1, "burst": 1}], r'limits\[0\].type: Unsupported value: "Nix"'),
    ([{"type": "User", "qps": 0, "burst": 1}], r"limits\[0\].qps: Invalid value: 0: must be positive"),
])  # fmt: skip
def test_limits_that_cannot_be_are_refused(limits, why):
    version = {"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration"}
    with pytest.raises(ValueError, match=why):
        configured(EventRateLimit={**version, "limits": limits})


def judged_by(judge, clock=None, **policy):
    settings = configured(ImagePolicyWebhook={"imagePolicy": {"kubeConfigFile": REVIEWER, **policy}})
    return started_with("ImagePolicyWebhook", clock=clock, admission=settings, open_kubeconfig=judge.open)


@in_virtual_time
async def test_images_are_judged_by_the_server_outside():
    judge, clock, path = Reviewing({"allowed": True}), VirtualClock(), "/api/v1/namespaces/default/pods"
    async with judged_by(judge, clock, denyTTL=60) as server:
        ask = Asker(server)
        noted = {"metadata": {"name": "a", "annotations": {"x.image-policy.k8s.io/ticket": "7", "other": "y"}}}
        await ask.create(path, pod(initContainers=[{"name": "i", "image": "first"}]) | noted)
        assert judge.asked == [{
            "kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": {},
            "spec": {
                "containers": [{"image": "i"}, {"image": "first"}],
                "annotations": {"x.image-policy.k8s.io/ticket": "7"},
                "namespace": "default",
            },
            }]  # fmt: skip
        judge.status = {"allowed": False, "reason": "too old"}
        for _ in range(2):
            answer = await ask("POST", path, pod("b"), status=403)
            assert answer["message"] == (
                'pods "b" is forbidden: image policy webhook backend denied one or more images: too old'
            )
        assert len(judge.asked) == 2  # The answer is kept,
        await clock.sleep(61)
        judge.status = {"allowed": False}
        answer = await ask("POST", path, pod("b"), status=403)  # for so long.
        assert answer["message"].endswith("one or more images rejected by webhook backend")
        more = {"spec": {"ephemeralContainers": [{"name": "e", "image": "debug"}]}}
        strategic = "application/strategic-merge-patch+json"
        await ask("PATCH", f"{path}/a/ephemeralcontainers", more, content_type=strategic, status=403)
        assert judge.asked[-1]["spec"]["containers"] == [{"image": "debug"}]


@pytest.mark.parametrize(("policy", "status"), [({}, 403), ({"defaultAllow": True}, 201)])
async def test_without_a_judgement_the_policy_decides(policy, status):
    judge, path = Reviewing({"allowed": True}), "/api/v1/namespaces/default/pods"
    judge.code = 400
    async with judged_by(judge, **policy) as server:
        made = await Asker(server)("POST", path, pod(), status=status)
        noted = made["metadata"].get("annotations") or {}
        assert noted == ({"alpha.image-policy.k8s.io/failed-open": "true"} if policy else {})


@pytest.mark.parametrize(("policy", "why"), [
    ({}, "imagePolicy.kubeConfigFile: Required value"),
    ({"kubeConfigFile": "/a", "allowTTL": 1801}, "valid value is between 1s and 1800s, got 1801s"),
])  # fmt: skip
def test_image_policies_that_cannot_be_are_refused(policy, why):
    with pytest.raises(ValueError, match=why):
        configured(ImagePolicyWebhook={"imagePolicy": policy})
