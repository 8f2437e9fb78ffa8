"""The columns of every kind are upstream's."""

import pytest

from kobune.api.catalogue import KINDS, find_builtin
from kobune.controlplane.apiserver.tables import find_printer

# Columns as Name[:TYPE][!][+], blanks as underscores; TYPE is string unless given, ! has the format "name", + is shown in
# wide output only. Source: upstream 1.36 printers/internalversion, AddHandlers.
UPSTREAM = """
core/ComponentStatus Name:! Status Message Error
core/ConfigMap Name:! Data Age
core/Endpoints Name:! Endpoints Age
core/Event Last_Seen Type Reason Object Subobject:+ Source:+ Message First_Seen:+ Count:+ Name:!+
core/Namespace Name:! Status Age
core/Node Name:! Status Roles Age Version Internal-IP:+ External-IP:+ OS-Image:+ Kernel-Version:+ Container-Runtime:+
core/PersistentVolumeClaim Name:! Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age VolumeMode:+
core/PersistentVolume Name:! Capacity Access_Modes Reclaim_Policy Status Claim StorageClass VolumeAttributesClass Reason Age VolumeMode:+
core/Pod Name:! Ready Status Restarts Age IP:+ Node:+ Nominated_Node:+ Readiness_Gates:+
core/PodTemplate Name:! Containers Images Pod_Labels
core/ReplicationController Name:! Desired:integer Current:integer Ready:integer Age Containers:+ Images:+ Selector:+
core/ResourceQuota Name:! Request Limit Age
core/Secret Name:! Type Data Age
core/ServiceAccount Name:! Age
core/Service Name:! Type Cluster-IP External-IP Port(s) Age Selector:+
admissionregistration.k8s.io/MutatingAdmissionPolicy Name:! Mutations:integer ParamKind Age
admissionregistration.k8s.io/MutatingAdmissionPolicyBinding Name:! PolicyName ParamRef Age
admissionregistration.k8s.io/MutatingWebhookConfiguration Name:! Webhooks:integer Age
admissionregistration.k8s.io/ValidatingAdmissionPolicy Name:! Validations:integer ParamKind Age
admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding Name:! PolicyName ParamRef Age
admissionregistration.k8s.io/ValidatingWebhookConfiguration Name:! Webhooks:integer Age
apps/ControllerRevision Name:! Controller Revision Age
apps/DaemonSet Name:! Desired:integer Current:integer Ready:integer Up-to-date:integer Available:integer Node_Selector Age Containers:+ Images:+ Selector:+
apps/Deployment Name:! Ready Up-to-date Available Age Containers:+ Images:+ Selector:+
apps/ReplicaSet Name:! Desired:integer Current:integer Ready:integer Age Containers:+ Images:+ Selector:+
apps/StatefulSet Name:! Ready Age Containers:+ Images:+
autoscaling/HorizontalPodAutoscaler Name:! Reference Targets MinPods MaxPods Replicas Age
batch/CronJob Name:! Schedule Timezone Suspend:boolean Active:integer Last_Schedule Age Containers:+ Images:+ Selector:+
batch/Job Name:! Status Completions Duration Age Containers:+ Images:+ Selector:+
certificates.k8s.io/CertificateSigningRequest Name:! Age SignerName Requestor RequestedDuration Condition
certificates.k8s.io/ClusterTrustBundle Name:! SignerName
certificates.k8s.io/PodCertificateRequest Name:! PodName ServiceAccountName NodeName SignerName State UnverifiedUserAnnotations
coordination.k8s.io/Lease Name:! Holder Age
discovery.k8s.io/EndpointSlice Name:! AddressType Ports Endpoints Age
events.k8s.io/Event Last_Seen Type Reason Object Subobject:+ Source:+ Message First_Seen:+ Count:+ Name:!+
flowcontrol.apiserver.k8s.io/FlowSchema Name:! PriorityLevel MatchingPrecedence DistinguisherMethod Age MissingPL
flowcontrol.apiserver.k8s.io/PriorityLevelConfiguration Name:! Type NominalConcurrencyShares Queues HandSize QueueLengthLimit Age
networking.k8s.io/IngressClass Name:! Controller Parameters Age
networking.k8s.io/Ingress Name:! Class Hosts Address Ports Age
networking.k8s.io/IPAddress Name:! ParentRef
networking.k8s.io/NetworkPolicy Name:! Pod-Selector Age
networking.k8s.io/ServiceCIDR Name:! CIDRs Age
node.k8s.io/RuntimeClass Name:! Handler Age
policy/PodDisruptionBudget Name:! Min_Available Max_Unavailable Allowed_Disruptions:integer Age
rbac.authorization.k8s.io/ClusterRoleBinding Name:! Role Age Users:+ Groups:+ ServiceAccounts:+
rbac.authorization.k8s.io/RoleBinding Name:! Role Age Users:+ Groups:+ ServiceAccounts:+
resource.k8s.io/DeviceClass Name:! Age
resource.k8s.io/DeviceTaintRule Name:! Key Value Effect TimeAdded Age
resource.k8s.io/ResourceClaim Name:! State Age
resource.k8s.io/ResourceClaimTemplate Name:! Age
resource.k8s.io/ResourceSlice Name:! Node Driver Pool Age
scheduling.k8s.io/PriorityClass Name:! Value:integer Global-Default:boolean Age PreemptionPolicy
scheduling.k8s.io/PodGroup Name:! Policy Workload Status Age
scheduling.k8s.io/Workload Name:! Age
storage.k8s.io/CSIDriver Name:! AttachRequired:boolean PodInfoOnMount:boolean StorageCapacity:boolean TokenRequests RequiresRepublish:boolean Modes Age
storage.k8s.io/CSINode Name:! Drivers:integer Age
storage.k8s.io/StorageClass Name:! Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion Age
storage.k8s.io/VolumeAttachment Name:! Attacher:! PV Node Attached:boolean Age
storage.k8s.io/VolumeAttributesClass Name:! DriverName Age
storagemigration.k8s.io/StorageVersionMigration Name Resource Status
apiregistration.k8s.io/APIService Name:! Service Available Age
"""
# Kinds whose registry has upstream's default columns.
PLAIN = ("LimitRange", "CustomResourceDefinition", "ClusterRole", "Role", "CSIStorageCapacity")


