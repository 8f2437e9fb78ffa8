"""`kobune az`: points az, the Azure SDKs and Terraform at the service on this machine."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import orjson
import typer

from kobune.cli.output import fail
from kobune.cli.state import StateDir, layout_of
from kobune.host.background import NotStarted, end_service, start_endpoint
from kobune.host.endpoint import Endpoint, read_endpoint
from kobune.host.layout import Layout
from kobune.host.service import is_served

CLOUD = "Kobune"
PUBLIC_CLOUD = "AzureCloud"


def command(
    *,
    configure: Annotated[
        bool, typer.Option("--configure", help="Register this machine as a cloud of az, select it and sign in.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Sign out, go back to the cloud before, remove this one.")
    ] = False,
    env: Annotated[
        bool, typer.Option("--env", help="Print the exports that Terraform and the Azure SDKs read.")
    ] = False,
    state_dir: StateDir = None,
) -> None:
    """Point az, the SDKs and Terraform at this machine.

    The service is started with its endpoint if it does not answer. A shell takes what is printed: eval "$(kobune az --env)"."""
    if [configure, undo, env].count(True) != 1:
        fail("say what to do: --configure, --undo or --env")
    layout = layout_of(state_dir)
    if undo:
        _undo(layout)
        return
    was_served = is_served(layout)
    try:
        endpoint = start_endpoint(layout)
    except NotStarted as error:
        fail(str(error))
    if configure:
        _configure(layout, endpoint, began_service=not was_served)
    else:
        typer.echo("\n".join(f"export {name}={shlex.quote(value)}" for name, value in exports(endpoint).items()))


def exports(endpoint: Endpoint) -> Mapping[str, str]:
    """The environment by which Terraform's azurerm, azure-identity and az find and trust the endpoint."""
    return {
        "ARM_ENDPOINT": endpoint.url,
        "ARM_METADATA_HOSTNAME": urlsplit(endpoint.url).netloc,
        "ARM_TENANT_ID": endpoint.tenant,
        "ARM_SUBSCRIPTION_ID": endpoint.subscription,
        "ARM_CLIENT_ID": endpoint.client_id,
        "ARM_CLIENT_SECRET": endpoint.client_secret,
        # As an AD FS: then clients do not ask the public cloud whether the authority is a known one.
        "AZURE_AUTHORITY_HOST": f"{endpoint.url}/adfs",
        "AZURE_TENANT_ID": endpoint.tenant,
        "AZURE_CLIENT_ID": endpoint.client_id,
        "AZURE_CLIENT_SECRET": endpoint.client_secret,
        "REQUESTS_CA_BUNDLE": endpoint.bundle,
        "SSL_CERT_FILE": endpoint.bundle,
    }


def _configure(layout: Layout, endpoint: Endpoint, *, began_service: bool) -> None:
    began_service = began_service or _began_service(layout)
    before = _az(endpoint, "cloud", "show", "--query", "name", "--output", "tsv").strip()
    if before == CLOUD:
        before = _remembered(layout)
        _az(endpoint, "cloud", "set", "--name", before)
    _memory(layout).write_bytes(orjson.dumps({"cloud": before, "began_service": began_service}))
    if CLOUD in _az(endpoint, "cloud", "list", "--query", "[].name", "--output", "tsv").split():
        _az(endpoint, "cloud", "unregister", "--name", CLOUD)
    _az(endpoint, "cloud", "register", "--name", CLOUD, "--endpoint-resource-manager", endpoint.url)
    _az(endpoint, "cloud", "set", "--name", CLOUD)
    # The secret is on a command line of our own user for a moment; az reads it from nowhere else.
    _az(
        endpoint, "login", "--service-principal", "--username", endpoint.client_id, "--password", endpoint.client_secret,
        "--tenant", endpoint.tenant,
    )  # fmt: skip
    typer.echo(f"az speaks to {endpoint.url}; kobune az --undo goes back to {before}", err=True)
    typer.echo(f"export REQUESTS_CA_BUNDLE={shlex.quote(endpoint.bundle)}")


def _undo(layout: Layout) -> None:
    endpoint = read_endpoint(layout)
    if endpoint is None or CLOUD not in _az(endpoint, "cloud", "list", "--query", "[].name", "--output", "tsv").split():
        fail("az is not configured for this machine")
    before = _remembered(layout)
    if _az(endpoint, "cloud", "show", "--query", "name", "--output", "tsv").strip() == CLOUD:
        _az(endpoint, "logout", "--username", endpoint.client_id, may_fail=True)
        _az(endpoint, "cloud", "set", "--name", before)
    _az(endpoint, "cloud", "unregister", "--name", CLOUD)
    began_service = _began_service(layout)
    _memory(layout).unlink(missing_ok=True)
    typer.echo(f"az speaks to {before} again", err=True)
    if began_service and not layout.cluster_names():
        try:
            end_service(layout)
        except NotStarted as error:
            fail(str(error))
        typer.echo("the service that --configure started has ended", err=True)
    elif is_served(layout):
        why = f"it looks after {', '.join(layout.cluster_names())}" if layout.cluster_names() else "it was there before"
        typer.echo(f"the service goes on: {why}; kill {layout.lock.read_text()} ends it, clusters run on", err=True)
    typer.echo("unset REQUESTS_CA_BUNDLE")


def _memory(layout: Layout) -> Path:
    """Which cloud az spoke to before."""
    return layout.root / "arm" / "az.json"


def _began_service(layout: Layout) -> bool:
    """Whether --configure started the service."""
    try:
        return bool(orjson.loads(_memory(layout).read_bytes()).get("began_service"))
    except FileNotFoundError:
        return False


def _remembered(layout: Layout) -> str:
    try:
        return str(orjson.loads(_memory(layout).read_bytes())["cloud"])
    except FileNotFoundError:
        return PUBLIC_CLOUD


def _az(endpoint: Endpoint, *arguments: str, may_fail: bool = False) -> str:
    program = shutil.which("az")
    if program is None:
        fail("az is not on the PATH: pip install azure-cli; kobune az --env serves the SDKs and Terraform without it")
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": endpoint.bundle}
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        fail(f"az {' '.join(arguments[:2])}: {' '.join(lines)}")
    return done.stdout
