import orjson

ONLY = "namespace-controller"


def condition(namespace, kind):
    found = next(each for each in namespace["status"]["conditions"] if each["type"] == kind)
    return found["status"], found["reason"], found["message"]


def test_a_deleted_namespace_takes_its_content_along(tell):
    async def story(world):
        await world.create("namespaces", {"metadata": {"name": "gone"}}, "")
        await world.create("configmaps", {"metadata": {"name": "a"}}, "gone")
        await world.create("configmaps", {"metadata": {"name": "b"}})
        await world.create(
            "pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, "gone"
        )
        await world.delete("namespaces", "gone", "")

        async def gone():
            return await world.find("namespaces", "gone", "") is None

        await world.until(gone)
        kept = [each for plural in ("configmaps", "pods") for each in await world.list(plural, "")]
        return {each["metadata"]["name"] for each in kept if each["metadata"]["namespace"] in ("gone", "default")}

    assert tell(story, ONLY) == {"b"}


def test_a_namespace_that_cannot_go_says_why(tell):
    async def story(world):
        await world.create("namespaces", {"metadata": {"name": "stuck"}}, "")
        await world.create("configmaps", {"metadata": {"name": "a", "finalizers": ["example.com/keep"]}}, "stuck")
        await world.delete("namespaces", "stuck", "")
        await world.sleep(10)
        stuck = await world.get("namespaces", "stuck", "")
        await world.patch("configmaps", "a", {"metadata": {"finalizers": None}}, "stuck")
        await world.sleep(10)
        return stuck, await world.find("namespaces", "stuck", "")

    stuck, after = tell(story, ONLY)
    assert after is None
    assert stuck["status"]["phase"] == "Terminating"
    assert condition(stuck, "NamespaceContentRemaining") == (
        "True", "SomeResourcesRemain", "Some resources are remaining: configmaps. has 1 resource instances",
    )  # fmt: skip
    assert condition(stuck, "NamespaceFinalizersRemaining") == (
        "True",
        "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances",
    )
    assert condition(stuck, "NamespaceDeletionDiscoveryFailure")[:2] == ("False", "ResourcesDiscovered")


def test_pods_go_before_everything_else(tell):
    """Source: upstream's conformance test of ordered namespace deletion."""

    async def story(world):
        await world.create("namespaces", {"metadata": {"name": "gone"}}, "")
        await world.create("configmaps", {"metadata": {"name": "a"}}, "gone")
        spec = {"containers": [{"name": "c", "image": "i"}]}
        await world.create(
            "pods", {"metadata": {"name": "p", "finalizers": ["example.com/wait"]}, "spec": spec}, "gone"
        )
        await world.delete("namespaces", "gone", "")
        await world.sleep(60)
        pod, kept = await world.get("pods", "p", "gone"), await world.find("configmaps", "a", "gone")
        conditions = (await world.get("namespaces", "gone", ""))["status"]["conditions"]
        await world.patch("pods", "p", {"metadata": {"finalizers": None}}, "gone")

        async def gone():
            return await world.find("namespaces", "gone", "") is None

        await world.until(gone)
        return "deletionTimestamp" in pod["metadata"], kept is not None, [each["type"] for each in conditions]

    is_going, is_kept, told = tell(story, ONLY)
    assert (is_going, is_kept) == (True, True)
    assert "NamespaceDeletionContentFailure" in told


def test_events_go_once_though_two_groups_serve_them(tell):
    async def story(world):
        await world.create("namespaces", {"metadata": {"name": "gone"}}, "")
        subject = {"kind": "Namespace", "namespace": "gone", "name": "gone"}
        for number in range(3):
            event = {"metadata": {"name": f"e{number}"}, "involvedObject": subject, "reason": "Said"}
            await world.client.call(
                "POST",
                "/api/v1/namespaces/gone/events",
                body=orjson.dumps({"kind": "Event", "apiVersion": "v1", **event}),
            )
        await world.delete("namespaces", "gone", "")

        async def gone():
            return await world.find("namespaces", "gone", "") is None

        await world.until(gone)
        left = orjson.loads(await world.client.call("GET", "/apis/events.k8s.io/v1/events"))["items"]
        deletions = [path for method, path in world.transport.log if method == "DELETE" and path.endswith("/events")]
        return [each for each in left if each["metadata"]["namespace"] == "gone"], deletions

    assert tell(story, ONLY) == ([], ["/api/v1/namespaces/gone/events"])


def test_the_last_pod_that_goes_lets_the_rest_go_at_once(tell):
    async def story(world):
        await world.create("namespaces", {"metadata": {"name": "gone"}}, "")
        spec = {"containers": [{"name": "c", "image": "i"}]}
        for name in ("a", "b"):
            await world.create(
                "pods", {"metadata": {"name": name, "finalizers": ["example.com/wait"]}, "spec": spec}, "gone"
            )
        await world.delete("namespaces", "gone", "")
        await world.sleep(21)
        for name in ("a", "b"):
            await world.patch("pods", name, {"metadata": {"finalizers": None}}, "gone")
        await world.sleep(0.1)
        return await world.find("namespaces", "gone", "")

    assert tell(story, ONLY) is None
