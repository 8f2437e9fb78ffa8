"""Tokens for kubectl, and kubeconfigs that ask for them in another way."""

import base64
import json

import pytest
import yaml
from typer.testing import CliRunner

from kobune.aks.guard import CLIENT_APPLICATION
from kobune.cli.kubelogin import Login, app, converted, exec_credential

PLUGIN = ["kubelogin", "get-token", "--client-id", CLIENT_APPLICATION, "--tenant-id", "t", "--login", "devicecode"]


def test_a_token_is_given_to_kubectl_with_its_end():
    payload = base64.urlsafe_b64encode(json.dumps({"exp": 1767600000}).encode()).rstrip(b"=").decode()
    found = exec_credential(f"head.{payload}.signature")
    assert found["status"]["expirationTimestamp"] == "2026-01-05T08:00:00Z"
    assert (found["kind"], found["apiVersion"]) == ("ExecCredential", "client.authentication.k8s.io/v1beta1")


@pytest.mark.parametrize("login", list(Login))
def test_the_application_of_people_is_asked_for_by_people_alone(login):
    there = converted(PLUGIN, login)
    assert there[there.index("--login") + 1] == login
    assert (CLIENT_APPLICATION in there) == (login is Login.DEVICECODE)
    assert sorted(converted(there, Login.DEVICECODE)) == sorted(PLUGIN)


def test_a_kubeconfig_is_converted_and_other_users_are_left_alone(tmp_path):
    path, other = tmp_path / "config", {"name": "other", "user": {"exec": {"command": "aws", "args": ["get-token"]}}}
    mine = {"name": "mine", "user": {"exec": {"command": "kobune", "args": PLUGIN}}}
    path.write_text(yaml.safe_dump({"users": [mine, other]}))
    done = CliRunner().invoke(app, ["convert-kubeconfig", "-l", "spn", "--kubeconfig", str(path)])
    assert done.exit_code == 0, done.output
    users = yaml.safe_load(path.read_text())["users"]
    assert users[0]["user"]["exec"]["args"] == converted(PLUGIN, Login.SPN)
    assert users[1] == other


def test_without_a_service_the_command_says_what_to_do(tmp_path):
    done = CliRunner().invoke(app, ["get-token", "--state-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "kobune az --configure" in done.output
