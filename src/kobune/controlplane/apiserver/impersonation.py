"""Impersonation: whoever may, acts as somebody else. Source: upstream filters/impersonation."""

from collections.abc import Mapping
from urllib.parse import unquote

from kobune.api.errors import BadRequest
from kobune.controlplane.apiserver.authorization.authorizer import Access, Authorization
from kobune.controlplane.apiserver.request import Request, User
from kobune.controlplane.apiserver.wire import all_values

USER, UID, GROUP, EXTRA = "impersonate-user", "impersonate-uid", "impersonate-group", "impersonate-extra-"
ACCOUNT = "system:serviceaccount:"


async def impersonated(request: Request, user: User, authorization: Authorization) -> User:
    """Whom the request is to count as. Raises Forbidden, and BadRequest for groups without a user."""
    headers = request.headers
    name = headers.get(USER) or ""
    groups, extra = all_values(headers, GROUP), _extra(headers)
    uid = headers.get(UID) or ""
    if not name:
        if groups or extra or uid:
            raise BadRequest("requested impersonation of groups, uid or extra without impersonating a user")
        return user
    if name.startswith(ACCOUNT):
        namespace, _, account = name.removeprefix(ACCOUNT).partition(":")
        await _require(authorization, user, "serviceaccounts", account, namespace=namespace)
        groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    else:
        await _require(authorization, user, "users", name)
    for group in all_values(headers, GROUP):
        await _require(authorization, user, "groups", group)
    for key, values in extra.items():
        for value in values:
            await _require(authorization, user, "userextras", value, subresource=key, group="authentication.k8s.io")
    if uid:
        await _require(authorization, user, "uids", uid, group="authentication.k8s.io")
    if name != "system:anonymous" and "system:authenticated" not in groups:
        groups = [*groups, "system:authenticated"]
    elif name == "system:anonymous" and "system:unauthenticated" not in groups:
        groups = [*groups, "system:unauthenticated"]
    return User(name, uid, tuple(groups), extra)


async def _require(
    authorization: Authorization,
    user: User,
    resource: str,
    name: str,
    *,
    namespace: str = "",
    subresource: str = "",
    group: str = "",
) -> None:
    access = Access(user, "impersonate", group, "v1", resource, subresource=subresource, namespace=namespace, name=name)
    await authorization.require(access)


def _extra(headers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    extra: dict[str, tuple[str, ...]] = {}
    for name in headers:
        lower = name.lower()
        if lower.startswith(EXTRA):
            extra[unquote(lower.removeprefix(EXTRA))] = tuple(all_values(headers, name))
    return extra
