"""Stories of the controllers, told in numbered steps: each folder of `controllers` is one, each file a step.

The cluster is whole but for containers: API server, scheduler, controllers and two simulated nodes, in virtual time. What a
step does is the first word of its name: `create`, `patch` (merged into what is there) and `delete` take manifests,
`wait` takes `seconds`, `expect` takes what objects must come to hold within two minutes, and `absent` what must be gone.
"""

from pathlib import Path

import orjson
import pytest
import yaml

from kobune.aks.clusters import Cluster, NodePool, check_cluster
from kobune.aks.nodes import node_shapes
from kobune.aks.versions import DEFAULT_VERSION
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE
from kobune.api.catalogue import KINDS
from kobune.api.errors import NotFound
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.control_plane import Parts, control_plane
from kobune.host.local import LocalTransport
from kobune.host.simulation import always
from kobune.testing.virtual import VirtualClock, run_virtual

STORIES = sorted(path for path in (Path(__file__).parent / "controllers").iterdir() if path.is_dir())
PATIENCE_SECONDS = 120.0


@pytest.mark.parametrize("folder", STORIES, ids=lambda folder: folder.name)
def test_story(folder, tmp_path):
    run_virtual(tell(folder, tmp_path))


async def tell(folder, state):
    clock = VirtualClock()
    pool = NodePool("simulated", 2, DEFAULT_VM_SIZE, 110, simulated=True)
    shapes = node_shapes(check_cluster(Cluster("story", DEFAULT_VERSION, (pool,))))
    settings = Settings(local_volumes=state, load_balancer_range="192.0.2.0/28", offload=at_once)
    parts = Parts(simulated=always(shapes), settings=settings)
    config = ApiServerConfig(disabled_admission_plugins=("ServiceAccount",))
    async with control_plane(config, MemoryStore(), parts, clock=clock, seed=1) as server:
        client = Client(LocalTransport(server, MASTER))
        await clock.sleep(30)
        for path in sorted(folder.glob("*.yaml")):
            verb = path.stem.partition("-")[2].partition("-")[0]
            for document in yaml.safe_load_all(path.read_text()):
                await STEPS[verb](client, clock, document, path.name)


async def at_once(work, *arguments):
    return work(*arguments)


async def create(client, _clock, document, _step):
    await client.call("POST", url(document, named=False), body=orjson.dumps(document))


async def patch(client, _clock, document, _step):
    subresource = "/status" if set(document) - {"apiVersion", "kind", "metadata"} == {"status"} else ""
    body = orjson.dumps({key: value for key, value in document.items() if key not in ("apiVersion", "kind")})
    await client.call("PATCH", url(document) + subresource, body=body, content_type="application/merge-patch+json")


async def delete(client, _clock, document, _step):
    await client.call("DELETE", url(document))


async def wait(_client, clock, document, _step):
    await clock.sleep(document["seconds"])


async def expect(client, clock, document, step):
    deadline = clock.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            found = orjson.loads(await client.call("GET", url(document)))
        except NotFound as error:
            found, missing = None, [str(error)]
        else:
            missing = list(differences(document, found, ""))
        if not missing:
            return
        assert clock.monotonic() < deadline, f"{step}: {missing}"
        await clock.sleep(0.5)


async def absent(client, clock, document, step):
    deadline = clock.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            await client.call("GET", url(document))
        except NotFound:
            return
        assert clock.monotonic() < deadline, f"{step}: {document['kind']} {document['metadata']['name']} is still there"
        await clock.sleep(0.5)


STEPS = {"create": create, "patch": patch, "delete": delete, "wait": wait, "expect": expect, "absent": absent}


def url(document, *, named=True):
    group, _, version = document["apiVersion"].rpartition("/")
    kind = next(kind for kind in KINDS if (kind.group, kind.version, kind.name) == (group, version, document["kind"]))
    meta = document["metadata"]
    namespace = meta.get("namespace", "default") if kind.namespaced else ""
    return kind.resource.path(namespace, meta["name"] if named else "")


def differences(wanted, found, path):
    """Where `found` lacks what is wanted. Entries of lists are found by what they hold; null: the field is not there."""
    if isinstance(wanted, dict):
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
