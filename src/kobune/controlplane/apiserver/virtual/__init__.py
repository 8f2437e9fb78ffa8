"""Kinds that are asked, not kept: an object is posted and comes back with the answer as its status."""

from collections.abc import Mapping

from kobune.controlplane.apiserver.resources import Handler
from kobune.controlplane.apiserver.virtual.access_reviews import review_access, review_own_access, review_rules
from kobune.controlplane.apiserver.virtual.component_statuses import component_statuses
from kobune.controlplane.apiserver.virtual.metrics import node_metrics, pod_metrics
from kobune.controlplane.apiserver.virtual.token_reviews import review_self, review_token

VIRTUAL: Mapping[tuple[str, str], Handler] = {
    ("", "componentstatuses"): component_statuses,
    ("authentication.k8s.io", "tokenreviews"): review_token,
    ("authentication.k8s.io", "selfsubjectreviews"): review_self,
    ("authorization.k8s.io", "subjectaccessreviews"): review_access,
    ("authorization.k8s.io", "localsubjectaccessreviews"): review_access,
    ("authorization.k8s.io", "selfsubjectaccessreviews"): review_own_access,
    ("authorization.k8s.io", "selfsubjectrulesreviews"): review_rules,
    ("metrics.k8s.io", "nodes"): node_metrics,
    ("metrics.k8s.io", "pods"): pod_metrics,
}
