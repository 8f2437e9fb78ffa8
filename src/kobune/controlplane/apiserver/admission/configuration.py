"""What an AdmissionConfiguration says of the plug-ins that can be told something.

Source: upstream apiserver, pkg/admission/config.go.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.pod_security import PodSecurity
from kobune.controlplane.apiserver.admission.pod_security_policy import AS_LABELLED, PodSecuritySettings, read_settings
from kobune.controlplane.apiserver.admission.quota.limited import Limited, read_limited
from kobune.controlplane.apiserver.admission.resource_quota import ResourceQuota

VERSIONS = tuple(f"apiserver.config.k8s.io/{version}" for version in ("v1", "v1alpha1"))


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    pod_security: PodSecuritySettings = AS_LABELLED
    limited_resources: tuple[Limited, ...] = ()


def read_admission(configuration: Json, read_file: Callable[[str], Json]) -> AdmissionSettings:
    """The settings of the plug-ins that the configuration names.

    Args:
        read_file: the document in a file that the configuration names; its path may be relative to the configuration's.
    Raises:
        ValueError: not an AdmissionConfiguration, or a plug-in's own configuration cannot be.
    """
    if configuration.get("apiVersion") not in VERSIONS or configuration.get("kind") != "AdmissionConfiguration":
        raise ValueError(f"not an AdmissionConfiguration of {' or '.join(VERSIONS)}")
    settings = AdmissionSettings()
    seen: set[str] = set()
    for index, plugin in enumerate(configuration.get("plugins") or ()):
        name = plugin.get("name") or ""
        if name in seen:
            raise ValueError(f'plugins[{index}].name: Duplicate value: "{name}"')
        seen.add(name)
        given = plugin.get("configuration")
        if given is None and plugin.get("path"):
            given = read_file(plugin["path"])
        if name not in (PodSecurity.name, ResourceQuota.name):
            raise ValueError(f'plugins[{index}].name: "{name}" has nothing to configure')
        if given is None:
            continue
        if name == PodSecurity.name:
            settings = replace(settings, pod_security=read_settings(given))
        else:
            settings = replace(settings, limited_resources=read_limited(given))
    return settings
