"""An operator written with kopf: every Boat has a ConfigMap with its log, and says in its status how often it sailed.

Run it against any cluster: `kopf run --namespace default harbour_operator.py`.
"""

from typing import Any

import kopf
from kubernetes import client, config

GROUP, VERSION, PLURAL = "harbour.example", "v1", "boats"


@kopf.on.startup()
def connect(settings: kopf.OperatorSettings, **_: Any) -> None:
    config.load_kube_config()
    settings.posting.enabled = True


@kopf.on.create(GROUP, VERSION, PLURAL)
def launch(body: kopf.Body, name: str, namespace: str, spec: kopf.Spec, **_: Any) -> dict[str, int]:
    """The log belongs to the boat, so it goes with it."""
    log = {"metadata": {"name": f"{name}-log"}, "data": {"length": str(spec.get("length", 0))}}
    kopf.adopt(log, owner=body)
    client.CoreV1Api().create_namespaced_config_map(namespace, log)
    return {"voyages": 0}


@kopf.on.field(GROUP, VERSION, PLURAL, field="spec.length")
def refit(name: str, namespace: str, new: int | None, old: int | None, **_: Any) -> None:
    if old is not None:
        patch = {"data": {"length": str(new)}}
        client.CoreV1Api().patch_namespaced_config_map(f"{name}-log", namespace, patch)


@kopf.on.delete(GROUP, VERSION, PLURAL)
def scrap(name: str, **_: Any) -> None:
    """Having a deletion handler makes kopf hold the boat by a finalizer until this has returned."""
