import asyncio
import random
from collections.abc import AsyncIterator

import orjson

from kobune.api.errors import Gone, ServiceUnavailable, status_of
from kobune.api.objects.core import Pod
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.client.informer import Informer, State
from kobune.client.transport import Answer
from kobune.testing.virtual import VirtualClock, run_virtual


class Script:
    """A transport that answers lists and watches from a script: lists are (revision, pods), watches lists of frames.

    An exception in a watch is raised there; a watch at the script's end stays open.
    """

    def __init__(self, lists, watches):
        self.lists, self.watches, self.asked = list(lists), list(watches), []

    async def request(self, method, path, *, query=None, body=b"", content_type="", accept="") -> Answer:
        self.asked.append("list")
        revision, pods = self.lists.pop(0)
        page = {"metadata": {"resourceVersion": str(revision)}, "items": pods}
        return Answer(200, orjson.dumps(page), {})

    async def stream(self, path, *, query) -> AsyncIterator[bytes]:
        self.asked.append(f"watch {query['resourceVersion']}")
        for frame in self.watches.pop(0) if self.watches else ():
            if isinstance(frame, Exception):
                raise frame
            if isinstance(frame, int):
                await asyncio.sleep(frame)
                continue
            yield orjson.dumps(frame)
        if not self.watches:
            await asyncio.Event().wait()

    async def close(self):
        pass


def pod(name, revision, node=""):
    meta = {"namespace": "d", "name": name, "uid": name, "resourceVersion": str(revision)}
    return {"metadata": meta, "spec": {"nodeName": node}}


def frame(kind, name, revision, node=""):
    return {"type": kind, "object": pod(name, revision, node)}


def bookmark(revision):
    """As upstream sends it: an object without content, but for its version."""
    content = {"metadata": {"resourceVersion": str(revision)}, "spec": {"containers": None}, "status": {}}
    return {"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", **content}}


def tell(script, seconds=300):
    """Run an informer on the script: the informer, and its changes as (name, old revision, new revision)."""

    async def story():
        informer = Informer(Client(script), Pod, clock=VirtualClock(), rng=random.Random(1))
        informer.add_index("node", lambda pod: (pod.node_name,))
        changes = []

        def on_change(old, new):
            changes.append(((new or old).name, *(item and item.metadata.resource_version for item in (old, new))))

        informer.on_change(on_change)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(informer.run())
            await informer.synced()
            await asyncio.sleep(seconds)
            task.cancel()
        return informer, changes

    return run_virtual(story())


def test_it_lists_then_follows_every_change():
    script = Script(
        [(5, [pod("a", 3), pod("b", 4)])],
        [[frame("MODIFIED", "a", 6, "n1"), frame("ADDED", "c", 7, "n1"), frame("DELETED", "b", 8)]],
    )
    informer, changes = tell(script)
    assert script.asked == ["list", "watch 5"]
    assert changes == [("a", None, "3"), ("b", None, "4"), ("a", "3", "6"), ("c", None, "7"), ("b", "8", None)]
    assert sorted(informer.items) == [Key("d", "a"), Key("d", "c")]
    assert [item.name for item in informer.index("node", "n1")] == ["a", "c"]
    assert informer.index("node", "") == []
    assert informer.state is State.WATCHING


def test_a_broken_watch_goes_on_where_the_last_bookmark_was():
    script = Script([(5, [])], [[bookmark(40), 5, ServiceUnavailable("broken")], [frame("ADDED", "a", 41)]])
    informer, _ = tell(script)
    assert script.asked == ["list", "watch 5", "watch 40"]
    assert informer.revision == "41"


def test_after_gone_it_lists_again_and_reports_only_differences():
    gone = {"type": "ERROR", "object": status_of(Gone("too old resource version"))}
    script = Script(
        [(5, [pod("a", 3), pod("b", 4), pod("c", 5)]), (50, [pod("a", 3), pod("b", 44), pod("d", 45)])], [[gone], []]
    )
    informer, changes = tell(script)
    assert script.asked == ["list", "watch 5", "list", "watch 50"]
    assert changes[3:] == [("b", "4", "44"), ("d", None, "45"), ("c", "5", None)]
    assert len(informer.items) == 3


def test_failures_back_off_with_jitter_up_to_a_minute():
    script = Script([(5, [])], [[ServiceUnavailable("down")] for _ in range(20)] + [[]])
    tell(script, seconds=250)
    watches = len(script.asked) - 1
    assert 8 <= watches <= 13  # 0.8 + 1.6 + … seconds, then 30 to 60 each.


def test_a_late_listener_hears_of_everything_already_here():
    script = Script([(5, [pod("a", 3)])], [[]])
    informer, _ = tell(script)
    heard = []
    informer.on_change(lambda old, new: heard.append((old, new.name)))
    assert heard == [(None, "a")]
