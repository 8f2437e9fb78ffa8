"""What an AdmissionConfiguration says of the plug-ins that can be told something.

Source: upstream apiserver, pkg/admission/config.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.event_rate_limit import EventLimit, EventRateLimit, read_event_limits
from kobune.controlplane.apiserver.admission.image_policy_webhook import (
    ImagePolicy,
    ImagePolicyWebhook,
    read_image_policy,
)
from kobune.controlplane.apiserver.admission.mutating_admission_webhook import MutatingAdmissionWebhook
from kobune.controlplane.apiserver.admission.pod_node_selector import PodNodeSelector, read_node_selectors
from kobune.controlplane.apiserver.admission.pod_security import PodSecurity
from kobune.controlplane.apiserver.admission.pod_security_policy import AS_LABELLED, PodSecuritySettings, read_settings
from kobune.controlplane.apiserver.admission.pod_toleration_restriction import (
    NOTHING_SAID,
    PodTolerationRestriction,
    TolerationSettings,
    read_tolerations,
)
from kobune.controlplane.apiserver.admission.quota.limited import Limited, read_limited
from kobune.controlplane.apiserver.admission.resource_quota import ResourceQuota
from kobune.controlplane.apiserver.admission.validating_admission_webhook import ValidatingAdmissionWebhook
from kobune.controlplane.apiserver.admission.webhooks.users import NOBODY, WebhookUsers, read_webhook_users

VERSIONS = tuple(f"apiserver.config.k8s.io/{version}" for version in ("v1", "v1alpha1"))


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """What the plugins are told that can be told something.

    Attributes:
        pod_security: what namespaces that ask for nothing are held to, and who is not judged.
        limited_resources: what may only be taken where a quota covers it.
        node_selectors: the nodes that pods are sent to, by namespace (`pod_node_selector`).
        tolerations: what pods tolerate in namespaces that say nothing themselves.
        event_limits: how many Events may be written.
        image_policy: who judges the images of pods.
        mutating_users, validating_users: as whom the webhooks of each sort are asked.
    """

    pod_security: PodSecuritySettings = AS_LABELLED
    limited_resources: tuple[Limited, ...] = ()
    node_selectors: Mapping[str, str] = field(default_factory=dict)
    tolerations: TolerationSettings = NOTHING_SAID
    event_limits: tuple[EventLimit, ...] = ()
    image_policy: ImagePolicy | None = None
    mutating_users: WebhookUsers = NOBODY
    validating_users: WebhookUsers = NOBODY


AS_USUAL = AdmissionSettings()
# By plugin the setting that its configuration gives, and the reader of that.
READERS: Mapping[str, tuple[str, Callable[[Json], Any]]] = {
    PodSecurity.name: ("pod_security", read_settings),
    ResourceQuota.name: ("limited_resources", read_limited),
    PodNodeSelector.name: ("node_selectors", read_node_selectors),
    PodTolerationRestriction.name: ("tolerations", read_tolerations),
    EventRateLimit.name: ("event_limits", read_event_limits),
    ImagePolicyWebhook.name: ("image_policy", read_image_policy),
}
# By plugin the setting that says who asks.
USERS = {MutatingAdmissionWebhook.name: "mutating_users", ValidatingAdmissionWebhook.name: "validating_users"}


def read_admission(configuration: Json, read_file: Callable[[str], Json]) -> AdmissionSettings:
    """The settings of the plug-ins that the configuration names.

    Args:
        read_file: the document in a file that the configuration names; its path may be relative to the configuration's.
    Raises:
        ValueError: not an AdmissionConfiguration, or a plug-in's own configuration cannot be.
    """
    if configuration.get("apiVersion") not in VERSIONS or configuration.get("kind") != "AdmissionConfiguration":
        raise ValueError(f"not an AdmissionConfiguration of {' or '.join(VERSIONS)}")
    settings = AS_USUAL
    seen: set[str] = set()
    for index, plugin in enumerate(configuration.get("plugins") or ()):
        name = plugin.get("name") or ""
        if name in seen:
            raise ValueError(f'plugins[{index}].name: Duplicate value: "{name}"')
        seen.add(name)
        given = plugin.get("configuration")
        if given is None and plugin.get("path"):
            given = read_file(plugin["path"])
        if name not in READERS and name not in USERS:
            raise ValueError(f'plugins[{index}].name: "{name}" has nothing to configure')
        if given is None:
            continue
        told: Any
        if name in USERS:
            setting, told = USERS[name], read_webhook_users(given, read_file)
        else:
            setting, told = READERS[name][0], READERS[name][1](given)
        settings = replace(settings, **{setting: told})
    return settings
