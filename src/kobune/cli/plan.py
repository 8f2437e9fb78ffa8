"""`kobune plan`: would these manifests fit, on how many nodes of which size, and what is left over?"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import yaml

from kobune.aks.clusters import DEFAULT_MAX_PODS, NodePool
from kobune.aks.versions import DEFAULT_VERSION
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE, get_vm_size
from kobune.api.errors import ApiError, Invalid, Json
from kobune.cli.output import Output, fail
from kobune.client.client import Client
from kobune.client.kubeconfig import KubeconfigError, load_kubeconfig

LEFT_OVER = 2  # The exit status when not everything fits.
POOL_KEYS = ("name", "size", "count", "max-pods", "taints", "zones")


def command(
    *,
    file: Annotated[list[Path], typer.Option("-f", "--filename", help="Manifests; again for more files.")],
    pool: Annotated[
        list[str] | None, typer.Option(help="Nodes to plan on: size=Standard_D4s_v5,count=3,max-pods=30[,name=user].")
    ] = None,
    size: Annotated[list[str] | None, typer.Option(help="Say how many nodes of this VM size alone would do.")] = None,
    kubernetes_version: Annotated[str, typer.Option(help="What is reserved depends on it.")] = DEFAULT_VERSION,
    max_pods: Annotated[int, typer.Option(help="Pods per node, where --pool does not say.")] = DEFAULT_MAX_PODS,
    kubeconfig: Annotated[Path | None, typer.Option(help="Plan on top of what runs in this cluster.")] = None,
    output: Annotated[Output, typer.Option("-o", "--output")] = Output.TEXT,
) -> None:
    """Place manifests on nodes, without any cluster.

    Exit status 2: not everything fits."""
    # Late: the scheduler's arrays take a moment to load, and the other commands need none.
    from kobune.controlplane.scheduler.observe import observe
    from kobune.controlplane.scheduler.plan import make_plan, plan_json, render_plan
    from kobune.controlplane.scheduler.workloads import workloads_of
    from kobune.host.what_if import pool_like

    try:
        workloads = workloads_of(document for path in file for document in _documents(path))
        pools = [_pool(text, number, max_pods) for number, text in enumerate(pool or ())]
        planned = [pool_like(one, kubernetes_version=kubernetes_version) for one in pools]
        alone = [
            pool_like(NodePool(get_vm_size(name).name, 0, name, max_pods), kubernetes_version=kubernetes_version)
            for name in size or ()
        ]
        existing = None
        if kubeconfig is not None:
            existing = asyncio.run(_observed(observe, kubeconfig))
        if not (planned or alone or existing is not None):
            fail(
                "on which nodes? For example --pool size=Standard_D4s_v5,count=3, --size Standard_D4s_v5 or --kubeconfig"
            )
        plan = make_plan(workloads, planned, existing=existing, sizes=alone)
    except (ApiError, KubeconfigError, ValueError) as error:
        fail(str(error))
    if output is Output.JSON:
        typer.echo(orjson.dumps(plan_json(plan), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(render_plan(plan), nl=False)
    if not plan.fits:
        raise typer.Exit(LEFT_OVER)


async def _observed(observe: Any, kubeconfig: Path) -> Any:
    transport = load_kubeconfig(kubeconfig, user_agent="kobune-plan")
    try:
        return await observe(Client(transport))
    finally:
        await transport.close()


def _documents(path: Path) -> Sequence[Json]:
    """The manifests of a file. Raises Invalid."""
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise Invalid(f"cannot read {path}: {error}") from error
    for document in documents:
        if document is not None and not (isinstance(document, dict) and "kind" in document):
            raise Invalid(f"{path} holds something that is no manifest: it has no kind")
    return documents


def _pool(text: str, number: int, max_pods: int) -> NodePool:
    """A pool as `--pool` writes it. Raises Invalid."""
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, separator, value = part.partition("=")
        if not separator or key not in POOL_KEYS:
            raise Invalid(f"--pool {text}: {part!r} is not one of {', '.join(f'{key}=…' for key in POOL_KEYS)}")
        fields[key] = value
    for key in ("count", "max-pods"):
        if key in fields and not fields[key].isdecimal():
            raise Invalid(f"--pool {text}: {key} must be a number")
    return NodePool(
        name=fields.get("name", f"pool{number + 1}"),
        count=int(fields.get("count", "1")),
        vm_size=get_vm_size(fields.get("size", DEFAULT_VM_SIZE)).name,
        max_pods=int(fields.get("max-pods", max_pods)),
        taints=tuple(fields["taints"].split(";")) if fields.get("taints") else (),
        zones=tuple(fields["zones"].split(";")) if fields.get("zones") else (),
    )
