"""A release as Helm makes it with server-side apply: install, upgrade, a hand that meddles, rollback, uninstall."""

import orjson
import pytest

APPLY = "application/apply-patch+yaml"
MANAGER = "helm"
NAMESPACE = "/namespaces/default"
PATHS = {
    "ConfigMap": "/api/v1" + NAMESPACE + "/configmaps", "Service": "/api/v1" + NAMESPACE + "/services",
    "Deployment": "/apis/apps/v1" + NAMESPACE + "/deployments",
}  # fmt: skip
LABELS = {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "web"}


def manifests(revision, *, replicas=2, config=None, extra_port=False):
    """What the chart renders."""
    pod = {"containers": [{"name": "main", "image": f"web:{revision}", "ports": [{"containerPort": 80}]}]}
    ports = [{"name": "http", "port": 80}, *([{"name": "metrics", "port": 9090}] if extra_port else [])]
    template = {"metadata": {"labels": LABELS}, "spec": pod}
    deployment = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    meta = {"name": "web", "labels": LABELS, "annotations": {"meta.helm.sh/release-name": "web"}}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": config or {"mode": "plain"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": LABELS, "ports": ports}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": deployment},
    ]


@pytest.fixture
def helm(ask):
    async def apply(objects, *, dry_run=False, force=False, status=0):
        query = f"?fieldManager={MANAGER}" + ("&dryRun=All" if dry_run else "") + ("&force=true" if force else "")
        return {
            obj["kind"]: await ask(
                "PATCH", f"{PATHS[obj['kind']]}/web{query}", orjson.dumps(obj), content_type=APPLY, status=status
            )
            for obj in objects
        }

    return apply


async def read(ask):
    return {kind: await ask("GET", f"{path}/web") for kind, path in PATHS.items()}


async def test_a_release_lives_by_server_side_apply(ask, helm):
    await helm(manifests(1), dry_run=True)
    await ask("GET", f"{PATHS['Deployment']}/web", status=404)

    installed = await helm(manifests(1))
    assert await helm(manifests(1)) == installed, "the same release again changes nothing"
    assert installed["Deployment"]["metadata"]["generation"] == 1

    address = installed["Service"]["spec"]["clusterIP"]
    upgraded = await helm(manifests(2, config={"mode": "fancy", "colour": "red"}, extra_port=True))
    assert upgraded["Deployment"]["metadata"]["generation"] == 2
    assert upgraded["Service"]["spec"]["clusterIP"] == address, "what the server gave stays"
    assert [one["name"] for one in upgraded["Service"]["spec"]["ports"]] == ["http", "metrics"]

    # An autoscaler owns the number of replicas from now on: the chart no longer says it.
    scale = {"spec": {"replicas": 5}}
    path = f"{PATHS['Deployment']}/web/scale?fieldManager=hpa"
    await ask("PATCH", path, scale, content_type="application/merge-patch+json")
    conflicts = await ask(
        "PATCH", f"{PATHS['Deployment']}/web?fieldManager={MANAGER}", orjson.dumps(manifests(3)[2]), content_type=APPLY,
        status=409,
    )  # fmt: skip
    assert "spec.replicas" in conflicts["message"]
    silent = manifests(3)
    del silent[2]["spec"]["replicas"]
    assert (await helm(silent))["Deployment"]["spec"]["replicas"] == 5

    rolled_back = await helm(manifests(1, replicas=5))
    assert rolled_back["ConfigMap"]["data"] == {"mode": "plain"}
    assert [one["name"] for one in rolled_back["Service"]["spec"]["ports"]] == ["http"]
    assert rolled_back["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"
    assert await read(ask) == rolled_back

    for path in PATHS.values():
        await ask("DELETE", f"{path}/web")
        await ask("GET", f"{path}/web", status=404)
