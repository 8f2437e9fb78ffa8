"""Extenders over HTTP. Source: Kubernetes documentation, Scheduler Configuration (extenders); upstream extender.go."""

import base64
import random
import ssl

import aiohttp
import numpy as np
import orjson
import pytest
from aiohttp import web

from kobune.client.client import Client
from kobune.client.transport import Answer
from kobune.controlplane.scheduler.after_filters import after_filters
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.configuration_file import read_configuration
from kobune.controlplane.scheduler.diagnosis import Diagnosis
from kobune.controlplane.scheduler.extended_choice import choose_with_extenders
from kobune.controlplane.scheduler.extended_eviction import ask_about_evictions
from kobune.controlplane.scheduler.extender import Extender, ExtenderConfiguration, ExtenderError, bound_by_extender
from kobune.controlplane.scheduler.extender_tls import TlsOptions, context, read_tls
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.profiles import build_profile


class Service:
    """An extender that a test tells what to answer, and that remembers what it was asked."""

    def __init__(self):
        self.answers, self.asked, self.status = {}, [], 200

    async def handle(self, request):
        self.asked.append((request.match_info["verb"], orjson.loads(await request.read())))
        answer = self.answers[request.match_info["verb"]]
        return web.Response(body=orjson.dumps(answer), status=self.status, content_type="application/json")


class Api:
    """The two requests of an API server that an extender's arguments take."""

    async def request(self, method, path, **_):
        body = {"kind": "NodeList", "items": [{"metadata": {"name": name}} for name in "abc"]}
        if path != "/api/v1/nodes":
            body = {"kind": "Pod", "metadata": {"name": path.rsplit("/", 1)[1]}}
        return Answer(200, orjson.dumps(body), {})


