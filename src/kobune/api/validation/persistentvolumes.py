"""PersistentVolumes."""

from posixpath import normpath

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, not_supported, required
from kobune.api.validation.checks import Errors, check_immutable, check_name, difference, same
from kobune.api.validation.claims import check_access_modes, check_volume_mode
from kobune.api.validation.quantities import check_positive_amount, parse
from kobune.api.validation.selectors import check_node_selector
from kobune.api.validation.volumes import MORE_THAN_ONE, check_driver_name, check_source

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
SOURCES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs",
    "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk",
    "scaleIO", "local", "storageos", "csi",
)  # fmt: skip
CSI_SECRETS = (
    "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef",
)  # fmt: skip


def check_volume(volume: Json, errors: Errors) -> None:
    check_volume_spec(volume.get("spec") or {}, "spec", errors)


def check_volume_update(new: Json, old: Json, errors: Errors) -> None:
    check_volume(new, errors)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    sources = [{field: spec.get(field) for field in SOURCES if field in spec} for spec in (after, before)]
    secret = "controllerExpandSecretRef"
    if "csi" in after and "csi" in before and secret not in before["csi"]:
        # It may be added later.
        sources[0]["csi"] = {field: value for field, value in after["csi"].items() if field != secret}
    if not same(*sources):
        changes = "\n".join(difference(sources[1], sources[0]))
        detail = f"spec.persistentvolumesource is immutable after creation\n{changes}"
        errors.append(forbidden("spec.persistentvolumesource", detail))
    check_immutable(after, before, "volumeMode", "volumeMode", errors)
    if before.get("nodeAffinity") is not None and not same(after.get("nodeAffinity"), before["nodeAffinity"]):
        detail = "field is immutable, except for updating from beta label to GA"
        errors.append(invalid("nodeAffinity", after.get("nodeAffinity"), detail))
    if before.get("volumeAttributesClassName") is not None and after.get("volumeAttributesClassName") is None:
        errors.append(forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden"))


def check_volume_spec(spec: Json, path: str, errors: Errors, *, inline: bool = False) -> None:
    """Args: inline: the spec stands in a VolumeAttachment, where only CSI makes sense."""
    if inline:
        _check_inline(spec, path, errors)
    if not spec.get("accessModes"):
        errors.append(required(f"{path}.accessModes"))
    check_access_modes(spec.get("accessModes") or [], path, errors)
    if not inline:
        _check_capacity(spec.get("capacity") or {}, f"{path}.capacity", errors)
        policy = spec.get("persistentVolumeReclaimPolicy")
        if policy and policy not in RECLAIM_POLICIES:
            errors.append(not_supported(f"{path}.persistentVolumeReclaimPolicy", policy, RECLAIM_POLICIES))
        _check_affinity(spec.get("nodeAffinity"), f"{path}.nodeAffinity", errors)
        if spec.get("storageClassName"):
            check_name(names.is_dns1123_subdomain, spec["storageClassName"], f"{path}.storageClassName", errors)
        check_volume_mode(spec, path, errors)
    _check_sources(spec, path, errors)
    root = normpath((spec.get("hostPath") or {}).get("path") or ".") == "/"
    if root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden(f"{path}.persistentVolumeReclaimPolicy", detail))
    attributes = spec.get("volumeAttributesClassName")
    if attributes is not None:
        at = f"{path}.volumeAttributesClassName"
        if not attributes:
            errors.append(required(at, "an empty string is disallowed"))
        else:
            check_name(names.is_dns1123_subdomain, attributes, at, errors)
        if "csi" not in spec:
            errors.append(required(f"{path}.csi", "has to be specified when using volumeAttributesClassName"))


def _check_inline(spec: Json, path: str, errors: Errors) -> None:
    where = "in the context of inline volumes"
    for field in ("claimRef", "capacity", "nodeAffinity", "storageClassName"):
        if spec.get(field):
            errors.append(forbidden(f"{path}.{field}", f"may not be specified {where}"))
    if "csi" not in spec:
        errors.append(required(f"{path}.csi", f"has to be specified {where}"))
    if spec.get("persistentVolumeReclaimPolicy") not in (None, "", "Retain"):
        errors.append(forbidden(f"{path}.persistentVolumeReclaimPolicy", f"may only be Retain {where}"))
    if spec.get("volumeMode") not in (None, "Filesystem"):
        errors.append(forbidden(f"{path}.volumeMode", f"may not specify volumeMode other than Filesystem {where}"))


def _check_capacity(capacity: Json, path: str, errors: Errors) -> None:
    if not capacity:
        errors.append(required(path))
    if set(capacity) != {"storage"}:
        errors.append(not_supported(path, capacity or None, ("storage",)))
    for name, amount in capacity.items():
        if parse(amount) < 0:
            errors.append(invalid(f"{path}[{name}]", int(parse(amount)), "must be a valid resource quantity"))
        check_positive_amount(amount, f"{path}[{name}]", errors)


def _check_affinity(affinity: Json | None, path: str, errors: Errors) -> None:
    if affinity is not None:
        if affinity.get("required") is None:
            errors.append(required(f"{path}.required", "must specify required node constraints"))
        else:
            check_node_selector(affinity["required"], f"{path}.required", errors)


def _check_sources(spec: Json, path: str, errors: Errors) -> None:
    present = [field for field in SOURCES if field in spec]
    if not present:
        errors.append(required(path, "must specify a volume type"))
        return
    for field in present[1:]:
        errors.append(forbidden(f"{path}.{field}", MORE_THAN_ONE))
    field = present[0]
    source = spec[field]
    if field == "csi":
        _check_csi(source, f"{path}.csi", errors)
        return
    check_source(field, source, path, errors)
    if (
        field in ("cinder", "storageos")
        and (source.get("secretRef") or {}).get("name")
        and not source["secretRef"].get("namespace")
    ):
        errors.append(required(f"{path}.{field}.secretRef.namespace"))
    elif field == "azureFile" and source.get("secretNamespace") == "":
        errors.append(required(f"{path}.azureFile.secretNamespace"))
    elif field == "local" and spec.get("nodeAffinity") is None:
        errors.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))


def _check_csi(source: Json, path: str, errors: Errors) -> None:
    check_driver_name(source.get("driver"), f"{path}.driver", errors)
    if not source.get("volumeHandle"):
        errors.append(required(f"{path}.volumeHandle"))
    for field in CSI_SECRETS:
        secret = source.get(field)
        if secret is not None:
            for part, check in (("name", names.is_dns1123_subdomain), ("namespace", names.is_dns1123_label)):
                if not secret.get(part):
                    errors.append(required(f"{path}.{field}.{part}"))
                else:
                    check_name(check, secret[part], f"{path}.{field}.{part}", errors)
