"""When a cluster can be used: what the first pod of a new cluster would otherwise be refused for."""

from kobune.api.objects.core import ServiceAccount
from kobune.client.client import Client


async def wait_for_default_account(client: Client) -> None:
    """Return when the namespace `default` has its ServiceAccount: pods without one are forbidden."""
    default = "metadata.name=default"
    found = await client.list(ServiceAccount, "default", fields=default)
    while not found.items:
        async for _ in client.watch(ServiceAccount, "default", revision=found.revision, fields=default):
            break
        found = await client.list(ServiceAccount, "default", fields=default)
