"""As whom a command in a pod speaks with the API server."""

from pathlib import Path

import yaml

from kobune.api.clock import SystemClock
from kobune.host.layout import Layout
from kobune.host.run_command import kubeconfig


def user_of(tmp_path: Path, token: str):
    [entry] = yaml.safe_load(kubeconfig(Layout(tmp_path).cluster("c1"), SystemClock(), token))["users"]
    return entry["user"]


def test_a_token_is_all_that_its_bearer_has(tmp_path):
    assert user_of(tmp_path, "ada") == {"token": "ada"}


def test_without_one_it_is_an_administrator(tmp_path):
    assert set(user_of(tmp_path, "")) == {"client-certificate-data", "client-key-data"}
