"""LimitRanger and DefaultStorageClass."""

PODS = "/api/v1/namespaces/default/pods"
RANGES = "/api/v1/namespaces/default/limitranges"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def pod(**resources):
    container = {"name": "main", "image": "busybox", "resources": resources}
    return {"metadata": {"name": "a"}, "spec": {"containers": [container]}}


def claim(**spec):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"metadata": {"name": "c"}, "spec": spec}


async def limit(ask, **item):
    await ask.create(RANGES, {"metadata": {"name": "l"}, "spec": {"limits": [item]}})


async def test_containers_get_the_defaults(ask):
    await limit(ask, type="Container", default={"cpu": "500m"}, defaultRequest={"cpu": "250m", "memory": "64Mi"})
    created = await ask.create(PODS, pod(requests={"memory": "32Mi"}))
    assert created["spec"]["containers"][0]["resources"] == {
        "requests": {"memory": "32Mi", "cpu": "250m"}, "limits": {"cpu": "500m"},
    }  # fmt: skip
    assert created["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container main; cpu limit for container main"
    )
    assert created["status"]["qosClass"] == "Burstable"


async def test_more_than_the_most_is_refused(ask):
    await limit(ask, type="Container", max={"memory": "1Gi"})
    answer = await ask("POST", PODS, pod(limits={"memory": "2Gi"}), status=403)
    assert answer["message"] == ('pods "a" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi')


async def test_less_than_the_least_is_refused(ask):
    await limit(ask, type="Container", min={"cpu": "100m"}, max={"cpu": "4"}, default={"cpu": "1"})
    answer = await ask("POST", PODS, pod(requests={"cpu": "50m"}), status=403)
    assert "minimum cpu usage per Container is 100m, but request is 50m" in answer["message"]


async def test_a_pod_counts_as_a_whole(ask):
    await limit(ask, type="Pod", max={"cpu": "1"})
    body = pod(limits={"cpu": "600m"})
    body["spec"]["containers"].append({**body["spec"]["containers"][0], "name": "other"})
    answer = await ask("POST", PODS, body, status=403)
    assert "maximum cpu usage per Pod is 1, but limit is 1200m" in answer["message"]


async def test_other_namespaces_are_not_concerned(ask):
    await ask.create("/api/v1/namespaces/kube-system/limitranges", {
        "metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]},
    })  # fmt: skip
    await ask.create(PODS, pod(limits={"memory": "2Gi"}))


async def test_a_claim_without_a_class_gets_the_default_one(ask):
    assert "storageClassName" not in (await ask.create(CLAIMS, claim()))["spec"]
    meta = {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    await ask.create("/apis/storage.k8s.io/v1/storageclasses", {"metadata": meta, "provisioner": "example.com/p"})
    body = claim()
    body["metadata"]["name"] = "d"
    assert (await ask.create(CLAIMS, body))["spec"]["storageClassName"] == "fast"
    body = claim(storageClassName="")
    body["metadata"]["name"] = "e"
    assert (await ask.create(CLAIMS, body))["spec"]["storageClassName"] == ""
