"""Images on the real nodes of a cluster, for the command line."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from kobune.api.clock import SystemClock
from kobune.api.errors import Json
from kobune.host.instances import real_shapes
from kobune.host.layout import ClusterLayout
from kobune.host.machines import machine_of
from kobune.host.spec import Spec
from kobune.node.machine.machine import NodeMachine
from kobune.node.runtime.images import BadArchive
from kobune.node.runtime.runtime import RuntimeFailure


class ImageProblem(Exception):
    """Why it could not be done, in one sentence."""


def load(cluster: ClusterLayout, spec: Spec, file: Path) -> Sequence[str]:
    """Put the archive's images on every node; their names."""

    async def on_all_nodes() -> Sequence[str]:
        found = await asyncio.gather(*(machine.importer.load(file) for machine in _machines(cluster, spec)))
        return found[0]

    try:
        return asyncio.run(on_all_nodes())
    except (BadArchive, RuntimeFailure, OSError) as error:
        raise ImageProblem(str(error)) from error


def list_images(cluster: ClusterLayout, spec: Spec) -> list[Json]:
    """One row for each image of each node."""

    async def of_all_nodes() -> list[Json]:
        rows = []
        for machine in _machines(cluster, spec):
            runtime = machine.open_runtime()
            try:
                for image in await runtime.list_images():
                    rows.append(
                        {
                            "node": machine.spec.node,
                            "id": image.id,
                            "tags": list(image.tags),
                            "digests": list(image.digests),
                            "sizeBytes": image.size_bytes,
                        }
                    )
            finally:
                await runtime.close()
        return rows

    try:
        return asyncio.run(of_all_nodes())
    except (RuntimeFailure, TimeoutError) as error:
        raise ImageProblem(f"a node's container runtime does not answer: {error}") from error


def _machines(cluster: ClusterLayout, spec: Spec) -> list[NodeMachine]:
    shapes = real_shapes(cluster, spec, up=True)
    if not shapes:
        raise ImageProblem(f"cluster {cluster.name!r} has simulated nodes only, and these need no images")
    if not spec.running:
        raise ImageProblem(f"cluster {cluster.name!r} is stopped; kobune up starts it")
    clock = SystemClock()
    return [machine_of(cluster, spec, shape, clock) for shape in shapes]
