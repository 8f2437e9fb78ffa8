"""Volumes of pods, and the sources that they share with PersistentVolumes."""

import re
from collections.abc import Callable

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_supported, required, too_long
from kobune.api.validation.checks import Errors, check_name, check_one_of, check_range
from kobune.api.validation.claims import check_claim_template
from kobune.api.validation.paths import check_descending, check_key_to_path, check_mode, check_no_backsteps
from kobune.api.validation.projections import check_downward_file, check_projected
from kobune.api.validation.quantities import parse

MORE_THAN_ONE = "may not specify more than 1 volume type"
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
LONGEST_DRIVER = 63
SourceCheck = Callable[[Json, str, Errors], None]

_IQN = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9-.]+)(:[^,;*&$|\s]+)$").search,
    "eui": re.compile(r"eui.[a-zA-Z0-9]{16}").fullmatch,
    "naa": re.compile(r"naa.[a-zA-Z0-9]{32}").fullmatch,
}

# Fields that a source cannot do without.
REQUIRED = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "configMap": ("name",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "persistentVolumeClaim": ("claimName",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "secret": ("secretName",),
    "vsphereVolume": ("volumePath",),
}
# Where upstream's path is not the field's.
PATHS = {"gcePersistentDisk": "persistentDisk"}


def check_volumes(volumes: list[Json], pod_name: str, path: str, errors: Errors, *, is_pod: bool) -> dict[str, Json]:
    """The sound volumes by name. Args: pod_name: "" for a template, whose claims have no names yet."""
    sound: dict[str, Json] = {}
    created = {f"{pod_name}-{volume.get('name')}" for volume in volumes if pod_name and "ephemeral" in volume}
    for index, volume in enumerate(volumes):
        at, name = f"{path}[{index}]", volume.get("name") or ""
        before = len(errors)
        _check_source(volume, name, pod_name, at, errors, is_pod=is_pod)
        if not name:
            errors.append(required(f"{at}.name"))
        else:
            check_name(names.is_dns1123_label, name, f"{at}.name", errors)
        if name in sound:
            errors.append(duplicate(f"{at}.name", name))
        if len(errors) == before:
            sound[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim in created:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid(f"{at}.persistentVolumeClaim.claimName", claim, detail))
    return sound


def check_source(field: str, source: Json, path: str, errors: Errors) -> None:
    """One source of a pod's volume or of a PersistentVolume; `path` is that of the object that holds it."""
    at = f"{path}.{PATHS.get(field, field)}"
    for name in REQUIRED.get(field, ()):
        if not source.get(name):
            errors.append(required(f"{at}.{name}"))
    special = _SPECIAL.get(field)
    if special is not None:
        special(source, at, errors)


def check_driver_name(name: str | None, path: str, errors: Errors) -> None:
    """The name of a CSI driver."""
    if not name:
        errors.append(required(path))
        return
    if len(name) > LONGEST_DRIVER:
        errors.append(too_long(path, LONGEST_DRIVER))
    errors.extend(invalid(path, name, message) for message in names.is_dns1123_subdomain(name.lower()))


def _check_source(volume: Json, name: str, pod_name: str, path: str, errors: Errors, *, is_pod: bool) -> None:
    sources = [field for field in volume if field != "name"]
    if not sources:
        errors.append(required(path, "must specify a volume type"))
        return
    for field in sources[1:]:
        errors.append(forbidden(f"{path}.{field}", MORE_THAN_ONE))
    field = sources[0]
    source = volume[field]
    check_source(field, source, path, errors)
    if field == "image" and is_pod and not source.get("reference"):
        errors.append(required(f"{path}.image.reference"))
    elif field == "ephemeral" and pod_name and name:
        claim = f"{pod_name}-{name}"
        for message in names.is_dns1123_subdomain(claim):
            errors.append(invalid(f"{path}.name", name, f'PVC name "{claim}": {message}'))
    elif (
        field == "iscsi"
        and source.get("initiatorName") is not None
        and len(f"{name}:{source.get('targetPortal')}") > 64
    ):
        detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."
        errors.append(invalid(f"{path}.name", name, detail))


def _empty_dir(source: Json, path: str, errors: Errors) -> None:
    if "sizeLimit" in source and parse(source["sizeLimit"]) < 0:
        errors.append(forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _host_path(source: Json, path: str, errors: Errors) -> None:
    if not source.get("path"):
        errors.append(required(f"{path}.path"))
        return
    check_no_backsteps(source["path"], f"{path}.path", errors)
    if source.get("type") is not None and source["type"] not in HOST_PATH_TYPES:
        errors.append(not_supported(f"{path}.type", source["type"], HOST_PATH_TYPES))


def _keys(source: Json, path: str, errors: Errors) -> None:
    check_mode(source.get("defaultMode"), f"{path}.defaultMode", errors)
    for index, item in enumerate(source.get("items") or ()):
        check_key_to_path(item, f"{path}.items[{index}]", errors)


def _downward(source: Json, path: str, errors: Errors) -> None:
    check_mode(source.get("defaultMode"), f"{path}.defaultMode", errors)
    for item in source.get("items") or ():
        check_downward_file(item, path, errors)


def _image(source: Json, path: str, errors: Errors) -> None:
    check_one_of(source.get("pullPolicy"), PULL_POLICIES, f"{path}.pullPolicy", errors)


def _ephemeral(source: Json, path: str, errors: Errors) -> None:
    if source.get("volumeClaimTemplate") is None:
        errors.append(required(f"{path}.volumeClaimTemplate"))
    else:
        check_claim_template(source["volumeClaimTemplate"], f"{path}.volumeClaimTemplate", errors)


def _csi(source: Json, path: str, errors: Errors) -> None:
    check_driver_name(source.get("driver"), f"{path}.driver", errors)
    secret = source.get("nodePublishSecretRef")
    if secret is not None:
        if not secret.get("name"):
            errors.append(required(f"{path}.nodePublishSecretRef.name"))
        else:
            check_name(names.is_dns1123_subdomain, secret["name"], f"{path}.name", errors)


def _nfs(source: Json, path: str, errors: Errors) -> None:
    if not source.get("server"):
        errors.append(required(f"{path}.server"))
    directory = source.get("path") or ""
    if not directory:
        errors.append(required(f"{path}.path"))
    if not directory.startswith("/"):
        errors.append(invalid(f"{path}.path", directory, "must be an absolute path"))


def _git_repo(source: Json, path: str, errors: Errors) -> None:
    check_descending(source.get("directory") or "", f"{path}.directory", errors)


def _partition(source: Json, path: str, errors: Errors) -> None:
    value = source.get("partition", 0)
    if not 0 <= value <= 255:
        errors.append(invalid(f"{path}.partition", value, names.in_range(1, 255)))


def _iscsi(source: Json, path: str, errors: Errors) -> None:
    if not source.get("targetPortal"):
        errors.append(required(f"{path}.targetPortal"))
    if not source.get("iqn"):
        errors.append(required(f"{path}.iqn"))
    else:
        _check_iqn(source["iqn"], f"{path}.iqn", errors)
    check_range(source.get("lun", 0), 0, 255, f"{path}.lun", errors)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        errors.append(required(f"{path}.secretRef"))
    if source.get("initiatorName") is not None:
        _check_iqn(source["initiatorName"], f"{path}.initiatorname", errors)


def _check_iqn(name: str, path: str, errors: Errors) -> None:
    form = _IQN.get(name[:3])
    if form is None:
        errors.append(invalid(path, name, "must be valid format starting with iqn, eui, or naa"))
    elif not form(name):
        errors.append(invalid(path, name, "must be valid format"))


def _fibre_channel(source: Json, path: str, errors: Errors) -> None:
    targets, ids = source.get("targetWWNs"), source.get("wwids")
    if not targets and not ids:
        errors.append(required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if targets and ids:
        errors.append(
            invalid(f"{path}.targetWWNs", targets, "targetWWNs and wwids can not be specified simultaneously")
        )
    if targets:
        if source.get("lun") is None:
            errors.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        else:
            check_range(source["lun"], 0, 255, f"{path}.lun", errors)


def _flocker(source: Json, path: str, errors: Errors) -> None:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID")
    if not name and not uuid:
        errors.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        errors.append(invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
    if "/" in name:
        errors.append(invalid(f"{path}.datasetName", name, "must not contain '/'"))


def _quobyte(source: Json, path: str, errors: Errors) -> None:
    registry, detail = source.get("registry") or "", "must be a host:port pair or multiple pairs separated by commas"
    if not registry:
        errors.append(required(f"{path}.registry", detail))
    elif len(source.get("tenant") or "") >= 65:
        errors.append(required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters"))
    else:
        bad = sum(not re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*):[^:\[\]]*", pair) for pair in registry.split(","))
        errors.extend([invalid(f"{path}.registry", registry, detail)] * bad)
    if not source.get("volume"):
        errors.append(required(f"{path}.volume"))


def _flex(source: Json, path: str, errors: Errors) -> None:
    for key in source.get("options") or {}:
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            errors.append(invalid(f"{path}.options[{key}]", key, "kubernetes.io and k8s.io namespaces are reserved"))


def _azure_disk(source: Json, path: str, errors: Errors) -> None:
    kind, uri = source.get("kind"), source.get("diskURI") or ""
    for field, supported in (
        ("cachingMode", ("None", "ReadOnly", "ReadWrite")),
        ("kind", ("Dedicated", "Managed", "Shared")),
    ):
        if source.get(field) is not None and source[field] not in supported:
            errors.append(not_supported(f"{path}.{field}", source[field], supported))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
        errors.append(not_supported(f"{path}.diskURI", uri, (form,)))
    elif kind not in (None, "Managed") and not uri.startswith("https://"):
        form = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
        errors.append(not_supported(f"{path}.diskURI", uri, (form,)))


def _storage_os(source: Json, path: str, errors: Errors) -> None:
    if not source.get("volumeName"):
        errors.append(required(f"{path}.volumeName"))
    for field in ("volumeName", "volumeNamespace"):
        if source.get(field):
            check_name(names.is_dns1123_label, source[field], f"{path}.{field}", errors)
    _secret_name(source, path, errors)


def _secret_name(source: Json, path: str, errors: Errors) -> None:
    if source.get("secretRef") is not None and not source["secretRef"].get("name"):
        errors.append(required(f"{path}.secretRef.name"))


def _local(source: Json, path: str, errors: Errors) -> None:
    if not source.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        check_no_backsteps(source["path"], f"{path}.path", errors)


_SPECIAL: dict[str, SourceCheck] = {
    "awsElasticBlockStore": _partition,
    "azureDisk": _azure_disk,
    "cinder": _secret_name,
    "configMap": _keys,
    "csi": _csi,
    "downwardAPI": _downward,
    "emptyDir": _empty_dir,
    "ephemeral": _ephemeral,
    "fc": _fibre_channel,
    "flexVolume": _flex,
    "flocker": _flocker,
    "gcePersistentDisk": _partition,
    "gitRepo": _git_repo,
    "hostPath": _host_path,
    "image": _image,
    "iscsi": _iscsi,
    "local": _local,
    "nfs": _nfs,
    "projected": check_projected,
    "quobyte": _quobyte,
    "secret": _keys,
    "storageos": _storage_os,
}
