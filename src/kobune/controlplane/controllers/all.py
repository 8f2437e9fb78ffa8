"""The table of controllers. Nothing registers itself: what is not here does not run."""

from kobune.controlplane.controllers import (
    attributes_class_protection,
    cluster_role_aggregation,
    daemonset,
    disruption,
    endpoint_slice,
    endpoint_slice_mirroring,
    endpoints,
    ephemeral_volume,
    garbage_collector,
    namespace,
    node_ipam,
    node_lifecycle,
    pod_gc,
    pod_group_protection,
    protection,
    replicaset,
    resource_quota,
    root_ca_certificate_publisher,
    service_account,
    service_cidr,
    service_lb,
    statefulset,
    taint_eviction,
    ttl,
    ttl_after_finished,
)
from kobune.controlplane.controllers.autoscaling import autoscaler
from kobune.controlplane.controllers.certificates import certificates, cluster_trust_bundle, pod_certificate_cleaner
from kobune.controlplane.controllers.controller import Controller
from kobune.controlplane.controllers.cronjob import cronjob
from kobune.controlplane.controllers.deployment import deployment
from kobune.controlplane.controllers.devices import resource_claim
from kobune.controlplane.controllers.devices import taint_eviction as device_taint_eviction
from kobune.controlplane.controllers.job import job
from kobune.controlplane.controllers.storage import attach_detach, binder, expansion, local_volumes, version_migration
from kobune.controlplane.controllers.tokens import bootstrap_tokens, legacy_token_cleaner, service_account_tokens

CONTROLLERS: tuple[Controller, ...] = (
    deployment.CONTROLLER,
    *replicaset.CONTROLLERS,
    statefulset.CONTROLLER,
    daemonset.CONTROLLER,
    job.CONTROLLER,
    cronjob.CONTROLLER,
    ttl_after_finished.CONTROLLER,
    autoscaler.CONTROLLER,
    *disruption.CONTROLLERS,
    resource_quota.CONTROLLER,
    garbage_collector.CONTROLLER,
    namespace.CONTROLLER,
    service_account.CONTROLLER,
    service_account_tokens.CONTROLLER,
    legacy_token_cleaner.CONTROLLER,
    *bootstrap_tokens.CONTROLLERS,
    root_ca_certificate_publisher.CONTROLLER,
    endpoint_slice.CONTROLLER,
    endpoints.CONTROLLER,
    endpoint_slice_mirroring.CONTROLLER,
    service_lb.CONTROLLER,
    service_cidr.CONTROLLER,
    node_lifecycle.CONTROLLER,
    taint_eviction.CONTROLLER,
    node_ipam.CONTROLLER,
    ttl.CONTROLLER,
    pod_gc.CONTROLLER,
    *protection.CONTROLLERS,
    pod_group_protection.CONTROLLER,
    attributes_class_protection.CONTROLLER,
    ephemeral_volume.CONTROLLER,
    resource_claim.CONTROLLER,
    device_taint_eviction.CONTROLLER,
    binder.CONTROLLER,
    local_volumes.CONTROLLER,
    expansion.CONTROLLER,
    attach_detach.CONTROLLER,
    version_migration.CONTROLLER,
    *certificates.CONTROLLERS,
    cluster_trust_bundle.CONTROLLER,
    pod_certificate_cleaner.CONTROLLER,
    cluster_role_aggregation.CONTROLLER,
)
