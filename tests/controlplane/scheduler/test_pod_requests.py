"""Kubernetes documentation: Init Containers, Sidecar Containers, Pod Overhead, Assign Pod-level resources."""

import pytest

from kobune.controlplane.scheduler.pod_requests import pod_requests


def container(cpu, memory=None, **fields):
    requests = {"cpu": cpu} | ({"memory": memory} if memory else {})
    return {"name": fields.pop("name", "c"), "resources": {"requests": requests}, **fields}


@pytest.mark.parametrize(
    ("init", "containers", "extra", "expected"),
    [
        pytest.param([], [container("1", "1Gi"), container("500m")], {}, (1500, 2**30), id="containers-add-up"),
        pytest.param(
            [container("2", "1Gi"), container("2", "3Gi")],
            [container("2", "1Gi"), container("1", "1Gi")],
            {},
            (3000, 3 * 2**30),
            id="the-largest-init-container-counts",
        ),
        pytest.param(
            [container("1", restartPolicy="Always"), container("3")], [container("1")], {}, (4000, 0),
            id="an-init-container-runs-beside-earlier-sidecars",
        ),
        pytest.param(
            [container("3"), container("1", restartPolicy="Always")], [container("1")], {}, (3000, 0),
            id="but-not-beside-later-ones",
        ),
        pytest.param(
            [container("1", restartPolicy="Always")], [container("1")], {}, (2000, 0), id="sidecars-keep-running"
        ),
        pytest.param([], [container("1")], {"overhead": {"cpu": "250m"}}, (1250, 0), id="overhead-is-added"),
        pytest.param(
            [], [container("1", "1Gi")], {"resources": {"requests": {"cpu": "5"}}}, (5000, 2**30),
            id="pod-level-requests-replace-the-sum",
        ),
    ],
)  # fmt: skip
def test_pod_requests(build, init, containers, extra, expected):
    amounts = pod_requests(build.pod(containers=containers, initContainers=init, **extra)).amounts
    assert (amounts.get("cpu", 0), amounts.get("memory", 0)) == expected


def test_each_container_without_a_request_is_assumed_to_need_a_little(build):
    """Upstream GetNonzeroRequests: 100m of cpu, 200 MiB; an explicit zero stays zero."""
    requests = pod_requests(build.pod(containers=[container("1"), {"name": "d"}, container("0", "0")]))
    assert (requests.assumed_millicores, requests.assumed_memory_bytes) == (1100, 2 * 200 * 2**20)


def test_a_running_pod_counts_what_it_was_given_while_it_shrinks(build):
    status = {"containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}
    assert pod_requests(build.pod(requests={"cpu": "1"}, on="n", status=status)).amounts["cpu"] == 3000
