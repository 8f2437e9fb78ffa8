"""Stories of the controllers, told in numbered steps: each folder of `controllers` is one, each file a step.

The cluster is whole but for containers: API server, scheduler, controllers and simulated nodes, in virtual time. How the
steps are written is told in docs/controllers.md.
"""

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kobune.aks.clusters import Cluster, NodePool, check_cluster
from kobune.aks.nodes import node_shapes
from kobune.aks.versions import DEFAULT_VERSION
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE
from kobune.api.catalogue import KINDS
from kobune.api.errors import ApiError, NotFound
from kobune.api.timestamps import format_time
from kobune.client.client import Client
from kobune.client.transport import Answer
from kobune.controlplane.apiserver.config import ApiServerConfig, ServiceAccountKeys
from kobune.controlplane.apiserver.request import MASTER, User
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.controllers.manager import ControllerManager
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.control_plane import CONTROLLER_MANAGER, Parts, control_plane
from kobune.host.local import LocalTransport
from kobune.host.pki import Authority, new_signing_key
from kobune.host.simulation import Wanted
from kobune.testing.virtual import START, VirtualClock, run_virtual

STORIES = sorted(path for path in (Path(__file__).parent / "controllers").iterdir() if path.is_dir())
CONTROLLERS = "*,bootstrap-signer-controller,token-cleaner-controller"  # Those too that are off by default.
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.5
POD_USE = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/"


@pytest.fixture(scope="module")
def settings():
    authority = Authority.create("story", START).credential
    return Settings(
        root_ca=authority.certificate,
        signing_certificate=authority.certificate,
        signing_key=authority.key,
        service_account_key=new_signing_key(),
        load_balancer_range="192.0.2.0/28",
        offload=at_once,
    )


async def at_once(work, *arguments):
    """Virtual time would not wait for a thread."""
    return work(*arguments)


@pytest.mark.parametrize("folder", STORIES, ids=lambda folder: folder.name)
def test_story(folder, settings, tmp_path):
    run_virtual(tell(folder, replace(settings, local_volumes=tmp_path)))


async def tell(folder, settings):
    async with world(folder, settings) as story:
        for path in sorted(folder.glob("[0-9]*.yaml")):
            story.step = path.name
            verb = path.stem.partition("-")[2].partition("-")[0]
            documents = list(yaml.load_all(path.read_text(), StoryLoader))
            if verb in WHOLE_FILE:
                await WHOLE_FILE[verb](story, documents)
            else:
                for document in documents:
                    await STEPS[verb](story, document)


@asynccontextmanager
async def world(folder, settings):
    """A cluster of two nodes; `cluster.yaml` in the folder may name the nodes of each zone instead."""
    clock = VirtualClock()
    described = folder / "cluster.yaml"
    nodes = Nodes(yaml.safe_load(described.read_text()) if described.exists() else {"": ["node-0", "node-1"]})
    key = load_pem_private_key(settings.service_account_key, password=None)
    config = ApiServerConfig(
        disabled_admission_plugins=("ServiceAccount",),  # A new namespace's first pod need not wait for its account.
        service_account_keys=ServiceAccountKeys(key),
        client_ca=settings.root_ca,
    )
    parts = Parts(controllers="", simulated=nodes.wanted(), settings=settings)
    async with (
        control_plane(config, MemoryStore(), parts, clock=clock, seed=1) as server,
        asyncio.TaskGroup() as tasks,
    ):
        transport = WithMetrics(server, clock)
        manager = ControllerManager(
            Client(transport), clock=clock, rng=random.Random(2), controllers=CONTROLLERS, settings=settings
        )
        managing = tasks.create_task(manager.run())
        story = Story(server, clock, nodes, transport.figures, tasks)
        await clock.sleep(30)
        yield story
        managing.cancel()
        story.let_go()


class Nodes:
    """The simulated nodes, whose kubelets may fall silent and come back."""

    def __init__(self, zones):
        names = [(name, zone) for zone, names in zones.items() for name in names]
        pool = NodePool("simulated", len(names), DEFAULT_VM_SIZE, 110, simulated=True)
        shapes = node_shapes(check_cluster(Cluster("story", DEFAULT_VERSION, (pool,))))
        self.shapes = {}
        for shape, (name, zone) in zip(shapes, names, strict=True):
            labels = shape.labels | {"kubernetes.io/hostname": name}
            if zone:
                labels |= {"topology.kubernetes.io/region": "here", "topology.kubernetes.io/zone": zone}
            self.shapes[name] = replace(shape, name=name, labels=labels)
        self.born = dict.fromkeys(self.shapes, 0.0)
        self.changed = asyncio.Event()

    async def wanted(self):
        while True:
            self.changed.clear()
            yield Wanted(dict(self.born), self.shapes.__getitem__)
            await self.changed.wait()


