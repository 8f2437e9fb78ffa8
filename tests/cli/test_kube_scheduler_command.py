"""`kobune kube-scheduler --config`: a configuration that cannot be is refused before anything starts."""

import subprocess
import sys

import pytest

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("kind: Pod\napiVersion: v1\n", 'no kind "Pod" is registered for version "v1"', id="another-kind"),
        pytest.param(
            HEAD + "profiles:\n- plugins: {filter: {enabled: [{name: Foo}]}}\n",
            'FilterPlugin "Foo" does not exist',
            id="plugin",
        ),
        pytest.param(
            HEAD + "profiles: [{}, {}]\n", "profiles[0].schedulerName: Required value", id="two-default-profiles"
        ),
        pytest.param("a: [", "couldn't get version/kind", id="no-yaml"),
    ],
)
def test_a_bad_configuration_gets_one_sentence_and_exit_status_1(tmp_path, text, sentence):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    command = [sys.executable, "-m", "kobune", "kube-scheduler", "--kubeconfig", "/nowhere", "--config", str(config)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert found.stderr.startswith("kobune: ")
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr
