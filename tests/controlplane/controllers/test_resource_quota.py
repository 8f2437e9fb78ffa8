import orjson
import pytest

from kobune.controlplane.controllers.resource_quota import total

ONLY = "resourcequota-controller"


def pod(name, requests=None, limits=None, **spec):
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    container = {"name": "c", "image": "i", "resources": resources}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def used(world, expected, name="q"):
    async def check():
        status = (await world.get("resourcequotas", name)).get("status", {})
        return status.get("used") == expected or None

    try:
        await world.until(check, 10)
    except AssertionError:
        assert (await world.get("resourcequotas", name)).get("status", {}).get("used") == expected
    return (await world.get("resourcequotas", name))["status"]


def test_pods_and_what_they_ask_for_are_counted_until_they_finish(tell):
    async def story(world):
        hard = {"pods": "10", "requests.cpu": "2", "memory": "1Gi", "limits.cpu": "4", "count/pods": "9"}
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        nothing = {"pods": "0", "requests.cpu": "0", "memory": "0", "limits.cpu": "0", "count/pods": "0"}
        status = await used(world, nothing)
        for name in ("a", "b"):
            await world.create("pods", pod(name, {"cpu": "250m", "memory": "128Mi"}, {"cpu": "1", "memory": "128Mi"}))
        full = {"pods": "2", "requests.cpu": "500m", "memory": "256Mi", "limits.cpu": "2", "count/pods": "2"}
        await used(world, full)
        await world.patch("pods", "a", {"status": {"phase": "Succeeded"}}, subresource="status")
        await world.delete("pods", "b", gracePeriodSeconds=0)
        await used(world, {**nothing, "count/pods": "1"})  # What is in the store is counted, finished or not.
        return status["hard"] == hard

    assert tell(story, ONLY, nodes=False)


def test_other_kinds_are_counted_by_name(tell):
    async def story(world):
        hard = {
            "services": "5", "services.nodeports": "5", "configmaps": "5", "count/deployments.apps": "5",
            "requests.storage": "1Ti", "persistentvolumeclaims": "5",
            "fast.storageclass.storage.k8s.io/requests.storage": "1Ti", "unheard/of.thing": "1",
        }  # fmt: skip
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        await world.create(
            "services", {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        )
        await world.create("configmaps", {"metadata": {"name": "c"}})
        for name, kind in (("one", "fast"), ("two", "slow")):
            spec = {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": kind,
                "resources": {"requests": {"storage": "10Gi"}},
            }
            await world.create("persistentvolumeclaims", {"metadata": {"name": name}, "spec": spec})
        await used(
            world,
            {
                "services": "2", "services.nodeports": "1", "configmaps": "1", "count/deployments.apps": "0",
                "requests.storage": "20Gi", "persistentvolumeclaims": "2",
                "fast.storageclass.storage.k8s.io/requests.storage": "10Gi",
            },
        )  # fmt: skip
        await world.delete("configmaps", "c")
        await world.sleep(2)
        return (await world.get("resourcequotas", "q"))["status"]["used"]["configmaps"]

    assert tell(story, ONLY) == "0"


@pytest.mark.parametrize(
    ("scope", "counted"), [("BestEffort", "1"), ("NotBestEffort", "2"), ("Terminating", "1"), ("NotTerminating", "2")]
)
def test_scopes_choose_the_pods(tell, scope, counted):
    async def story(world):
        spec = {"hard": {"pods": "9"}, "scopes": [scope]}
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": spec})
        await world.create("pods", pod("plain"))
        await world.create("pods", pod("sized", {"cpu": "1"}))
        await world.create("pods", pod("short", {"cpu": "1"}, activeDeadlineSeconds=60))
        return await used(world, {"pods": counted})

    assert tell(story, ONLY)


@pytest.mark.parametrize(
    ("amounts", "expected"), [([], "0"), (["100m", "200m"], "300m"), (["0", "1Gi", "512Mi"], "1536Mi"), (["1G"], "1G")]
)
def test_sums_keep_the_units_they_began_with(amounts, expected):
    assert total(amounts) == expected


def test_a_count_never_undoes_what_admission_has_charged_since(tell):
    """While the count of a freed quota is on its way, another pod is let in."""

    async def story(world):
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}})
        await used(world, {"pods": "0"})
        await world.create("pods", pod("a"))
        after, send = [], world.transport.request

        async def request(method, path, **rest):
            is_count = method == "PATCH" and path.endswith("/resourcequotas/q/status")
            if is_count and not after:
                await world.patch("resourcequotas", "q", {"status": {"used": {"pods": "0"}}}, subresource="status")
                await world.create("pods", pod("b"))
            try:
                return await send(method, path, **rest)
            finally:
                if is_count:
                    after.append((await world.get("resourcequotas", "q"))["status"]["used"]["pods"])

        world.transport.request = request
        await world.delete("pods", "a", gracePeriodSeconds=0)
        await world.sleep(5)
        return after

    after = tell(story, ONLY, nodes=False)
    assert after
    assert set(after) == {"1"}