class WithMetrics(LocalTransport):
    """The controllers' way to the API server, where the figures that the story gives stand for metrics adapters."""

    def __init__(self, server, clock):
        super().__init__(server, CONTROLLER_MANAGER)
        self.clock = clock
        self.figures = {}  # As the step `metrics` gives them.

    async def request(self, method, path, **rest):
        if path == POD_USE and "pods" in self.figures:
            return self.items([self.use_of(pod) for pod in await self.pods(rest["query"])])
        if path.startswith(EXTERNAL):
            values = self.figures.get("external", {}).get(path.removeprefix(EXTERNAL), [])
            return self.items([{"value": str(value)} for value in values])
        if path.startswith(CUSTOM):
            which = path.removeprefix(CUSTOM)
            value = str(self.figures["custom"][which])
            names = [which.split("/")[1]]
            if names == ["*"]:
                names = [pod["metadata"]["name"] for pod in await self.pods(rest["query"])]
            now = format_time(self.clock.now())
            return self.items([{"describedObject": {"name": name}, "timestamp": now, "value": value} for name in names])
        answer = await super().request(method, path, **rest)
        if path == "/apis" and "custom" in self.figures:
            groups = orjson.loads(answer.body)
            metric = {"resource": "pods/any", "scope": "Namespaced", "responseKind": {"kind": "MetricValueList"}}
            versions = [{"version": "v1beta2", "resources": [metric]}]
            groups["items"].append({"metadata": {"name": "custom.metrics.k8s.io"}, "versions": versions})
            return Answer(200, orjson.dumps(groups), answer.headers)
        return answer

    async def pods(self, query):
        chosen = {"labelSelector": query["labelSelector"]}
        answer = await super().request("GET", "/api/v1/namespaces/default/pods", query=chosen)
        return orjson.loads(answer.body)["items"]

    def use_of(self, pod):
        use = [{"name": each["name"], "usage": self.figures["pods"]} for each in pod["spec"]["containers"]]
        now = format_time(self.clock.now())
        return {"metadata": pod["metadata"], "timestamp": now, "window": "10s", "containers": use}

    def items(self, items):
        return Answer(200, orjson.dumps({"items": items}), {})


@dataclass
class Story:
    """A cluster, and what is watched there from a step on."""

    server: object
    clock: VirtualClock
    nodes: Nodes
    figures: dict
    tasks: asyncio.TaskGroup
    watching: asyncio.Task | None = None
    step: str = ""

    def client(self, document):
        """Of whoever the document lets act; it is the administrator where it says nothing."""
        user = document.pop("as", None)
        return Client(LocalTransport(self.server, User(user["user"], groups=user["groups"]) if user else MASTER))

    async def url(self, document, *, named=True):
        group, _, version = document["apiVersion"].rpartition("/")
        name, meta = document["kind"], document.get("metadata", {})
        subresource = document.pop("subresource", "")
        if name == "Eviction":
            return f"/api/v1/namespaces/{meta.get('namespace', 'default')}/pods/{meta['name']}/eviction"
        kind = next((each for each in KINDS if (each.group, each.version, each.name) == (group, version, name)), None)
        if kind is not None:
            namespace = meta.get("namespace", "default") if kind.namespaced else ""
            return kind.resource.path(namespace, meta.get("name", "") if named else "", subresource)
        # A custom kind, in a namespace.
        answer = orjson.loads(await Client(LocalTransport(self.server, MASTER)).call("GET", f"/apis/{group}/{version}"))
        plural = next(each["name"] for each in answer["resources"] if each["kind"] == name)
        path = f"/apis/{group}/{version}/namespaces/{meta.get('namespace', 'default')}/{plural}"
        return "/".join([path, *([meta["name"]] if named else []), *([subresource] if subresource else [])])

    def let_go(self):
        if self.watching is not None:
            self.watching.cancel()
            self.watching = None

    async def lacks(self, document):
        """What an `expect` document asks for and the cluster does not have."""
        client = Client(LocalTransport(self.server, MASTER))
        if "count" in document:
            namespace = {"metadata": {"namespace": document.get("namespace", "default")}}
            path = await self.url({**document, **namespace}, named=False)
            query = {"labelSelector": document["labels"]} if "labels" in document else {}
            items = orjson.loads(await client.call("GET", path, query=query))["items"]
            alike = [each for each in items if not list(differences(document.get("like", {}), each, ""))]
            names = [each["metadata"]["name"] for each in alike]
            return [f"{problem}: {names}" for problem in differences(document["count"], len(alike), document["kind"])]
        try:
            return list(differences(document, orjson.loads(await client.call("GET", await self.url(document))), ""))
        except NotFound as error:
            return [str(error)]


