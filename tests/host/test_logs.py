"""Records go to the file of their category, and those of a cluster's cloud to the cluster."""

import logging

import orjson
import pytest

from kobune.host.logs import category_of, log_to_files


@pytest.fixture(autouse=True)
def _as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    "logger, category",
    [
        ("kobune.host.guard", "guard"),
        ("kobune.host.engine", "cloud-controller-manager"),
        ("kobune.controlplane.controllers.service_lb", "cloud-controller-manager"),
        ("kobune.controlplane.controllers.job", "kube-controller-manager"),
        ("kobune.host.service", "service"),
    ],
)
def test_a_logger_belongs_to_a_category(logger, category):
    assert category_of(logger) == category


def test_the_cloud_of_many_clusters_writes_to_each_ones_folder(tmp_path):
    folders = {name: tmp_path / name / "logs" for name in ("one", "two", "gone")}
    for name in ("one", "two"):
        folders[name].parent.mkdir()
    log_to_files(tmp_path / "service", of_cluster=folders.__getitem__)
    log = logging.getLogger("kobune.host.engine")
    for name in folders:
        log.info("node deleted", extra={"cluster": name})
    logging.getLogger("kobune.host.service").info("cluster in trouble", extra={"cluster": "one"})
    for name in ("one", "two"):
        (line,) = (folders[name] / "machines.cloud-controller-manager.log").read_bytes().splitlines()
        record = orjson.loads(line)
        assert (record["category"], record["cluster"]) == ("cloud-controller-manager", name)
    assert not folders["gone"].exists()
    assert [path.name for path in (tmp_path / "service").iterdir()] == ["service.log"]