@pytest.fixture
async def service():
    service, app = Service(), web.Application()
    app.router.add_post("/{verb}", service.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield service
    await runner.cleanup()


@pytest.fixture
async def extender(service):
    async with aiohttp.ClientSession() as session:

        def make(**fields):
            return Extender(ExtenderConfiguration(service.url, **fields), session, Client(Api()))

        yield make


async def choose(build, *extenders, pod=None):
    table = build.table(*(build.node(name) for name in "abc"))
    profile = build_profile(ProfileConfiguration(), Listers()).profile
    pod = pod or build.info(name="web")
    choice = await choose_with_extenders(
        pod, table, profile, table.exists[table.rows].copy(), extenders, random.Random(1)
    )
    return choice if isinstance(choice, Diagnosis) else table.names[choice]


async def test_an_extender_narrows_the_nodes(build, service, extender):
    service.answers["filter"] = {"Nodes": {"items": [{"metadata": {"name": "b"}}]}, "FailedNodes": {"a": "no"}}
    assert await choose(build, extender(filter_verb="filter")) == "b"
    verb, args = service.asked[0]
    assert (verb, args["Pod"]["metadata"]["name"], args["NodeNames"]) == ("filter", "web", None)
    assert [item["metadata"]["name"] for item in args["Nodes"]["items"]] == ["a", "b", "c"]


async def test_one_that_knows_the_nodes_is_sent_their_names(build, service, extender):
    service.answers["filter"] = {"nodeNames": ["c"]}
    assert await choose(build, extender(filter_verb="filter", node_cache_capable=True)) == "c"
    assert sorted(service.asked[0][1]["NodeNames"]) == ["a", "b", "c"]


async def test_its_points_are_weighted_and_added(build, service, extender):
    service.answers["rate"] = [{"Host": "a", "Score": 1}, {"Host": "c", "Score": 9}]
    assert await choose(build, extender(prioritize_verb="rate", weight=3)) == "c"


async def test_what_it_says_against_nodes_is_in_the_message(build, service, extender):
    service.answers["filter"] = {
        "NodeNames": [], "FailedNodes": {"a": "too hot", "b": "too hot"}, "FailedAndUnresolvableNodes": {"c": "too cold"},
    }  # fmt: skip
    diagnosis = await choose(build, extender(filter_verb="filter", node_cache_capable=True))
    assert diagnosis.message() == "0/3 nodes are available: 1 too cold, 2 too hot."
    assert diagnosis.plugins == {"Extender"}


@pytest.mark.parametrize("ignorable", [False, True])
async def test_one_that_fails_keeps_pods_waiting_unless_it_may_be_ignored(build, service, extender, ignorable):
    service.answers["filter"], service.status = {}, 500
    failing = extender(filter_verb="filter", ignorable=ignorable)
    if ignorable:
        assert await choose(build, failing) in "abc"
    else:
        with pytest.raises(ExtenderError, match=r"failed filter with extender at URL .*, code 500"):
            await choose(build, failing)


async def test_a_node_that_was_not_asked_about_is_an_error(build, service, extender):
    service.answers["filter"] = {"NodeNames": ["z"]}
    with pytest.raises(ExtenderError, match='claims a filtered node "z" which is not found in the input node list'):
        await choose(build, extender(filter_verb="filter", node_cache_capable=True))


async def test_it_is_asked_only_about_pods_that_want_its_resources(build, service, extender):
    narrow = extender(filter_verb="filter", managed_resources=frozenset({"example.com/fpga"}))
    assert await choose(build, narrow) in "abc"
    assert service.asked == []
    assert narrow.is_interested(build.info(requests={"example.com/fpga": "1"}))


async def test_it_binds_when_it_says_so(build, service, extender):
    service.answers["bind"] = {"Error": ""}
    binder, pod = extender(bind_verb="bind"), build.info(name="web")
    await binder.bind(pod, "a")
    assert service.asked == [("bind", {"PodName": "web", "PodNamespace": "default", "PodUID": pod.uid, "Node": "a"})]
    service.answers["bind"] = {"Error": "not today"}
    with pytest.raises(ExtenderError, match="not today"):
        await binder.bind(pod, "a")


def crowded(build):
    """Two nodes, full of pods of lower priority, and what making room there comes to for a pod of higher."""
    table = build.table(build.node("a", cpu="1"), build.node("b", cpu="1"))
    for name in "ab":
        for number in (1, 2):
            table.add_pod(build.info(name=f"{name}{number}", requests={"cpu": "500m"}, priority=number), name)
    pod = build.info(name="vip", requests={"cpu": "500m"}, priority=9)
    running = build_profile(ProfileConfiguration(), Listers())
    diagnosis = running.profile.diagnose(pod, table, Nominations())
    return pod, table, after_filters(pod, table, Nominations(), running, diagnosis, [], random.Random(1))


def uid_of(table, node, name):
    return next(pod.uid for pod in table.pods[table.row_of[node]].values() if pod.name == name)


@pytest.mark.parametrize("knows_nodes", [False, True])
async def test_it_narrows_where_pods_are_evicted_and_chooses_others(build, service, extender, knows_nodes):
    pod, table, outcome = crowded(build)
    mine = uid_of(table, "b", "b2")
    service.answers["preempt"] = {"nodeNameToMetaVictims": {"b": {"pods": [{"uid": mine}], "numPDBViolations": 1}}}
    asked = extender(preempt_verb="preempt", node_cache_capable=knows_nodes)
    answer = await ask_about_evictions(outcome, pod, table, [asked])
    assert (answer.room.node_name, answer.nominated, answer.room.violations) == ("b", "b", 1)
    assert [victim.uid for victim in answer.room.victims] == [mine]
    args = service.asked[0][1]
    if knows_nodes:
        assert args["NodeNameToVictims"] is None
        expected = {"Pods": [{"UID": uid_of(table, "a", "a1")}], "NumPDBViolations": 0}
        assert args["NodeNameToMetaVictims"]["a"] == expected
    else:
        assert args["NodeNameToMetaVictims"] is None
        assert args["NodeNameToVictims"]["a"]["Pods"][0]["metadata"]["name"] == "a1"


@pytest.mark.parametrize("answer, text", [
    pytest.param({}, "preemption: no candidate node for preemption", id="no-node"),
    pytest.param({"a": {"Pods": []}}, 'preemption: expected at least one victim pod on node "a"', id="no-victim"),
    pytest.param({"z": {}}, 'preemption: nodeinfo not found for node name "z"', id="strange-node"),
])  # fmt: skip
async def test_nobody_is_evicted_when_it_says_no_or_nonsense(build, service, extender, answer, text):
    pod, table, outcome = crowded(build)
    service.answers["preempt"] = {"NodeNameToMetaVictims": answer}
    after = await ask_about_evictions(outcome, pod, table, [extender(preempt_verb="preempt")])
    assert (after.room, after.nominated, after.diagnosis.afterwards) == (None, None, text)


async def test_one_that_may_be_ignored_does_not_stop_evictions(build, service, extender):
    pod, table, outcome = crowded(build)
    service.answers["preempt"], service.status = {}, 500
    asked = extender(preempt_verb="preempt", ignorable=True)
    assert (await ask_about_evictions(outcome, pod, table, [asked])).room == outcome.room


async def test_what_an_extender_refused_may_be_helped_by_evictions(build, service, extender):
    service.answers["filter"] = {
        "NodeNames": [], "FailedNodes": {"a": "full"}, "FailedAndUnresolvableNodes": {"b": "bad", "c": "bad"},
    }  # fmt: skip
    diagnosis = await choose(build, extender(filter_verb="filter", node_cache_capable=True))
    assert diagnosis.resolvable.tolist() == [True, False, False]


async def test_a_binder_that_may_be_ignored_leaves_the_binding_to_the_scheduler(build, service, extender):
    service.answers["bind"], service.status = {}, 500
    pod = build.info(name="web")
    assert not await bound_by_extender([extender(bind_verb="bind", ignorable=True)], pod, "a")
    with pytest.raises(ExtenderError):
        await bound_by_extender([extender(bind_verb="bind")], pod, "a")
    service.answers["bind"], service.status = {"Error": ""}, 200
    assert await bound_by_extender([extender(bind_verb="bind")], pod, "a")


async def test_the_node_kept_for_the_pod_comes_first_without_points(build, service, extender):
    service.answers |= {"filter": {"NodeNames": ["b"]}, "rate": []}
    pod = build.info(name="web", status={"nominatedNodeName": "b"})
    asked = extender(filter_verb="filter", prioritize_verb="rate", node_cache_capable=True)
    assert await choose(build, asked, pod=pod) == "b"
    assert [(verb, args["NodeNames"]) for verb, args in service.asked] == [("filter", ["b"])]


def test_tls_is_as_the_configuration_says(tmp_path):
    assert read_tls(None, https=False) is None
    assert read_tls(None, https=True).insecure
    data = base64.b64encode(b"PEM").decode()
    options = read_tls({"serverName": "other", "certData": data, "keyFile": "k", "caData": data}, https=True)
    assert options == TlsOptions(server_name="other", cert_data=b"PEM", key_file="k", ca_data=b"PEM")
    assert context(TlsOptions(insecure=True)).verify_mode == ssl.CERT_NONE
    assert context(TlsOptions()).verify_mode == ssl.CERT_REQUIRED
    with pytest.raises(ssl.SSLError):
        context(TlsOptions(cert_data=b"no certificate"))


def test_extenders_are_read_whole():
    document = {
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "extenders": [{
            "urlPrefix": "https://x", "preemptVerb": "p", "bindVerb": "b", "ignorable": True, "httpTimeout": "1m30s",
            "nodeCacheCapable": True, "tlsConfig": {"caFile": "ca.pem"},
        }],
    }  # fmt: skip
    assert read_configuration(document).extenders == (
        ExtenderConfiguration(
            "https://x", preempt_verb="p", bind_verb="b", node_cache_capable=True, ignorable=True,
            timeout_seconds=90.0, tls=TlsOptions(ca_file="ca.pem"),
        ),
    )  # fmt: skip


def test_resources_that_an_extender_counts_are_left_to_it(build):
    document = {
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "extenders": [{
            "urlPrefix": "http://x", "filterVerb": "f", "httpTimeout": "250ms",
            "managedResources": [{"name": "example.com/fpga", "ignoredByScheduler": True}],
        }],
    }  # fmt: skip
    config = read_configuration(document)
    assert config.extenders[0].timeout_seconds == 0.25
    profile = build_profile(config.profiles[0], Listers()).profile
    fit = next(plugin for plugin in profile.filters if plugin.name == "NodeResourcesFit")
    table = build.table(build.node("a"))
    assert np.all(fit.filter(build.info(requests={"example.com/fpga": "1"}), table, table.rows))