async def create(story, document):
    client = story.client(document)
    await client.call("POST", await story.url(document, named=False), body=orjson.dumps(document))


async def patch(story, document):
    client, parts = story.client(document), set(document) - {"apiVersion", "kind", "metadata", "subresource", "as"}
    if parts == {"status"}:
        document.setdefault("subresource", "status")
    url = await story.url(document)
    body = orjson.dumps({key: value for key, value in document.items() if key not in ("apiVersion", "kind")})
    await client.call("PATCH", url, body=body, content_type="application/merge-patch+json")


async def delete(story, document):
    client, options = story.client(document), document.pop("options", {})
    body = orjson.dumps({"apiVersion": "v1", "kind": "DeleteOptions", **options})
    await client.call("DELETE", await story.url(document), body=body)


async def refused(story, document):
    """The document's one other key is a step that the API server answers with an error."""
    error = document.pop("error")
    [(verb, body)] = document.items()
    with pytest.raises(ApiError) as answer:
        await STEPS[verb](story, body)
    assert error in str(answer.value), f"{story.step}: {answer.value}"


async def wait(story, document):
    await story.clock.sleep(document["seconds"])


async def expect(story, document):
    deadline = story.clock.monotonic() + PATIENCE_SECONDS
    while missing := await story.lacks(dict(document)):
        assert story.clock.monotonic() < deadline, f"{story.step}: {missing}"
        await story.clock.sleep(LOOK_SECONDS)


async def absent(story, document):
    deadline = story.clock.monotonic() + PATIENCE_SECONDS
    client, url = story.client(document), await story.url(document)
    while True:
        try:
            await client.call("GET", url)
        except NotFound:
            return
        assert story.clock.monotonic() < deadline, f"{story.step}: {document['kind']} {url} is still there"
        await story.clock.sleep(LOOK_SECONDS)


async def nodes(story, document):
    for name in document.get("lose", ()):
        del story.nodes.born[name]
    for name in document.get("join", ()):
        story.nodes.born[name] = story.clock.monotonic()
    story.nodes.changed.set()


async def metrics(story, document):
    story.figures.clear()
    story.figures.update(document)


async def always(story, documents):
    """From this step to the next of its kind; nothing in it ends it."""
    story.let_go()
    if documents != [None]:
        story.watching = story.tasks.create_task(hold(story, documents, story.step))
        await story.clock.sleep(0)


async def hold(story, documents, step):
    while True:
        for document in documents:
            lacks = await story.lacks(dict(document))
            assert not lacks, f"{step}, while at {story.step}: {lacks}"
        await story.clock.sleep(LOOK_SECONDS)


async def keep(story, documents):
    """For so many seconds."""
    seconds, *rest = documents
    deadline = story.clock.monotonic() + seconds["seconds"]
    while story.clock.monotonic() < deadline:
        for document in rest:
            lacks = await story.lacks(dict(document))
            assert not lacks, f"{story.step}: {lacks}"
        await story.clock.sleep(1)


STEPS = {each.__name__: each for each in (create, patch, delete, refused, wait, expect, absent, nodes, metrics)}
WHOLE_FILE = {"always": always, "keep": keep}


@dataclass(frozen=True)
class Bound:
    """A number that need not be exact: `!least 2`, `!most 4`. `!any` is any value at all."""

    least: float = float("-inf")
    most: float = float("inf")


class StoryLoader(yaml.SafeLoader):
    """YAML with bounds."""


StoryLoader.add_constructor("!least", lambda loader, node: Bound(least=float(node.value)))
StoryLoader.add_constructor("!most", lambda loader, node: Bound(most=float(node.value)))
StoryLoader.add_constructor("!any", lambda loader, node: ...)


def differences(wanted, found, path):
    """Where `found` lacks what is wanted. Entries of lists are found by what they hold; null: the field is not there."""
    if wanted is ...:
        return
    if isinstance(wanted, Bound):
        if not wanted.least <= found <= wanted.most:
            yield f"{path} is {found!r}"
    elif isinstance(wanted, dict):
        if not isinstance(found, dict):
            yield f"{path} is {found!r}"
            return
        for key, value in wanted.items():
            if value is None:
                if key in found:
                    yield f"{path}.{key} is {found[key]!r}"
            elif key not in found:
                yield f"{path}.{key} is missing"
            else:
                yield from differences(value, found[key], f"{path}.{key}")
    elif isinstance(wanted, list):
        for number, value in enumerate(wanted):
            if not isinstance(found, list) or all(any(differences(value, each, "")) for each in found):
                yield f"{path}[{number}] is in none of {found!r}"
    elif wanted != found:
        yield f"{path} is {found!r}"
