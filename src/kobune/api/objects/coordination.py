"""Views of coordination.k8s.io."""

from datetime import datetime
from typing import ClassVar

import msgspec

from kobune.api.objects.meta import GVK, Object, View


class LeaseSpec(View):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int | None = None


class Lease(Object):
    gvk: ClassVar[GVK] = GVK("coordination.k8s.io", "v1", "Lease")
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)
