"""The regions that can be named. All of them are this machine."""

from kobune.aks.arm.errors import bad_request
from kobune.api.errors import Json

# Name, display name, geography group. Source: `az account list-locations`.
LOCATIONS: dict[str, tuple[str, str]] = {
    "australiaeast": ("Australia East", "Asia Pacific"),
    "brazilsouth": ("Brazil South", "South America"),
    "canadacentral": ("Canada Central", "Canada"),
    "centralindia": ("Central India", "Asia Pacific"),
    "centralus": ("Central US", "US"),
    "eastasia": ("East Asia", "Asia Pacific"),
    "eastus": ("East US", "US"),
    "eastus2": ("East US 2", "US"),
    "francecentral": ("France Central", "Europe"),
    "germanywestcentral": ("Germany West Central", "Europe"),
    "italynorth": ("Italy North", "Europe"),
    "japaneast": ("Japan East", "Asia Pacific"),
    "koreacentral": ("Korea Central", "Asia Pacific"),
    "northcentralus": ("North Central US", "US"),
    "northeurope": ("North Europe", "Europe"),
    "norwayeast": ("Norway East", "Europe"),
    "polandcentral": ("Poland Central", "Europe"),
    "southafricanorth": ("South Africa North", "Africa"),
    "southcentralus": ("South Central US", "US"),
    "southeastasia": ("Southeast Asia", "Asia Pacific"),
    "spaincentral": ("Spain Central", "Europe"),
    "swedencentral": ("Sweden Central", "Europe"),
    "switzerlandnorth": ("Switzerland North", "Europe"),
    "uaenorth": ("UAE North", "Middle East"),
    "uksouth": ("UK South", "UK"),
    "westcentralus": ("West Central US", "US"),
    "westeurope": ("West Europe", "Europe"),
    "westus": ("West US", "US"),
    "westus2": ("West US 2", "US"),
    "westus3": ("West US 3", "US"),
}


def check_location(location: str, resource_type: str) -> None:
    """Raise ArmError when there is no such region. `location`: as `normal_location` writes it."""
    if location not in LOCATIONS:
        raise bad_request(
            "LocationNotAvailableForResourceType",
            f"The provided location '{location}' is not available for resource type '{resource_type}'. List of available "
            f"regions for the resource type is '{','.join(LOCATIONS)}'.",
            target="location",
        )


def render_locations(scope: str) -> list[Json]:
    """`az account list-locations`."""
    return [
        {
            "id": f"{scope}/locations/{name}",
            "name": name,
            "type": "Region",
            "displayName": shown,
            "regionalDisplayName": f"({geography}) {shown}",
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": geography},
        }
        for name, (shown, geography) in LOCATIONS.items()
    ]
