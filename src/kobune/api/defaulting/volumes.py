"""Volumes, in pods and as PersistentVolumes."""

from typing import Any

from kobune.api.defaulting.images import pull_policy
from kobune.api.defaulting.references import default_references
from kobune.api.defaulting.resources import round_up_requirements
from kobune.api.errors import Json

FILE_MODE = 0o644

# Source of a volume: the fields that it gets where they are missing or empty.
SOURCES: dict[str, dict[str, Any]] = {
    "hostPath": {"type": ""},
    "secret": {"defaultMode": FILE_MODE},
    "configMap": {"defaultMode": FILE_MODE},
    "downwardAPI": {"defaultMode": FILE_MODE},
    "projected": {"defaultMode": FILE_MODE},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
TOKEN_SECONDS = 3600


def default_volume(volume: Json) -> None:
    """A volume of a pod; one without a source is an empty directory."""
    sources = [field for field in volume if field != "name"]
    if not sources:
        volume["emptyDir"] = {}
        return
    for field in sources:
        source = volume[field]
        default_source(field, source)
        if field == "downwardAPI":
            default_references(source.get("items"))
        elif field == "projected":
            for each in source.get("sources") or ():
                _default_projection(each)
        elif field == "ephemeral":
            template = source.get("volumeClaimTemplate")
            if template is not None:
                default_claim_spec(template.setdefault("spec", {}))
        elif field == "image" and not source.get("pullPolicy"):
            source["pullPolicy"] = pull_policy(source.get("reference") or "")


def default_source(field: str, source: Json) -> None:
    """The fields that a kind of source gets, wherever it stands."""
    values = SOURCES.get(field)
    if values and isinstance(source, dict):
        for name, value in values.items():
            if source.get(name) is None or (source[name] == "" and field != "azureDisk"):
                source[name] = value


def default_claim_spec(spec: Json) -> None:
    if "volumeMode" not in spec:
        spec["volumeMode"] = "Filesystem"
    if "resources" in spec:
        round_up_requirements(spec["resources"])
    else:
        spec["resources"] = {}


def _default_projection(source: Json) -> None:
    if "downwardAPI" in source:
        default_references(source["downwardAPI"].get("items"))
    token = source.get("serviceAccountToken")
    if token is not None and "expirationSeconds" not in token:
        token["expirationSeconds"] = TOKEN_SECONDS
