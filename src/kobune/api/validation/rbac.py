"""Roles and bindings: their names may hold colons."""

from kobune.api.validation.kinds import Rules, path_name

_NAMED = Rules(name=path_name)
RULES = dict.fromkeys(("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"), _NAMED)
