"""Resources of a group that are kept for clients which ask for them, and have no life of their own."""

from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Resource


class Kept:
    """One type of them.

    Args:
        type_: as Azure writes it, with its provider.
        parameter: of the path, holds the name.
    """

    def __init__(self, type_: str, parameter: str) -> None:
        self.type = type_
        self._parameter = parameter

    def get(self, service: ArmService, request: ArmRequest) -> ArmAnswer:
        return ArmAnswer(200, self._find(service, request).document)

    def list(self, service: ArmService, request: ArmRequest) -> ArmAnswer:
        """Of the group, or where the path names none of the subscription."""
        group = request.parameters.get("group")
        below = service.get_group(group).key if group else service.scope
        return ArmAnswer(200, {"value": [found.document for found in service.store.list(self.type.lower(), below)]})

    def delete(self, service: ArmService, request: ArmRequest) -> ArmAnswer:
        try:
            found = self._find(service, request)
        except ArmError:
            return ArmAnswer(204)
        service.store.remove(found.key)
        return ArmAnswer(200)

    def _find(self, service: ArmService, request: ArmRequest) -> Resource:
        group, name = service.get_group(request.parameters["group"]), request.parameters[self._parameter]
        found = service.store.find(f"{group.key}/providers/{self.type}/{name}")
        if found is None:
            where = f"under resource group '{group.document['name']}'"
            raise ArmError(404, "ResourceNotFound", f"The Resource '{self.type}/{name}' {where} was not found.")
        return found
