"""Role bindings."""

from kobune.api.errors import Json

GROUP = "rbac.authorization.k8s.io"


def default_binding(binding: Json) -> None:
    reference = binding.setdefault("roleRef", {})
    if not reference.get("apiGroup"):
        reference["apiGroup"] = GROUP
    for subject in binding.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = GROUP


DEFAULTS = {"ClusterRoleBinding": default_binding, "RoleBinding": default_binding}
