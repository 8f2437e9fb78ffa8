"""projected: several sources in one directory, among them service account tokens, renewed before they expire."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.api.objects.meta import Key
from kobune.api.timestamps import parse_time
from kobune.node.kubelet.pod import Pod, TokenProjection
from kobune.node.kubelet.volumes.atomic_writer import File, write_files
from kobune.node.kubelet.volumes.downward_api import downward_files
from kobune.node.kubelet.volumes.keys import config_map_files, secret_files
from kobune.node.kubelet.volumes.volume import Request

# A token is renewed after so much of its life, and in any case when it is a day old. Source: upstream token manager.
RENEW_SHARE, RENEW_SECONDS = 0.8, 24 * 3600.0


class Token(NamedTuple):
    text: str
    renew_at: datetime


class Tokens:
    """Tokens of this node's pods, kept until they need renewal."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str, int], Token] = {}

    async def get(self, request: Request, wanted: TokenProjection) -> str:
        """A token that is not about to expire. Raises ApiError when there is none and none can be had."""
        pod = request.pod
        identity = (pod.uid, wanted.audience, wanted.expiration_seconds)
        known, now = self._tokens.get(identity), request.clock.now()
        if known is not None and now < known.renew_at:
            return known.text
        spec: Json = {
            "audiences": [wanted.audience] if wanted.audience else [],
            "expirationSeconds": wanted.expiration_seconds,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid},
        }
        account = Key(pod.namespace, pod.spec.service_account_name or "default")
        answer = await request.sources.token(account, spec)
        life = (parse_time(answer["expirationTimestamp"]) - now).total_seconds()
        renew_at = datetime.fromtimestamp(now.timestamp() + min(life * RENEW_SHARE, RENEW_SECONDS), now.tzinfo)
        self._tokens[identity] = Token(str(answer["token"]), renew_at)
        return self._tokens[identity].text

    def forget(self, pod_uid: str) -> None:
        for identity in [each for each in self._tokens if each[0] == pod_uid]:
            del self._tokens[identity]


async def set_up(request: Request, tokens: Tokens) -> Path:
    source = request.volume.projected
    assert source is not None
    mode = source.default_mode
    files: dict[str, File] = {}
    for each in source.sources:
        if each.config_map is not None:
            one = each.config_map
            files |= await config_map_files(request, one.name, one.items, mode=mode, optional=one.optional)
        if each.secret is not None:
            one = each.secret
            files |= await secret_files(request, one.name, one.items, mode=mode, optional=one.optional)
        if each.downward_api is not None:
            files |= downward_files(request, each.downward_api.items, mode=mode)
        if each.service_account_token is not None:
            text = await tokens.get(request, each.service_account_token)
            user = _single_user(request.pod)
            private = user is not None or request.fs_group is not None
            owner = user if request.fs_group is None else None
            files[each.service_account_token.path] = File(text.encode(), 0o600 if private else mode, owner)
    request.path.mkdir(parents=True, exist_ok=True)
    request.mounter.tmpfs(request.path)
    write_files(request.path, files, group=request.fs_group, now=request.clock.now())
    return request.path


def _single_user(pod: Pod) -> int | None:
    """The uid that all containers run as, when the pod says there is one. Source: upstream FsUserFrom."""
    default = pod.spec.security_context.run_as_user if pod.spec.security_context else None
    users = {
        each.security_context.run_as_user
        if each.security_context and each.security_context.run_as_user is not None
        else default
        for each in pod.all_containers()
    }
    return users.pop() if len(users) == 1 else None
