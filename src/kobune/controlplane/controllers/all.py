"""The table of controllers. Nothing registers itself: what is not here does not run."""

from kobune.controlplane.controllers import replicaset
from kobune.controlplane.controllers.controller import Controller

CONTROLLERS: tuple[Controller, ...] = (*replicaset.CONTROLLERS,)
