import pytest

ONLY = "daemonset-controller"


def daemon_set(name="agent", image="one", pod=None, **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}], **(pod or {})}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}


def image(name):
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


async def add_nodes(world, *names, **metadata):
    for name in names:
        await world.create("nodes", {"metadata": {"name": name, **metadata}}, "")
        # A new node is tainted not-ready; in these stories no node controller takes that off.
        await world.patch("nodes", name, {"spec": {"taints": None}}, "")


def node_of(pod):
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]


async def on_nodes(world):
    return sorted(node_of(pod) for pod in await world.list("pods"))


async def settled(world, count):
    async def check():
        found = await world.get("daemonsets", "agent")
        status = found["status"]
        names = (
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
        )
        return [status.get(name, 0) for name in names] == [count] * 5 and (
            status.get("observedGeneration") == found["metadata"]["generation"]
        )

    await world.until(check, 120)


def test_every_node_gets_one_pod_and_a_new_node_too(tell):
    async def story(world):
        await add_nodes(world, "a", "b")
        await world.create("daemonsets", daemon_set())
        await settled(world, 2)
        await add_nodes(world, "c")
        await settled(world, 3)
        pods = await world.list("pods")
        return await on_nodes(world), pods[0]

    nodes, pod = tell(story, ONLY)
    assert nodes == ["a", "b", "c"]
    tolerated = {(each["key"], each["effect"]) for each in pod["spec"]["tolerations"]}
    assert ("node.kubernetes.io/not-ready", "NoExecute") in tolerated
    assert ("node.kubernetes.io/unschedulable", "NoSchedule") in tolerated
    assert pod["metadata"]["labels"]["controller-revision-hash"]


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param({}, ["linux", "plain"], id="taints-keep-pods-away"),
        pytest.param({"nodeSelector": {"os": "linux"}}, ["linux"], id="node-selector"),
        pytest.param({"tolerations": [{"operator": "Exists"}]}, ["linux", "plain", "tainted"], id="tolerations"),
        pytest.param(
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [{"key": "os", "operator": "DoesNotExist"}]}]
                        }
                    }
                }
            },
            ["plain"],
            id="node-affinity",
        ),
    ],
)
def test_only_nodes_that_fit_get_a_pod(tell, pod, expected):
    async def story(world):
        await add_nodes(world, "plain")
        await add_nodes(world, "linux", labels={"os": "linux"})
        await add_nodes(world, "tainted")
        await world.patch("nodes", "tainted", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}, "")
        await world.create("daemonsets", daemon_set(pod=pod))
        await settled(world, len(expected))
        return await on_nodes(world)

    assert tell(story, ONLY) == expected


def test_a_node_that_fits_no_more_loses_its_pod(tell):
    async def story(world):
        await add_nodes(world, "a", "b", labels={"os": "linux"})
        await world.create("daemonsets", daemon_set(pod={"nodeSelector": {"os": "linux"}}))
        await settled(world, 2)
        await world.patch("nodes", "a", {"metadata": {"labels": {"os": "none"}}}, "")
        await settled(world, 1)
        return await on_nodes(world)

    assert tell(story, ONLY) == ["b"]


@pytest.mark.parametrize(
    ("rolling", "least", "most"),
    [({"maxUnavailable": 1}, 3, 4), ({"maxUnavailable": "50%"}, 2, 4), ({"maxSurge": 1, "maxUnavailable": 0}, 4, 5)],
)
def test_an_update_keeps_within_its_bounds(tell, rolling, least, most):
    async def story(world):
        await add_nodes(world, "a", "b", "c", "d")
        await world.create("daemonsets", daemon_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling}))
        await settled(world, 4)
        await world.patch("daemonsets", "agent", image("two"))
        low = high = 4

        async def check():
            nonlocal low, high
            pods = [pod for pod in await world.list("pods") if "deletionTimestamp" not in pod["metadata"]]
            up = [pod for pod in pods if pod["status"].get("conditions")]
            low, high = min(low, len(up)), max(high, len(pods))
            return len(pods) == 4 and {pod["spec"]["containers"][0]["image"] for pod in pods} == {"two"}

        await world.until(check, 120)
        await settled(world, 4)
        return low, high, await on_nodes(world)

    low, high, nodes = tell(story, ONLY)
    assert low >= least
    assert high <= most
    assert nodes == ["a", "b", "c", "d"]


def test_on_delete_waits_for_deletions(tell):
    async def story(world):
        await add_nodes(world, "a", "b")
        await world.create("daemonsets", daemon_set(updateStrategy={"type": "OnDelete"}))
        await settled(world, 2)
        await world.patch("daemonsets", "agent", image("two"))
        await world.sleep(20)
        before = {pod["spec"]["containers"][0]["image"] for pod in await world.list("pods")}
        await world.delete("pods", (await world.list("pods"))[0]["metadata"]["name"])
        await world.sleep(20)
        return before, sorted(pod["spec"]["containers"][0]["image"] for pod in await world.list("pods"))

    assert tell(story, ONLY) == ({"one"}, ["one", "two"])


def test_failed_pods_are_replaced_ever_more_slowly(tell):
    async def story(world):
        await add_nodes(world, "a")
        await world.create("daemonsets", daemon_set())
        names = set()

        async def fail():
            for pod in await world.list("pods"):
                names.add(pod["metadata"]["name"])
                if pod["status"].get("phase") == "Running":
                    await world.patch(
                        "pods", pod["metadata"]["name"], {"status": {"phase": "Failed"}}, subresource="status"
                    )

        for _ in range(600):
            await fail()
            await world.sleep(0.2)
        return len(names), [event["reason"] for event in await world.list("events")]

    count, reasons = tell(story, ONLY)
    assert 5 <= count <= 9
    assert "FailedDaemonPod" in reasons


def test_a_revision_bears_its_pods_label_and_its_fields_in_order(tell):
    """Source: upstream's conformance test of rolling updates compares the bytes."""

    async def story(world):
        await add_nodes(world, "a")
        await world.create("daemonsets", daemon_set())
        await settled(world, 1)
        return (await world.list("controllerrevisions"))[0], (await world.list("pods"))[0]

    revision, pod = tell(story, ONLY)
    label = "controller-revision-hash"
    assert revision["metadata"]["labels"][label] == pod["metadata"]["labels"][label]
    template = revision["data"]["spec"]["template"]
    assert list(template) == sorted(template)
