"""The list of resources, of the subscription or of a group.

Source: REST reference of Azure Resource Manager, api-version 2024-11-01.
"""

from kobune.aks.arm.filters import Fields, lets_through, matches_tag, parse_filter
from kobune.aks.arm.groups import GROUP_TYPE
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.scale_sets import shown_sets
from kobune.aks.arm.service import CLUSTERS, ArmService


def list_all(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Resources of the subscription or of a group, without their properties."""
    wanted = request.query.get("$filter", "")
    terms = [term for term in parse_filter(wanted, _FIELDS) if not term.field.startswith("tag")]
    group = request.parameters.get("group")
    owner = service.find_node_group_owner(group) if group else None
    if owner is not None:
        documents = shown_sets(service, owner)
    else:
        below = service.get_group(group).key if group else service.scope
        kept = (found.document for found in service.store.list_below(below))
        documents = [document for document in kept if "location" in document and document["type"] != GROUP_TYPE]
        if not group:
            documents += [
                one for cluster in service.store.list(CLUSTERS, below) for one in shown_sets(service, cluster)
            ]
    shown = [
        {field: document[field] for field in ("id", "name", "type", "location", "tags") if field in document}
        for document in documents
        if lets_through(terms, document, _FIELDS) and matches_tag(document, wanted)
    ]
    return ArmAnswer(200, {"value": shown})


_FIELDS: Fields = {
    "resourcegroup": lambda resource: resource["id"].split("/")[4],
    "resourcetype": lambda resource: resource["type"],
    "name": lambda resource: resource["name"],
    "location": lambda resource: resource["location"],
    "tagname": lambda resource: "",  # A name and its value belong together; see `matches_tag`.
    "tagvalue": lambda resource: "",
}
