"""The table of controllers. Nothing registers itself: what is not here does not run."""

from kobune.controlplane.controllers import (
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
    protection,
    replicaset,
    resource_quota,
    root_ca_certificate_publisher,
    service_account,
    service_lb,
    statefulset,
    taint_eviction,
    ttl_after_finished,
)
from kobune.controlplane.controllers.autoscaling import autoscaler
from kobune.controlplane.controllers.certificates import certificates
from kobune.controlplane.controllers.controller import Controller
from kobune.controlplane.controllers.cronjob import cronjob
from kobune.controlplane.controllers.deployment import deployment
from kobune.controlplane.controllers.job import job
from kobune.controlplane.controllers.storage import attach_detach, binder, expansion, local_volumes

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
    root_ca_certificate_publisher.CONTROLLER,
    endpoint_slice.CONTROLLER,
    endpoints.CONTROLLER,
    endpoint_slice_mirroring.CONTROLLER,
    service_lb.CONTROLLER,
    node_lifecycle.CONTROLLER,
    taint_eviction.CONTROLLER,
    node_ipam.CONTROLLER,
    pod_gc.CONTROLLER,
    *protection.CONTROLLERS,
    ephemeral_volume.CONTROLLER,
    binder.CONTROLLER,
    local_volumes.CONTROLLER,
    expansion.CONTROLLER,
    attach_detach.CONTROLLER,
    *certificates.CONTROLLERS,
    cluster_role_aggregation.CONTROLLER,
)
