"""`kobune kubelogin`: tokens for clusters with Entra integration, in the place of Azure's kubelogin, for this machine's tenant.

Source: Azure's page on kubelogin; Kubernetes' reference of client.authentication.k8s.io ExecCredential.
"""

import json
import os
import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import typer

from kobune.aks.guard import CLIENT_APPLICATION, SERVER_APPLICATION
from kobune.cli.output import fail
from kobune.cli.state import StateDir, layout_of
from kobune.host.endpoint import Endpoint, read_endpoint

SECONDS = 30.0  # For an answer of the service, or of az.
app = typer.Typer(
    help="Tokens for clusters with Entra integration.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)
Environment = Annotated[str, typer.Option(help="Taken as kubelogin takes it; there is one cloud on this machine.")]


class Login(StrEnum):
    """As whom to ask."""

    DEVICECODE = "devicecode"  # The person who signs in at this machine.
    SPN = "spn"
    AZURECLI = "azurecli"
    MSI = "msi"


Way = Annotated[Login, typer.Option("--login", "-l", help="devicecode, spn, azurecli or msi.")]


@app.command("get-token")
def get_token(
    *,
    server_id: Annotated[str, typer.Option(help="The application that the token is for.")] = SERVER_APPLICATION,
    client_id: Annotated[str, typer.Option(help="Of the service principal or identity, with spn and msi.")] = "",
    client_secret: Annotated[str, typer.Option(help="With spn; else AZURE_CLIENT_SECRET.")] = "",
    tenant_id: Annotated[str, typer.Option(help="Another tenant than this machine's has no tokens here.")] = "",
    environment: Environment = "",
    login: Way = Login.DEVICECODE,
    state_dir: StateDir = None,
) -> None:
    """Print a token as an ExecCredential, for kubectl."""
    endpoint = read_endpoint(layout_of(state_dir))
    if endpoint is None:
        fail("the service has never answered Azure's clients; kobune az --configure starts it")
    if tenant_id and tenant_id.lower() != endpoint.tenant.lower():
        fail(f"the tenant of this machine is {endpoint.tenant}, not {tenant_id}")
    if login is Login.SPN:
        client = _given(client_id, "AAD_SERVICE_PRINCIPAL_CLIENT_ID", "AZURE_CLIENT_ID")
        secret = _given(client_secret, "AAD_SERVICE_PRINCIPAL_CLIENT_SECRET", "AZURE_CLIENT_SECRET")
        token = _of_principal(endpoint, server_id, client, secret)
    elif login is Login.AZURECLI:
        token = _of_az(server_id)
    elif login is Login.MSI:
        token = _of_identity(endpoint, server_id, client_id or os.environ.get("AZURE_CLIENT_ID", ""))
    else:
        token = _of_person(endpoint, server_id)
    typer.echo(json.dumps(exec_credential(token)))


@app.command("convert-kubeconfig")
def convert_kubeconfig(
    *,
    login: Way = Login.DEVICECODE,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Else KUBECONFIG, else ~/.kube/config.")
    ] = None,
) -> None:
    """Have the clusters of a kubeconfig ask for tokens in another way."""
    import yaml

    from kobune.client.kubeconfig import write_kubeconfig

    path = kubeconfig or Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    try:
        config = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        fail(f"cannot read {path}: {error}")
    for user in config.get("users") or ():
        plugin = (user.get("user") or {}).get("exec") or {}
        arguments = plugin.get("args") or []
        if "kubelogin" in arguments and "--login" in arguments:
            plugin["args"] = converted(arguments, login)
    write_kubeconfig(path, yaml.safe_dump(config, sort_keys=False))


def converted(arguments: list[str], login: Login) -> list[str]:
    """A plugin's arguments for another way: the application of people is no service principal's."""
    kept = list(arguments)
    kept[kept.index("--login") + 1] = login.value
    if "--client-id" in kept:
        at = kept.index("--client-id")
        del kept[at : at + 2]
    return [*kept, "--client-id", CLIENT_APPLICATION] if login is Login.DEVICECODE else kept


def exec_credential(token: str) -> dict[str, Any]:
    """The answer of a credential plugin. kubectl asks again when the token has expired."""
    import base64

    payload = token.split(".")[1]
    ends = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
    return {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "spec": {"interactive": False},
        "status": {
            "expirationTimestamp": datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "token": token,
        },
    }


def _of_principal(endpoint: Endpoint, server: str, client: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    return _token(endpoint, "token", form | {"scope": f"{server}/.default"})


def _of_person(endpoint: Endpoint, server: str) -> str:
    form = {"client_id": CLIENT_APPLICATION, "scope": f"{server}/.default"}
    code = _ask(endpoint, Request(_oauth(endpoint, "devicecode"), urlencode(form).encode()))
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": str(code["device_code"])}
    return _token(endpoint, "token", form | grant)


def _of_identity(endpoint: Endpoint, server: str, client: str) -> str:
    wanted = f"{endpoint.url}/msi/token?api-version=2019-08-01&resource={quote(server)}" + (
        f"&client_id={client}" if client else ""
    )
    return str(_ask(endpoint, Request(wanted, headers={"X-IDENTITY-HEADER": endpoint.client_secret}))["access_token"])


def _of_az(server: str) -> str:
    program = shutil.which("az")
    if program is None:
        fail("--login azurecli: az is not on the PATH")
    command = [
        program,
        "account",
        "get-access-token",
        "--resource",
        server,
        "--query",
        "accessToken",
        "--output",
        "tsv",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        fail(f"az account get-access-token: {done.stderr.strip()}")
    return done.stdout.strip()


def _token(endpoint: Endpoint, what: str, form: dict[str, str]) -> str:
    return str(_ask(endpoint, Request(_oauth(endpoint, what), urlencode(form).encode()))["access_token"])


def _oauth(endpoint: Endpoint, what: str) -> str:
    return f"{endpoint.url}/{endpoint.tenant}/oauth2/v2.0/{what}"


def _ask(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=endpoint.authority)
    try:
        with urlopen(request, context=context, timeout=SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except HTTPError as error:
        with error:
            refusal = json.load(error)
        fail(str(refusal.get("error_description") or refusal.get("error")))
    except URLError as error:
        fail(f"the service does not answer at {endpoint.url}: {error.reason}; kobune az --configure starts it")


def _given(value: str, *names: str) -> str:
    found = value or next((os.environ[name] for name in names if os.environ.get(name)), "")
    if not found:
        fail(f"--login spn needs {names[-1]}")
    return found
