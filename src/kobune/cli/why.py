"""`kobune why`: why a pod is pending, what the closest nodes lack, and what would help."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from kobune.aks.versions import DEFAULT_VERSION
from kobune.api.errors import ApiError
from kobune.api.objects.meta import Key
from kobune.cli.output import Output, fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of
from kobune.client.client import Client
from kobune.client.kubeconfig import KubeconfigError, load_kubeconfig

if TYPE_CHECKING:
    from kobune.controlplane.scheduler.why import Pool


def command(
    pod: Annotated[str, typer.Argument(metavar="POD", help="The name of a pending pod.")],
    *,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="The pod's namespace.")] = "default",
    cluster: ClusterName = DEFAULT_CLUSTER,
    kubeconfig: Annotated[Path | None, typer.Option(help="Ask this cluster instead, whoever runs it.")] = None,
    state_dir: StateDir = None,
    output: Annotated[Output, typer.Option("-o", "--output")] = Output.TEXT,
) -> None:
    """Say why POD has no node, and what would help."""
    # Late: the scheduler's arrays take a moment to load, and the other commands need none.
    from kobune.controlplane.scheduler.observe import explain_pod
    from kobune.controlplane.scheduler.why_text import render_json, render_text
    from kobune.host.what_if import pool_like, sizes_on_offer

    version, max_pods = DEFAULT_VERSION, 250
    declared: tuple[Pool, ...] = ()
    if kubeconfig is None:
        found, spec = existing_cluster(layout_of(state_dir), cluster)
        kubeconfig, version = found.kubeconfig, spec.cluster.kubernetes_version
        max_pods = max((pool.max_pods for pool in spec.cluster.pools), default=max_pods)
        declared = tuple(pool_like(pool, kubernetes_version=version) for pool in spec.cluster.pools)
    offers = sizes_on_offer(kubernetes_version=version, max_pods=max_pods)

    async def ask() -> str:
        transport = load_kubeconfig(kubeconfig, user_agent="kobune-why")
        try:
            explanation = await explain_pod(Client(transport), Key(namespace, pod), declared=declared, offers=offers)
        finally:
            await transport.close()
        if output is Output.JSON:
            return orjson.dumps(render_json(explanation), option=orjson.OPT_INDENT_2).decode()
        return render_text(explanation).rstrip("\n")

    try:
        typer.echo(asyncio.run(ask()))
    except (ApiError, KubeconfigError) as error:
        fail(str(error))
