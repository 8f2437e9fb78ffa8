"""Work in rounds, for controllers that look at everything they have noted once in a while."""

import logging
from collections.abc import Awaitable, Callable

from kobune.api.errors import ApiError
from kobune.controlplane.controllers.controller import Context

log = logging.getLogger(__name__)


async def every(context: Context, seconds: float, work: Callable[[Context], Awaitable[None]]) -> None:
    """Do the work at once and then every so often, for ever; API errors wait for the next round."""
    while True:
        try:
            await work(context)
        except* ApiError as errors:
            failures = sorted({str(error) for error in errors.exceptions})
            log.warning("round failed", extra={"errors": failures})
        await context.clock.sleep(seconds)
