"""Deletes finished Jobs when their ttlSecondsAfterFinished is over."""

from contextlib import suppress
from datetime import datetime

from kobune.api.errors import NotFound
from kobune.api.objects.batch import Job
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, For


async def reconcile(key: Key, context: Context) -> float | None:
    """Delete the Job if it is due, as the server knows it; returns the seconds that are left."""
    job = context.informer(Job).get(key)
    left = seconds_left(job, context.clock.now()) if job is not None else None
    if left is None or left > 0:
        return left
    fresh = await context.client.find(Job, key)
    left = seconds_left(fresh, context.clock.now()) if fresh is not None else None
    if fresh is None or left is None or left > 0:
        return left
    with suppress(NotFound):
        await context.client.delete(Job, key, uid=fresh.uid, propagation="Foreground")
    return None


def seconds_left(job: Job, now: datetime) -> float | None:
    """None for a Job that is not finished, has no limit, or is being deleted."""
    ttl, finish = job.spec.ttl_seconds_after_finished, job.finish
    if ttl is None or finish is None or job.is_deleting or finish.last_transition_time is None:
        return None
    return ttl - (now - finish.last_transition_time).total_seconds()


CONTROLLER = Controller("ttl-after-finished-controller", (For(Job),), reconcile)
