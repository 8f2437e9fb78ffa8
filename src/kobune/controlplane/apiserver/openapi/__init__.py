"""The API's description of itself, in OpenAPI v2 and v3, rendered from the catalogue and the schemas."""

from kobune.controlplane.apiserver.openapi.documents import OpenApi

__all__ = ("OpenApi",)
