"""MutatingAdmissionPolicies. Source: Kubernetes documentation, Mutating Admission Policy."""

import pytest

from kobune.api.cel.mutations import with_maps

ROOT = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"


def policy(*mutations, name="p", resources=("configmaps",), groups=("",), **more):
    rule = {
        "apiGroups": [*groups],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [*resources],
    }
    spec = {
        "matchConstraints": {"resourceRules": [rule]}, "mutations": list(mutations), "reinvocationPolicy": "Never", **more,
    }  # fmt: skip
    return {"metadata": {"name": name}, "spec": spec}


def apply(expression):
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patch(expression):
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


@pytest.fixture
def bind(ask):
    async def make(one, **more):
        await ask.create(f"{ROOT}/mutatingadmissionpolicies", one)
        name = one["metadata"]["name"]
        await ask.create(
            f"{ROOT}/mutatingadmissionpolicybindings",
            {"metadata": {"name": name}, "spec": {"policyName": name, **more}},
        )

    return make


def config_map(name="one", **data):
    return {"metadata": {"name": name}, "data": data}


async def test_an_apply_configuration_is_merged_into_the_object(ask, bind):
    await bind(policy(apply('Object{data: {"b": object.data.a + "!"}, metadata: Object.metadata{labels: {"x": "y"}}}')))
    made = await ask.create(MAPS, config_map(a="1"))
    assert made["data"] == {"a": "1", "b": "1!"}
    assert made["metadata"]["labels"] == {"x": "y"}


async def test_lists_are_merged_by_their_keys(ask, bind):
    expression = """Object{spec: Object.spec{initContainers: [
        Object.spec.initContainers{name: "mesh", image: "mesh:1", restartPolicy: "Always"}]}}"""
    await bind(policy(apply(expression), resources=("pods",)))
    spec = {
        "containers": [{"name": "main", "image": "busybox"}], "initContainers": [{"name": "first", "image": "busybox"}],
    }  # fmt: skip
    made = await ask.create("/api/v1/namespaces/default/pods", {"metadata": {"name": "a"}, "spec": spec})
    assert [one["name"] for one in made["spec"]["initContainers"]] == ["first", "mesh"]
    assert made["spec"]["initContainers"][1]["terminationMessagePath"] == "/dev/termination-log", "defaults follow"


async def test_what_can_only_be_replaced_whole_cannot_be_applied(ask, bind):
    expression = 'Object{spec: Object.spec{containers: [Object.spec.containers{name: "main", args: ["x"]}]}}'
    await bind(policy(apply(expression), resources=("pods",)))
    spec = {"containers": [{"name": "main", "image": "busybox"}]}
    answer = await ask("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "a"}, "spec": spec}, status=403)
    assert (
        "policy 'p' with binding 'p' denied request: error applying patch: invalid ApplyConfiguration: "
        in (answer["message"])
    )
    assert "may not mutate atomic arrays, maps or structs" in answer["message"]


async def test_a_json_patch_is_made_by_the_expression(ask, bind):
    expression = """[
        JSONPatch{op: "test", path: "/data/a", value: "1"},
        JSONPatch{op: "add", path: "/data/" + jsonpatch.escapeKey("b"), value: request.userInfo.username}]"""
    await bind(policy(patch(expression)))
    assert (await ask.create(MAPS, config_map(a="1")))["data"] == {"a": "1", "b": "system:apiserver"}
    assert (await ask.create(MAPS, config_map("two", a="2")))["data"] == {"a": "2"}, "a failed test changes nothing"


async def test_parameters_variables_and_conditions_are_seen(ask, bind):
    await ask.create(MAPS, config_map("settings", tier="gold"))
    await bind(
        policy(
            apply('Object{data: {"tier": variables.tier}}'),
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            variables=[{"name": "tier", "expression": "params.data.tier"}],
            matchConditions=[{"name": "wanted", "expression": "object.metadata.name.startsWith('w')"}],
        ),
        paramRef={"name": "settings", "parameterNotFoundAction": "Deny"},
    )
    assert (await ask.create(MAPS, config_map("with", a="1")))["data"] == {"a": "1", "tier": "gold"}
    assert (await ask.create(MAPS, config_map("out", a="1")))["data"] == {"a": "1"}


@pytest.mark.parametrize(("failure", "status"), [("Fail", 403), ("Ignore", 201)])
async def test_a_failure_counts_unless_the_policy_says_otherwise(ask, bind, failure, status):
    await bind(policy(apply('Object{data: {"b": object.data.nix}}'), failurePolicy=failure))
    await ask("POST", MAPS, config_map(a="1"), status=status)


async def test_a_refusal_is_in_upstreams_words(ask, bind):
    await bind(policy(apply("Object{data: {'b': object.data.nix}}")))
    answer = await ask("POST", MAPS, config_map(a="1"), status=403)
    assert answer["message"] == (
        "policy 'p' with binding 'p' denied request: "
        "expression 'Object{data: {'b': object.data.nix}}' resulted in error: no such key: nix"
    )
    assert (answer["reason"], answer["details"]["name"]) == ("Forbidden", "one")


async def test_an_expression_that_does_not_compile_is_refused(ask):
    answer = await ask("POST", f"{ROOT}/mutatingadmissionpolicies", policy(patch("nix(")), status=422)
    (cause,) = answer["details"]["causes"]
    assert cause["field"] == "spec.mutations[0].jsonPatch.expression"
    assert cause["message"].startswith('Invalid value: "nix(": compilation failed: ERROR: <input>:1:5: Syntax error')


@pytest.mark.parametrize(("mutation", "message"), [
    (apply('{"a": 1}'), 'Invalid value: "{\\"a\\": 1}": must evaluate to Object but got map(string, int)'),
    (patch("object.a"), 'Invalid value: "object.a": must evaluate to list(JSONPatch) but got dyn'),
    (apply(" Foo{}"), "Invalid value: \"Foo{}\": compilation failed: ERROR: <input>:1:4: undeclared reference to 'Foo' "
     "(in container '')\n | Foo{}\n | ...^"),
])  # fmt: skip
async def test_an_expression_of_another_type_is_refused(ask, mutation, message):
    answer = await ask("POST", f"{ROOT}/mutatingadmissionpolicies", policy(mutation), status=422)
    assert [cause["message"] for cause in answer["details"]["causes"]] == [message]


async def test_a_policy_looks_again_when_a_later_one_has_changed_the_object(ask, bind):
    count = 'Object{data: {"n": string(object.data.size())}}'
    await bind(policy(apply(count), name="a", reinvocationPolicy="IfNeeded"))
    await bind(policy(apply('Object{data: {"late": "x"}}'), name="b"))
    assert (await ask.create(MAPS, config_map(a="1")))["data"] == {"a": "1", "n": "3", "late": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Object{}", "{}"),
        ("Object{ spec : Object.spec{a: x ? b : c, d: {e: f}} }", '{ "spec" : {"a": x ? b : c, "d": {e: f}} }'),
        ('"Object{a: 1}" + x', '"Object{a: 1}" + x'),
        ("[JSONPatch{op: 'add', path: '/a,b: c'}]", "[{\"op\": 'add', \"path\": '/a,b: c'}]"),
        ("object.list.map(x, Object.y{z: f(x, 1)})", 'object.list.map(x, {"z": f(x, 1)})'),
        ("Object{?a: optional.none()}", '{?"a": optional.none()}'),
    ],
)
def test_object_types_become_maps(text, expected):
    assert with_maps(text) == expected
