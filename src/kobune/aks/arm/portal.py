"""The portal: one page that shows what there is, for whoever sits at the machine or signs in. It changes nothing."""

import base64
import binascii
import ipaddress
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import urlsplit

from kobune.aks.arm.access import grants_of, is_allowed
from kobune.aks.arm.clusters import show
from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.groups import list_groups
from kobune.aks.arm.request import ArmRequest, Caller
from kobune.aks.arm.service import CLUSTERS, ArmService, group_of
from kobune.aks.arm.sign_in import SignInError
from kobune.aks.arm.store import Operation, Resource
from kobune.aks.arm.tokens import check_bearer
from kobune.api.errors import Json

OPERATIONS_SHOWN = 10
REFRESH_SECONDS = 10
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
READ = "Microsoft.ContainerService/managedClusters/read"
HEADERS = {
    # Nothing on the page runs, loads or is framed.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #1b1b1b; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2em; border-top: 1px solid #ccc; padding-top: 1em }
table { border-collapse: collapse; margin: .6em 0 } th, td { text-align: left; padding: .25em .9em .25em 0; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid #999 } code { background: #f2f2f2; padding: .1em .3em } .number { text-align: right }
.Succeeded, .Running { color: #0a6b22 } .Failed { color: #a4000f; font-weight: 600 } .none { color: #666 }
@media (prefers-color-scheme: dark) { body { color: #e8e8e8; background: #181818 } code { background: #2a2a2a }
 .Succeeded, .Running { color: #6fd08c } .Failed { color: #ff8a80 } .none { color: #999 } a { color: #8ab4f8 } }
"""


def check_visitor(service: ArmService, *, authorization: str, host: str, remote: str, base: str) -> None:
    """Raise ArmError unless the page may be shown: to this machine's own browser, to a bearer of a token, or to an application
    with its secret (as user and password), provided a role lets it read every cluster.

    Args:
        host: the name under which the service was asked: pages of other sites cannot choose it.
    """
    scheme, _, value = authorization.partition(" ")
    now = service.clock.now().timestamp()
    if not authorization:
        name = urlsplit(f"//{host}").hostname or ""
        if _is_loopback(remote) and name in LOOPBACK_NAMES:
            return
        raise _unknown("The portal of another machine asks for an application and its secret.")
    if scheme.lower() == "basic":
        caller = _application(service, value, base=base, now=now)
    else:
        claims = check_bearer(
            authorization, service.sign_in.issuer, tenant=service.sign_in.tenant, audiences=(base,), now=now
        )
        caller = Caller.of(claims)
    if not is_allowed(grants_of(service, caller), READ, service.scope):
        raise ArmError(
            403, "AuthorizationFailed", f"The client '{caller.app_id}' may not read the subscription's clusters."
        )


def render(service: ArmService) -> str:
    """The page."""
    request = ArmRequest("GET", service.scope, {})
    answer = list_groups(service, request).body
    groups = answer["value"] if isinstance(answer, dict) else []
    clusters = service.store.list(CLUSTERS, service.scope)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Kobune</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta http-equiv='refresh' content='{REFRESH_SECONDS}'><style>{_STYLE}</style></head><body><h1>Kobune</h1>",
        _table(("Subscription", "Tenant"), [[_code(service.subscription), _code(service.sign_in.tenant)]]),
        "<h2>Resource groups</h2>",
        _table(
            ("Name", "Location", "State", "Clusters"),
            [_group_row(group, clusters) for group in groups],
            nothing="None yet: <code>az group create -n rg1 -l westeurope</code>",
        ),
        "<h2>Clusters</h2>",
        _table(
            ("Name", "Group", "Version", "Tier", "Nodes", "Power", "State"),
            [_cluster_row(service, cluster) for cluster in clusters],
            nothing="None yet: <code>az aks create -g rg1 -n c1 --no-ssh-key</code>, or <code>kobune up</code>",
        ),
        *(_cluster_section(service, cluster) for cluster in clusters),
        "</body></html>",
    ]
    return "\n".join(parts)


def _group_row(group: Json, clusters: Sequence[Resource]) -> list[str]:
    inside = [_link(cluster) for cluster in clusters if group_of(cluster).lower() == group["name"].lower()]
    if group.get("managedBy"):
        inside = [f"<span class='none'>nodes of {escape(group['managedBy'].rpartition('/')[2])}</span>"]
    return [
        escape(group["name"]),
        escape(group["location"]),
        _state(group["properties"]["provisioningState"]),
        ", ".join(inside),
    ]


def _cluster_row(service: ArmService, cluster: Resource) -> list[str]:
    shown = show(service, cluster)
    properties = shown["properties"]
    return [
        _link(cluster),
        escape(group_of(cluster)),
        escape(properties["currentKubernetesVersion"]),
        escape(shown["sku"]["tier"]),
        str(sum(pool["count"] for pool in properties["agentPoolProfiles"])),
        _state(properties["powerState"]["code"]),
        _state(properties["provisioningState"]),
    ]


def _cluster_section(service: ArmService, cluster: Resource) -> str:
    shown, view = show(service, cluster), service.look(cluster)
    name, group = shown["name"], group_of(cluster)
    pools = shown["properties"]["agentPoolProfiles"]
    which = f"-g {group} -n {name}"
    commands = (
        f"az aks show {which}",
        f"az aks get-credentials {which}",
        f"az aks nodepool list -g {group} --cluster-name {name} -o table",
        f"az aks upgrade {which} --kubernetes-version VERSION",
        f"az aks {'start' if shown['properties']['powerState']['code'] == 'Stopped' else 'stop'} {which}",
        f"kobune status --cluster {cluster.place}",
        f"kobune logs kube-apiserver --cluster {cluster.place} --follow",
    )
    nodes = view.nodes if view else ()
    sections = [
        f"<h2 id='{escape(_anchor(cluster))}'>{escape(name)}</h2>",
        _table(
            ("Pool", "Mode", "Size", "Nodes", "Ready", "Version", "Image", "Power", "State"),
            [
                [
                    escape(pool["name"]), escape(pool["mode"]), escape(pool["vmSize"]), _count(pool),
                    str(sum(node.pool == pool["name"] and node.ready for node in nodes)),
                    escape(pool["currentOrchestratorVersion"]), escape(pool["nodeImageVersion"]),
                    _state(pool["powerState"]["code"]), _state(pool["provisioningState"]),
                ]
                for pool in pools
            ],
        ),
        *(_reservations(pool) for pool in pools),
        "<h3>Operations</h3>",
        _table(
            ("Began", "Ended", "What", "Pools", "State", "Problem"),
            [_operation_row(operation) for operation in service.store.operations(cluster.key, OPERATIONS_SHOWN)],
            nothing="None.",
        ),
        "<h3>Commands</h3>",
        *(f"<div>{_code(command)}</div>" for command in commands),
    ]  # fmt: skip
    return "\n".join(sections)


def _count(pool: Json) -> str:
    """How many nodes, and how many of them run no containers."""
    simulated = pool.get("nodeRuntimes", {}).get("simulated", 0)
    return f"{pool['count']} ({simulated} simulated)" if simulated else str(pool["count"])


def _reservations(pool: Json) -> str:
    """What a node of the pool keeps back and leaves to pods."""
    found = pool["reservations"]
    if not found:
        return ""
    cpu, memory = found["cpu"], found["memory"]
    rows = [[escape(line["resource"]), escape(line["reason"]), f"<span class='number'>{escape(line['amount'])}</span>"]
            for line in found["lines"]]  # fmt: skip
    command = f"kobune reservations {pool['vmSize']} --kubernetes-version {found['kubernetesVersion']} --max-pods {pool['maxPods']}"
    return (
        f"<details><summary>A node of {escape(pool['name'])} leaves {cpu['allocatableMillicores']}m of {cpu['capacityMillicores']}m "
        f"CPU and {memory['allocatableKi'] // 1024} of {memory['capacityKi'] // 1024} MiB to pods</summary>"
        f"{_table(('Resource', 'Why', 'Amount'), rows)}<div>{_code(command)}</div></details>"
    )


def _operation_row(operation: Operation) -> list[str]:
    problem = f"{operation.code}: {operation.message}" if operation.code else operation.warning
    state = operation.status if operation.ended else f"{operation.status} {operation.percent} %"
    return [
        escape(operation.started[:19]), escape(operation.ended[:19]), escape(operation.kind), escape(", ".join(operation.pools)),
        f"<span class='{escape(operation.status)}'>{escape(state)}</span>", escape(problem),
    ]  # fmt: skip


def _table(head: Iterable[str], rows: Sequence[Sequence[str]], *, nothing: str = "") -> str:
    """Cells are HTML already."""
    if not rows:
        return f"<p class='none'>{nothing}</p>"
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return (
        "<table><tr>" + "".join(f"<th>{escape(title)}</th>" for title in head) + "</tr>" + "".join(lines) + "</table>"
    )


def _link(cluster: Resource) -> str:
    return f"<a href='#{escape(_anchor(cluster))}'>{escape(cluster.document['name'])}</a>"


def _anchor(cluster: Resource) -> str:
    return f"{group_of(cluster)}/{cluster.document['name']}"


def _state(word: str) -> str:
    return f"<span class='{escape(word)}'>{escape(word)}</span>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _is_loopback(remote: str) -> bool:
    try:
        return ipaddress.ip_address(remote).is_loopback
    except ValueError:
        return False


def _application(service: ArmService, encoded: str, *, base: str, now: float) -> Caller:
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        token = service.sign_in.token(form, base=base, now=now, new_id=service.new_id())
    except (binascii.Error, UnicodeDecodeError, SignInError) as error:
        raise _unknown("The application or its secret is wrong.") from error
    return Caller.of(service.sign_in.issuer.read(token["access_token"]))


def _unknown(message: str) -> ArmError:
    return ArmError(401, "AuthenticationFailed", message, headers={"WWW-Authenticate": 'Basic realm="Kobune"'})