def test_any_kind_can_be_counted_custom_ones_among_them(tell):
    async def story(world):
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        names = {"plural": "boats", "singular": "boat", "kind": "Boat"}
        spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
        await world.create("customresourcedefinitions", {"metadata": {"name": "boats.example.com"}, "spec": spec}, "")
        await world.sleep(5)
        hard = {"count/boats.example.com": "5", "count/ingresses.networking.k8s.io": "2"}
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        await world.sleep(5)
        path = "/apis/example.com/v1/namespaces/default/boats"
        for name in ("a", "b"):
            boat = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": name}}
            await world.client.call("POST", path, body=orjson.dumps(boat))
        await world.sleep(5)
        two = (await world.get("resourcequotas", "q"))["status"]["used"]
        await world.client.call("DELETE", f"{path}/a")
        await world.sleep(5)
        return two, (await world.get("resourcequotas", "q"))["status"]["used"]

    two, one = tell(story, "resourcequota-controller")
    assert two == {"count/boats.example.com": "2", "count/ingresses.networking.k8s.io": "0"}
    assert one["count/boats.example.com"] == "1"


def test_resources_of_devices_are_counted(tell):
    async def story(world):
        device = "requests.example.com/dongle"
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {device: "3"}}})
        await used(world, {device: "0"})
        wish = {"example.com/dongle": "2"}
        await world.create("pods", pod("a", wish, wish))
        return await used(world, {device: "2"})

    assert tell(story, ONLY)


def test_a_count_that_came_too_late_is_not_taken_for_something_freed(tell):
    """Admission charges while a count goes up; the charge stands, whether or not its pods are seen yet."""

    async def story(world):
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "9"}}})
        await used(world, {"pods": "0"})
        await world.create("pods", pod("a"))
        send, charged = world.transport.request, []

        async def request(method, path, **rest):
            if method == "PATCH" and path.endswith("/resourcequotas/q/status") and not charged:
                charged.append(path)
                await world.patch("resourcequotas", "q", {"status": {"used": {"pods": "5"}}}, subresource="status")
            return await send(method, path, **rest)

        world.transport.request = request
        await world.patch("resourcequotas", "q", {"status": {"used": {"pods": "0"}}}, subresource="status")
        await world.create("pods", pod("b"))
        await world.sleep(10)
        return charged, (await world.get("resourcequotas", "q"))["status"]["used"]

    charged, recorded = tell(story, ONLY, nodes=False)
    assert charged
    assert recorded == {"pods": "5"}


def test_a_pod_that_is_given_a_node_frees_nothing(tell):
    async def story(world):
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "9"}}})
        await used(world, {"pods": "0"})
        await world.create("pods", pod("a"))
        await world.patch("resourcequotas", "q", {"status": {"used": {"pods": "5"}}}, subresource="status")
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"name": "n"}}
        await world.client.call("POST", world.path("pods", name="a", subresource="binding"), body=orjson.dumps(binding))
        await world.sleep(10)
        return (await world.get("resourcequotas", "q"))["status"]["used"]

    assert tell(story, ONLY, nodes=False) == {"pods": "5"}


def test_overhead_counts_and_so_do_the_devices_of_claims(tell):
    async def story(world):
        devices = "gpu.example.com.deviceclass.resource.k8s.io/devices"
        hard = {"requests.cpu": "9", devices: "9", "count/resourceclaims.resource.k8s.io": "9"}
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        runtime = {"metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "50m"}}}
        await world.create("runtimeclasses", runtime, "")
        await used(world, dict.fromkeys(hard, "0"))
        await world.create("pods", pod("a", {"cpu": "100m"}, runtimeClassName="vm"))
        exactly = {"deviceClassName": "gpu.example.com", "allocationMode": "ExactCount", "count": 2}
        requests = [{"name": "gpu", "exactly": exactly}]
        await world.create("resourceclaims", {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}})
        counts = {devices: "2", "count/resourceclaims.resource.k8s.io": "1"}
        await used(world, {"requests.cpu": "150m", **counts})
        await world.delete("resourceclaims", "c")
        await used(world, {"requests.cpu": "150m", **dict.fromkeys(counts, "0")})
        return True

    assert tell(story, ONLY, nodes=False)


def test_pods_that_look_into_other_namespaces_have_a_scope_of_their_own(tell):
    async def story(world):
        spec = {"hard": {"pods": "5"}, "scopes": ["CrossNamespacePodAffinity"]}
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": spec})
        term = {"topologyKey": "zone", "namespaces": ["other"], "labelSelector": {"matchLabels": {"a": "b"}}}
        affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        await used(world, {"pods": "0"})
        await world.create("pods", pod("near"))
        await world.create("pods", pod("far", affinity=affinity))
        await used(world, {"pods": "1"})
        await world.delete("pods", "far", gracePeriodSeconds=0)
        await used(world, {"pods": "0"})
        return True

    assert tell(story, ONLY, nodes=False)


def test_of_most_kinds_only_the_number_counts(tell):
    async def story(world):
        plurals = ("deployments.apps", "statefulsets.apps", "jobs.batch", "configmaps", "secrets")
        hard = {f"count/{plural}": "5" for plural in plurals}
        await world.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        await used(world, dict.fromkeys(hard, "0"))
        labels = {"app": "web"}
        spec = {"containers": [{"name": "c", "image": "i"}]}
        template = {"metadata": {"labels": labels}, "spec": spec}
        workload = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
        await world.create("deployments", workload)
        await world.create("statefulsets", {**workload, "spec": {**workload["spec"], "serviceName": "web"}})
        job = {"template": {"spec": {**spec, "restartPolicy": "Never"}}}
        await world.create("jobs", {"metadata": {"name": "web"}, "spec": job})
        for plural in ("configmaps", "secrets"):
            await world.create(plural, {"metadata": {"name": "web"}})
        await used(world, dict.fromkeys(hard, "1"))
        return True

    assert tell(story, ONLY, nodes=False)
