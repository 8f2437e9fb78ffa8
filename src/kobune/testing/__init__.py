"""Clusters for tests: everything in the test's process. `from kobune.testing import Cluster`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kobune.testing.cluster import Cluster, Options

__all__ = ["Cluster", "Options"]


def __getattr__(name: str) -> Any:
    """Import a cluster's components only when a test asks for one: pytest loads this package in every session."""
    if name in __all__:
        from kobune.testing import cluster

        return getattr(cluster, name)
    raise AttributeError(name)
