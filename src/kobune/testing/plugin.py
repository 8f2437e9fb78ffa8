"""The pytest plugin: a cluster for the session, a namespace for each test."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kobune.testing.cluster import Cluster


@pytest.fixture(scope="session")
def kobune_cluster() -> "Iterator[Cluster]":
    """A running cluster with two simulated nodes, shared by the session's tests."""
    from kobune.testing.cluster import Cluster  # Late: most sessions of other projects never ask for one.

    with Cluster(nodes=2) as cluster:
        yield cluster


@pytest.fixture
def kobune_namespace(kobune_cluster: "Cluster") -> Iterator[str]:
    """The name of a namespace for this test alone; afterwards it is deleted with all it holds."""
    from kobune.testing.namespaces import fresh_namespace

    with fresh_namespace(kobune_cluster.kubeconfig) as name:
        yield name
