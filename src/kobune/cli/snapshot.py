"""`kobune snapshot`: a cluster's objects in one file, and back."""

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer

from kobune.api.clock import SystemClock
from kobune.cli.output import Output, fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of
from kobune.controlplane.store.contract import Damaged, Unavailable
from kobune.controlplane.store.snapshot import Snapshot, restore_file, save_file
from kobune.controlplane.store.sqlite_log import InUse, lock

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, help="A cluster's objects in one file."
)
OutputOption = Annotated[Output, typer.Option("-o", "--output")]


@app.command()
def save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to put the snapshot; must not exist.")],
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Save everything the cluster has stored, whether it runs or not. Secrets are in the file as they are in the store."""
    found, _ = existing_cluster(layout_of(state_dir), cluster)
    try:
        saved = save_file(found.store, file.absolute())
    except (Damaged, Unavailable, OSError) as error:
        fail(str(error))
    _say(f"saved cluster {cluster} to {file}", saved, output)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot.")],
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Put a stopped cluster back to where a snapshot was saved. What it had is kept beside it."""
    found, _ = existing_cluster(layout_of(state_dir), cluster)
    kept = ""
    try:
        # Nobody may open the store between the two renames.
        with lock(found.store):
            restored_path = found.store.with_name(f"{found.store.name}.restored")
            restored_path.unlink(missing_ok=True)
            restored = restore_file(file.absolute(), restored_path)
            if found.store.exists():
                kept = f"; what it had is {_set_aside(found.store, SystemClock().now())}"
            os.rename(restored_path, found.store)
    except InUse:
        fail(f"cluster {cluster} runs; stop it first: kobune down --cluster {cluster}")
    except (Damaged, Unavailable, OSError) as error:
        fail(str(error))
    _say(f"restored cluster {cluster} from {file}{kept}", restored, output)


def _set_aside(store: Path, now: datetime) -> Path:
    """Rename a closed store, with whatever a crash left beside it."""
    kept = store.with_name(f"{store.name}.{now:%Y%m%dT%H%M%SZ}")
    for end in ("-wal", "-shm", ""):
        part = Path(f"{store}{end}")
        if part.exists():
            os.rename(part, f"{kept}{end}")
    return kept


def _say(sentence: str, snapshot: Snapshot, output: Output) -> None:
    if output is Output.JSON:
        typer.echo(orjson.dumps(snapshot._asdict(), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(f"{sentence}: {snapshot.objects} objects, {snapshot.bytes / 1e6:.1f} MB")
