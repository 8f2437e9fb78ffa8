"""`kobune reservations`: what a node of a VM size offers to pods, and what is kept back of it."""

from typing import Annotated

import orjson
import typer

from kobune.aks.clusters import DEFAULT_MAX_PODS
from kobune.aks.reservations import OS_DISK_GIB, PODS_AT_LEAST, PODS_AT_MOST, NodeOs, Reservations, freed, reservations
from kobune.aks.versions import DEFAULT_VERSION
from kobune.aks.vm_sizes import VM_SIZES, get_vm_size
from kobune.api.errors import Invalid
from kobune.cli.output import Output, columns, fail


def command(
    vm_size: Annotated[str, typer.Argument(metavar="VM_SIZE", help="For example Standard_DS2_v2.")] = "",
    *,
    kubernetes_version: Annotated[str, typer.Option(help="The memory rule changed with 1.29.")] = DEFAULT_VERSION,
    max_pods: Annotated[int, typer.Option(help="The pool's limit of pods per node.")] = DEFAULT_MAX_PODS,
    os: Annotated[NodeOs, typer.Option(help="The node's operating system.", case_sensitive=False)] = NodeOs.LINUX,
    capacity_memory_ki: Annotated[
        int | None, typer.Option(help="What the kernel of a real node reports, instead of the estimate.", min=1)
    ] = None,
    os_disk_gib: Annotated[int, typer.Option(help="Of the pool's nodes.", min=30, max=2048)] = OS_DISK_GIB,
    upgrade_to: Annotated[
        str, typer.Option(metavar="VERSION", help="Also what an upgrade to this version frees, as from 1.28 to 1.29.")
    ] = "",
    list_sizes: Annotated[bool, typer.Option("--list", help="List the VM sizes.")] = False,
    output: Annotated[Output, typer.Option("-o", "--output")] = Output.TEXT,
) -> None:
    """What a VM size offers to pods.

    Line by line: capacity, what AKS keeps of it and why, and what is left."""
    if list_sizes:
        _print_sizes(output)
        return
    if not vm_size:
        fail("which VM size? For example: kobune reservations Standard_DS2_v2 (all: --list)")
    if not PODS_AT_LEAST <= max_pods <= PODS_AT_MOST:
        fail(f"--max-pods {max_pods}: AKS allows {PODS_AT_LEAST} to {PODS_AT_MOST} pods on a node")
    try:
        found = reservations(
            get_vm_size(vm_size),
            kubernetes_version=_checked(kubernetes_version),
            max_pods=max_pods,
            os=os,
            capacity_memory_ki=capacity_memory_ki,
            os_disk_gib=os_disk_gib,
        )
    except Invalid as error:
        fail(str(error))
    if found.memory_allocatable_ki <= 0:
        fail(f"{capacity_memory_ki}Ki is less than what is reserved on {found.vm_size.name}")
    if upgrade_to:
        _print_upgrade(found, _upgraded(found, upgrade_to, capacity_memory_ki, os_disk_gib), output)
    elif output is Output.JSON:
        typer.echo(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(found)


def _checked(version: str) -> str:
    """The version, provided it has the form of one. Any minor is answered: the rules of old ones are known."""
    parts = version.removeprefix("v").split(".")
    if len(parts) not in (2, 3) or parts[0] != "1" or not all(part.isdecimal() for part in parts):
        raise Invalid(f"Kubernetes version {version!r} has not the form 1.28 or 1.28.5")
    return ".".join(parts)


def _print(found: Reservations) -> None:
    size = found.vm_size
    typer.echo(
        f"{size.name}: {size.cores} cores, {size.memory_gib:g} GiB; "
        f"{found.os}, Kubernetes {found.kubernetes_version}, {found.max_pods} pods at most\n"
    )
    left = {
        "cpu": f"{found.cpu_allocatable_millicores}m",
        "memory": f"{found.memory_allocatable_ki}Ki",
        "ephemeral-storage": str(found.storage_allocatable_bytes),
        "pods": str(found.max_pods),
    }
    width = max(len(line.amount) for line in found.lines)
    table = [("RESOURCE", "REASON", "AMOUNT".rjust(width))]
    for resource, allocatable in left.items():
        for line in found.lines:
            if line.resource == resource:
                table.append((resource, line.reason, line.amount.rjust(width)))
        table.append((resource, "= allocatable", allocatable.rjust(width)))
    typer.echo(columns(*table))


def _upgraded(found: Reservations, version: str, capacity_memory_ki: int | None, os_disk_gib: int) -> Reservations:
    try:
        checked = _checked(version)
    except Invalid as error:
        fail(str(error))
    return reservations(
        found.vm_size,
        kubernetes_version=checked,
        max_pods=found.max_pods,
        os=found.os,
        capacity_memory_ki=capacity_memory_ki,
        os_disk_gib=os_disk_gib,
    )


def _print_upgrade(before: Reservations, after: Reservations, output: Output) -> None:
    rows = freed(before, after)
    if output is Output.JSON:
        difference = {
            row.resource: {"unit": row.unit, "before": row.before, "after": row.after, "freed": row.freed}
            for row in rows
        }
        both = {"before": before.as_json(), "after": after.as_json(), "allocatable": difference}
        typer.echo(orjson.dumps(both, option=orjson.OPT_INDENT_2).decode())
        return
    _print(before)
    typer.echo("")
    _print(after)
    typer.echo(
        f"\nAn upgrade from {before.kubernetes_version} to {after.kubernetes_version} gives pods, on each node:\n"
    )
    header = ("RESOURCE", f"IN {before.kubernetes_version}", f"IN {after.kubernetes_version}", "FREED")
    typer.echo(
        columns(
            header,
            *(
                (row.resource, f"{row.before}{row.unit}", f"{row.after}{row.unit}", f"{row.freed:+d}{row.unit}")
                for row in rows
            ),
        )
    )


def _print_sizes(output: Output) -> None:
    rows = [
        {"vmSize": size.name, "cores": size.cores, "memoryGiB": size.memory_gib, "dataDisks": size.data_disks,
         "tempGiB": size.temp_gib, "gpus": size.gpus, "arch": size.arch} for size in VM_SIZES.values()
    ]  # fmt: skip
    if output is Output.JSON:
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    header = ("VM SIZE", "CORES", "GIB", "DISKS", "TEMP GIB", "GPUS", "ARCH")
    typer.echo(
        columns(
            header,
            *(tuple(f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in row.values()) for row in rows),
        )
    )
