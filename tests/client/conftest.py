"""What the tests of both recorders of events share: an API server that keeps events, and the telling of a story."""

import asyncio

import orjson

from kobune.api.errors import not_found, status_of
from kobune.api.objects.core import Pod
from kobune.api.objects.meta import ObjectMeta
from kobune.client.client import Client
from kobune.client.transport import Answer
from kobune.testing.virtual import VirtualClock, run_virtual


class Events:
    """Keeps events by path, and fails as told."""

    def __init__(self, *failures):
        self.kept, self.failures, self.requests = {}, list(failures), []

    async def request(self, method, path, *, query=None, body=b"", content_type="", accept=""):
        body = orjson.loads(body)
        self.requests.append((method, body))
        if self.failures:
            raise self.failures.pop(0)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            self.kept[path] = body
        elif path not in self.kept:
            return Answer(404, orjson.dumps(status_of(not_found("events", "x"))), {})
        else:
            self.kept[path] |= body
        return Answer(200, orjson.dumps(self.kept[path]), {})


def pod(name="web", revision="7"):
    return Pod(metadata=ObjectMeta(name=name, namespace="d", uid="u", resource_version=revision))


def tell(kind, server, story):
    """What the server keeps after `story(recorder, clock)` with a recorder of this kind, and the recorder."""

    async def whole():
        clock = VirtualClock()
        recorder = kind(Client(server), "tester", clock=clock, host="h")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(recorder.run())
            await story(recorder, clock)
            await recorder.flush()
            task.cancel()
        return recorder

    recorder = run_virtual(whole())
    return list(server.kept.values()), recorder
