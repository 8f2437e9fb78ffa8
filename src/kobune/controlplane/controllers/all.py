"""The table of controllers. Nothing registers itself: what is not here does not run."""

from kobune.controlplane.controllers import garbage_collector, namespace, replicaset
from kobune.controlplane.controllers.controller import Controller
from kobune.controlplane.controllers.deployment import deployment

CONTROLLERS: tuple[Controller, ...] = (
    deployment.CONTROLLER,
    *replicaset.CONTROLLERS,
    garbage_collector.CONTROLLER,
    namespace.CONTROLLER,
)