def written(column):
    tag = ("" if column.type == "string" else column.type) + ("!" if column.format else "") + "+" * column.priority
    return column.name.replace(" ", "_") + (f":{tag}" if tag else "")


def columns_of(kind):
    return [written(column) for column in find_printer(kind).columns]


@pytest.mark.parametrize("line", UPSTREAM.strip().splitlines(), ids=lambda line: line.split()[0])
def test_columns_are_upstreams(line):
    name, *columns = line.split()
    group, _, kind = name.rpartition("/")
    row = next(row for row in KINDS if (row.group or "core", row.name) == (group, kind))
    assert columns_of(row) == columns


@pytest.mark.parametrize("name", PLAIN)
def test_kinds_without_columns_show_when_they_were_created(name):
    row = next(row for row in KINDS if row.name == name)
    assert columns_of(row) == ["Name:!", "Created_At:date"]


def test_every_kind_that_is_kept_is_checked_here():
    listed = {line.split()[0].rpartition("/")[2] for line in UPSTREAM.strip().splitlines()}
    assert {kind.name for kind in KINDS if kind.is_kept} <= listed | set(PLAIN)


def test_every_column_says_what_it_means():
    for kind in KINDS:
        assert all(column.description for column in find_printer(kind).columns)


def test_both_versions_of_a_kind_have_the_same_columns():
    versions = [find_builtin("autoscaling", version, "HorizontalPodAutoscaler") for version in ("v1", "v2")]
    assert columns_of(versions[0]) == columns_of(versions[1])
