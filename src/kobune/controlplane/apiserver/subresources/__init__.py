"""Subresources of single kinds: one file each. The table is the only list of them."""

from collections.abc import Mapping

from kobune.controlplane.apiserver.customresources.scale import custom_scale
from kobune.controlplane.apiserver.resources import Handler, status
from kobune.controlplane.apiserver.subresources.approval import approve
from kobune.controlplane.apiserver.subresources.binding import bind, bind_collection
from kobune.controlplane.apiserver.subresources.eviction import evict
from kobune.controlplane.apiserver.subresources.finalize import finalize
from kobune.controlplane.apiserver.subresources.log import log
from kobune.controlplane.apiserver.subresources.pod_parts import ephemeral_containers, resize
from kobune.controlplane.apiserver.subresources.proxy import proxy
from kobune.controlplane.apiserver.subresources.scale import scale
from kobune.controlplane.apiserver.subresources.streams import attach, execute, port_forward
from kobune.controlplane.apiserver.subresources.token import issue_token

SUBRESOURCES: Mapping[tuple[str, str, str], Handler] = {
    ("", "pods", "binding"): bind,
    ("", "pods", "eviction"): evict,
    ("", "pods", "ephemeralcontainers"): ephemeral_containers,
    ("", "pods", "resize"): resize,
    ("", "pods", "log"): log,
    ("", "pods", "exec"): execute,
    ("", "pods", "attach"): attach,
    ("", "pods", "portforward"): port_forward,
    ("", "pods", "proxy"): proxy,
    ("", "services", "proxy"): proxy,
    ("", "nodes", "proxy"): proxy,
    ("", "namespaces", "finalize"): finalize,
    ("", "serviceaccounts", "token"): issue_token,
    ("", "replicationcontrollers", "scale"): scale,
    ("apps", "deployments", "scale"): scale,
    ("apps", "replicasets", "scale"): scale,
    ("apps", "statefulsets", "scale"): scale,
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): approve,
}
# Subresources that any kind may have, if it has none of its own of that name.
PARTS: Mapping[str, Handler] = {"status": status, "scale": custom_scale}
# Kinds that are a subresource's request body, posted as a collection of their own.
POSTED: Mapping[tuple[str, str], Handler] = {("", "bindings"): bind_collection}
